//! Key pairs. Nova's os-keypairs are another door to the same ones; `nova.rs` words its answers.

use super::call::{Call, flag, text};
use super::errors::{Answer, Refused, Success};
use super::keys::Material;
use super::nova;
use super::state::{Keypair, World};
use super::zip;
use keyward_decision::catalog::operation::ErrorShape;
use serde_json::{Value, json};

pub(super) fn answer(world: &mut World, call: &Call<'_>) -> Answer {
    match call.name() {
        "CopyKeypairs" => copy(world, call),
        "ListKeypairs" => Ok(list(world, call)),
        "CreateKeypair" => {
            let made = create(world, call, &call.body)?;
            Ok(Success::Json(created(world, &made)))
        }
        "BatchImportKeypair" => Ok(batch_import(world, call)),
        "ListKeypairDetail" => {
            let keypair = named(world, call, call.path("keypair_name"))?;
            Ok(Success::Json(if is_nova(call) {
                nova::detail(world, keypair)
            } else {
                detail(world, keypair)
            }))
        }
        "UpdateKeypairDescription" => {
            let description =
                call.text("/keypair/description").ok_or_else(|| invalid("keypair.description"))?;
            description
                .clone_into(&mut named_mut(world, call, call.path("keypair_name"))?.description);
            Ok(Success::Empty)
        }
        "DeleteKeypair" => {
            let id = named(world, call, call.path("keypair_name"))?.id;
            world.keypairs.retain(|k| k.id != id);
            Ok(Success::Empty)
        }
        "ImportPrivateKey" => import_private(world, call),
        "ExportPrivateKey" => {
            let name = call.text("/keypair/name").ok_or_else(|| invalid("keypair.name"))?;
            let private = hosted(named(world, call, name)?)?;
            Ok(Success::Json(json!({"keypair": {"name": name, "private_key": private}})))
        }
        "BatchExportPrivateKey" => batch_export(world, call),
        "ClearPrivateKey" => {
            let keypair = named_mut(world, call, call.path("keypair_name"))?;
            (keypair.hosted, keypair.material.private) = (false, None);
            Ok(Success::Empty)
        }
        _ => Ok(Success::Example),
    }
}

/// Takes every key pair of another user. A name that the caller has already fails alone, unless
/// forced.
fn copy(world: &mut World, call: &Call<'_>) -> Answer {
    let from = call.text("/user_name").ok_or_else(|| invalid("user_name"))?;
    if !world.users.contains_key(from) {
        return Err(Refused::new(404, "KPS.2006", format!("the user {from} does not exist")));
    }
    if from == call.user {
        return Err(invalid("user_name"));
    }
    let (project, force) = (call.path("project_id"), flag(call.body.get("force")));
    let taken: Vec<_> =
        world.keypairs.iter().filter(|k| k.project == project && k.user == from).cloned().collect();
    let (mut success, mut failed) = (Vec::new(), Vec::new());
    for keypair in taken {
        let own =
            |k: &Keypair| k.project == project && k.user == call.user && k.name == keypair.name;
        if !force && world.keypairs.iter().any(own) {
            failed.push(json!({"keypair": keypair.name, "message": "exist"}));
            continue;
        }
        world.keypairs.retain(|k| !own(k));
        success.push(json!({"keypair": keypair.name, "message": "imported"}));
        let id = world.number();
        world.keypairs.push(Keypair {
            user: call.user.to_owned(),
            id,
            created: call.now,
            ..keypair
        });
    }
    Ok(Success::Json(json!({"changed": success.len(), "success": success, "failed": failed})))
}

fn list(world: &World, call: &Call<'_>) -> Success {
    let project = call.path("project_id");
    let mut seen: Vec<_> = world
        .keypairs
        .iter()
        .filter(|k| k.project == project && (k.user == call.user || k.scope == "domain"))
        .collect();
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    let after = call.query("marker").unwrap_or_default();
    let limit = call.number("limit").filter(|n| *n > 0).unwrap_or(50);
    let rest: Vec<_> =
        seen.into_iter().filter(|k| after.is_empty() || k.name.as_str() > after).collect();
    let page: Vec<_> = rest.iter().take(limit).collect();
    let next = page.last().filter(|_| rest.len() > limit).map(|k| k.name.clone());
    if is_nova(call) {
        return Success::Json(
            json!({"keypairs": page.iter().map(|k| nova::listed(k)).collect::<Vec<_>>()}),
        );
    }
    let listed = |k: &&&Keypair| {
        json!({"keypair": {
            "name": k.name, "type": k.kind, "scope": k.scope, "public_key": k.material.public, "fingerprint": k.material.fingerprint,
            "is_key_protection": k.hosted, "frozen_state": "0",
        }})
    };
    let info = json!({"next_marker": next, "previous_marker": null, "current_count": page.len()});
    Success::Json(
        json!({"keypairs": page.iter().map(listed).collect::<Vec<_>>(), "page_info": info}),
    )
}

/// Makes a pair, or takes in the one whose public half is given. The private half goes out once, or
/// is kept.
fn create(world: &mut World, call: &Call<'_>, wanted: &Value) -> Result<Keypair, Refused> {
    let name = text(wanted, "/keypair/name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid("keypair.name"))?;
    let project = call.path("project_id");
    if world.keypairs.iter().any(|k| k.project == project && k.user == call.user && k.name == name)
    {
        let status = if is_nova(call) { 409 } else { 400 };
        return Err(Refused::new(status, "KPS.2003", format!("key pair {name} already exists")));
    }
    let mut material = match text(wanted, "/keypair/public_key") {
        Some(public) => Material::imported(public).ok_or_else(|| invalid("keypair.public_key"))?,
        None => Material::made(name),
    };
    let protection = wanted.pointer("/keypair/key_protection");
    if let Some(given) = protection.and_then(|p| text(p, "/private_key")) {
        material.private = Some(given.to_owned());
    }
    let or = |pointer: &str, default: &str| text(wanted, pointer).unwrap_or(default).to_owned();
    let keypair = Keypair {
        project: project.to_owned(),
        user: call.user.to_owned(),
        name: name.to_owned(),
        kind: or("/keypair/type", "ssh"),
        scope: or("/keypair/scope", "user"),
        hosted: protection.is_some() && material.private.is_some(),
        material,
        description: String::new(),
        id: world.number(),
        created: call.now,
    };
    let mut kept = keypair.clone();
    if !kept.hosted {
        kept.material.private = None;
    }
    world.keypairs.push(kept);
    // What the caller gave is not given back.
    if text(wanted, "/keypair/public_key").is_some() {
        return Ok(Keypair { material: Material { private: None, ..keypair.material }, ..keypair });
    }
    Ok(keypair)
}

/// Just made, in both wordings: the only time that a private key which is not in custody goes out.
fn created(world: &World, keypair: &Keypair) -> Value {
    let mut shown = json!({
        "name": keypair.name, "type": keypair.kind, "public_key": keypair.material.public,
        "fingerprint": keypair.material.fingerprint, "user_id": world.user_id(&keypair.user),
    });
    if let (Some(private), Some(shown)) = (&keypair.material.private, shown.as_object_mut()) {
        shown.insert("private_key".to_owned(), json!(private));
    }
    json!({"keypair": shown})
}

fn detail(world: &World, keypair: &Keypair) -> Value {
    json!({"keypair": {
        "name": keypair.name, "id": keypair.id, "type": keypair.kind, "scope": keypair.scope,
        "public_key": keypair.material.public, "fingerprint": keypair.material.fingerprint,
        "is_key_protection": keypair.hosted, "deleted": false, "description": keypair.description,
        "user_id": world.user_id(&keypair.user), "create_time": keypair.created.millis(),
        "delete_time": null, "update_time": null, "frozen_state": "0",
    }})
}

fn batch_import(world: &mut World, call: &Call<'_>) -> Success {
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    for wanted in call.list("") {
        match create(world, call, wanted) {
            Ok(made) => succeeded.push(created(world, &made)),
            Err(refused) => failed.push(json!({"keypair_name": text(wanted, "/keypair/name").unwrap_or_default(), "failed_reason": refused.message})),
        }
    }
    Success::Json(json!({"succeeded_keypairs": succeeded, "failed_keypairs": failed}))
}

fn import_private(world: &mut World, call: &Call<'_>) -> Answer {
    let name = call.text("/keypair/name").ok_or_else(|| invalid("keypair.name"))?;
    let private = call
        .text("/keypair/key_protection/private_key")
        .ok_or_else(|| invalid("keypair.key_protection.private_key"))?;
    let keypair = named_mut(world, call, name)?;
    (keypair.hosted, keypair.material.private) = (true, Some(private.to_owned()));
    let encryption = call
        .body
        .pointer("/keypair/key_protection/encryption")
        .cloned()
        .unwrap_or_else(|| json!({"type": "default"}));
    Ok(Success::Json(
        json!({"keypair": {"name": name, "key_protection": {"encryption": encryption}}}),
    ))
}

/// All or nothing: a zip has no place for a failure.
fn batch_export(world: &World, call: &Call<'_>) -> Answer {
    let mut files = Vec::new();
    for wanted in call.list("") {
        let name = text(wanted, "/keypair/name").ok_or_else(|| invalid("keypair.name"))?;
        files.push((format!("{name}.pem"), hosted(named(world, call, name)?)?));
    }
    if files.is_empty() { Err(invalid("body")) } else { Ok(Success::Zip(zip::archive(&files))) }
}

fn hosted(keypair: &Keypair) -> Result<String, Refused> {
    let private = keypair.material.private.clone().filter(|_| keypair.hosted);
    private.ok_or_else(|| {
        Refused::new(
            400,
            "KPS.2007",
            format!("the private key of {} is not in custody", keypair.name),
        )
    })
}

fn named<'w>(world: &'w World, call: &Call<'_>, name: &str) -> Result<&'w Keypair, Refused> {
    world.keypair(call.path("project_id"), call.user, name).ok_or_else(|| not_found(name))
}

fn named_mut<'w>(
    world: &'w mut World,
    call: &Call<'_>,
    name: &str,
) -> Result<&'w mut Keypair, Refused> {
    world.keypair_mut(call.path("project_id"), call.user, name).ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Refused {
    Refused::new(404, "KPS.2006", format!("the key pair {name} does not exist"))
}

fn invalid(field: &str) -> Refused {
    Refused::new(400, "KPS.2001", format!("the parameter {field} is invalid"))
}

fn is_nova(call: &Call<'_>) -> bool {
    call.shape == ErrorShape::Nova
}
