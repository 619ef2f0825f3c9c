//! Codeup's SSH keys in both editions, and the older API, which is another door to the same keys in
//! an envelope.

use super::call::Call;
use super::errors::{Answer, Refused, Success};
use super::keys::Material;
use super::settings::ORGANIZATION;
use super::state::{CodeupKey, World, seconds};
use keyward_core::clock::Timestamp;
use keyward_decision::catalog::operation::ErrorShape;
use serde_json::{Value, json};

pub(super) fn answer(world: &mut World, call: &Call<'_>) -> Answer {
    if organization(call) != ORGANIZATION && !is_region_edition(call) {
        return Err(refused(
            call,
            403,
            "Forbidden.InvalidUser.UserNotInCurrentOrganization",
            "not a member of the organization",
        ));
    }
    match call.name() {
        "CreateSSHKey" => {
            let scope = call.text("/keyScope").map_or(Ok("ALL"), |scope| {
                ["ALL", "READ"]
                    .into_iter()
                    .find(|s| *s == scope)
                    .ok_or_else(|| bad(call, "keyScope"))
            })?;
            let key = made(world, call, scope, None)?;
            Ok(wrap(call, shown(call, &key)))
        }
        "ListSSHKeys" => Ok(list(world, call, call.user)),
        "ListUserSSHKeys" => Ok(list(world, call, call.path("userId"))),
        "GetSSHKey" => {
            let at = position(world, call)?;
            Ok(wrap(call, world.codeup_keys.get(at).map_or(Value::Null, |key| shown(call, key))))
        }
        "DeleteSSHKey" => {
            let key = world.codeup_keys.remove(position(world, call)?);
            Ok(wrap(call, shown(call, &key)))
        }
        "CreateDeployKey" => {
            let key = made(world, call, "READ", Some(call.path("repositoryId").to_owned()))?;
            let fingerprint = if is_older(call) { "fingerprint" } else { "fingerPrint" };
            let answer = json!({"id": key.id, "title": key.title, "key": key.material.public, fingerprint: key.material.fingerprint, "createdAt": seconds(key.created)});
            Ok(wrap(call, answer))
        }
        "EnableDeployKey" | "DisableDeployKey" => {
            let (id, repository) = (call.path("keyId"), call.path("repositoryId"));
            let key = world
                .codeup_keys
                .iter_mut()
                .find(|k| k.id.to_string() == id && k.repository.as_deref() == Some(repository));
            let key =
                key.ok_or_else(|| refused(call, 404, "NotFound", "the key does not exist"))?;
            key.enabled = call.name() == "EnableDeployKey";
            Ok(wrap(call, json!({"result": true})))
        }
        "CreateSshKey" => {
            let (id, material) = (world.number(), Material::made("host-group"));
            Ok(Success::Json(
                json!({"requestId": call.request_id, "success": true, "sshKey": {"id": id, "publicKey": material.public}}),
            ))
        }
        _ => Ok(Success::Example),
    }
}

/// A key of the token's owner; with a repository, a deploy key. A title may occur twice, a key may
/// not. A missing `keyScope` reads as ALL: the worst that a real server could make of it.
fn made(
    world: &mut World,
    call: &Call<'_>,
    scope: &str,
    repository: Option<String>,
) -> Result<CodeupKey, Refused> {
    let title =
        call.text("/title").filter(|title| !title.is_empty()).ok_or_else(|| bad(call, "title"))?;
    let public =
        call.text("/key").or_else(|| call.text("/publicKey")).ok_or_else(|| bad(call, "key"))?;
    let material = Material::imported(public).ok_or_else(|| bad(call, "key"))?;
    let expires = call.text("/expireTime");
    if expires.and_then(Timestamp::parse).is_some_and(|end| end < call.now) {
        return Err(bad(call, "expireTime"));
    }
    if world
        .codeup_keys
        .iter()
        .any(|k| k.material.fingerprint == material.fingerprint && k.repository == repository)
    {
        return Err(refused(call, 400, "BadRequest", "the key has been added already"));
    }
    let key = CodeupKey {
        id: world.number(),
        owner: call.user.to_owned(),
        organization: organization(call).to_owned(),
        repository,
        title: title.to_owned(),
        material,
        scope: scope.to_owned(),
        expires: expires.map(str::to_owned),
        enabled: true,
        created: call.now,
    };
    world.codeup_keys.push(key.clone());
    Ok(key)
}

fn list(world: &World, call: &Call<'_>, owner: &str) -> Success {
    let mine = |k: &&CodeupKey| {
        k.owner == owner && k.repository.is_none() && k.organization == organization(call)
    };
    let mut keys: Vec<_> = world.codeup_keys.iter().filter(mine).collect();
    if call.query("sort") != Some("asc") {
        keys.reverse();
    }
    let size = call.number("perPage").or_else(|| call.number("pageSize")).unwrap_or(20);
    let page = call.number("page").unwrap_or(1).saturating_sub(1);
    let shown: Vec<_> = keys
        .into_iter()
        .skip(page.saturating_mul(size))
        .take(size)
        .map(|key| shown(call, key))
        .collect();
    wrap(call, Value::Array(shown))
}

fn position(world: &World, call: &Call<'_>) -> Result<usize, Refused> {
    let mine = |k: &CodeupKey| {
        k.id.to_string() == call.path("keyId")
            && k.owner == call.user
            && k.repository.is_none()
            && k.organization == organization(call)
    };
    world
        .codeup_keys
        .iter()
        .position(mine)
        .ok_or_else(|| refused(call, 404, "NotFound", "the key does not exist"))
}

fn shown(call: &Call<'_>, key: &CodeupKey) -> Value {
    let public = if is_older(call) { "publicKey" } else { "key" };
    json!({
        "id": key.id, "title": key.title, public: key.material.public, "keyScope": key.scope, "fingerPrint": key.material.fingerprint,
        "createdAt": seconds(key.created), "updatedAt": seconds(key.created), "expireTime": key.expires, "lastUsedTime": null,
    })
}

/// The older API puts everything into an envelope.
fn wrap(call: &Call<'_>, result: Value) -> Success {
    if !is_older(call) {
        return Success::Json(result);
    }
    Success::Json(
        json!({"requestId": call.request_id, "success": true, "errorCode": null, "errorMessage": null, "result": result}),
    )
}

/// The older API says 200 to a business error too.
fn refused(call: &Call<'_>, status: u16, code: &str, why: &str) -> Refused {
    Refused::new(if is_older(call) { 200 } else { status }, code, why)
}

fn bad(call: &Call<'_>, field: &str) -> Refused {
    refused(call, 400, "BadRequest", &format!("the parameter {field} is invalid"))
}

/// From the path, from the query in the older API; in the region edition the host stands for it.
fn organization<'a>(call: &'a Call<'_>) -> &'a str {
    match call.path("organizationId") {
        "" => call.query("organizationId").unwrap_or(call.host),
        named => named,
    }
}

fn is_region_edition(call: &Call<'_>) -> bool {
    !is_older(call) && call.path("organizationId").is_empty()
}

fn is_older(call: &Call<'_>) -> bool {
    call.shape == ErrorShape::Acs
}
