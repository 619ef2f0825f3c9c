//! Images, their members and their jobs: cloudimages and Glance are two doors to the same ones.

use super::call::Call;
use super::errors::{Answer, Refused, Success};
use super::settings::PROJECT;
use super::state::{Image, ImageJob, World, new_id, seconds};
use keyward_core::clock::AuditId;
use serde_json::{Value, json};

pub(super) fn answer(world: &mut World, call: &Call<'_>) -> Answer {
    match call.name() {
        "CopyImageInRegion" => copy(world, call),
        "CopyImageCrossRegion" => {
            let image = owned(world, call, call.path("image_id"))?;
            if image.cmk_id.is_empty() {
                Ok(job(world, call, None))
            } else {
                Err(Refused::new(400, "IMG.0076", "an encrypted image cannot leave its region"))
            }
        }
        "ExportImage" | "RegisterImage" => {
            owned(world, call, call.path("image_id"))?;
            Ok(job(world, call, None))
        }
        "CreateImage" | "CreateDataImage" | "CreateWholeImage" | "ImportImageQuick" => {
            let mut image = Image::new(&image_id(), name(call)?, project(call), call.now);
            image.whole = call.name() == "CreateWholeImage";
            Ok(made_by_job(world, call, image))
        }
        "GlanceCreateImageMetadata" => {
            let mut image = Image::new(
                &image_id(),
                call.text("/name").unwrap_or_default(),
                project(call),
                call.now,
            );
            "queued".clone_into(&mut image.status);
            let answer = shown(&image);
            world.images.insert(image.id.clone(), image);
            Ok(Success::Json(answer))
        }
        "ListImages" => Ok(list(world, call)),
        "GlanceShowImage" => Ok(Success::Json(shown(visible(world, call, call.path("image_id"))?))),
        "UpdateImage" => update(world, call),
        "GlanceDeleteImage" => {
            owned(world, call, call.path("image_id"))?;
            world.images.remove(call.path("image_id"));
            Ok(Success::Empty)
        }
        "GlanceCreateTag" | "GlanceDeleteTag" => {
            let tags = &mut owned(world, call, call.path("image_id"))?.tags;
            tags.retain(|tag| tag != call.path("tag"));
            if call.name() == "GlanceCreateTag" {
                tags.push(call.path("tag").to_owned());
            }
            Ok(Success::Empty)
        }
        "AddImageMember" | "UpdateImageMember" | "DeleteImageMember"
            if call.path("image_id").is_empty() =>
        {
            batch_members(world, call)
        }
        "AddImageMember" => {
            let (image, member) =
                (call.path("image_id"), call.text("/member").ok_or_else(|| invalid("member"))?);
            if owned(world, call, image)?.members.contains_key(member) {
                return Err(Refused::new(409, "IMG.0097", "the project is a member already"));
            }
            owned(world, call, image)?.members.insert(member.to_owned(), "pending".to_owned());
            show_member(world, call, image, member)
        }
        "UpdateImageMember" => {
            let (image, member) = (call.path("image_id"), call.path("member_id"));
            set_status(world, call, image, member)?;
            show_member(world, call, image, member)
        }
        "DeleteImageMember" => {
            let removed =
                owned(world, call, call.path("image_id"))?.members.remove(call.path("member_id"));
            removed
                .map(|_| Success::Empty)
                .ok_or_else(|| not_found("member", call.path("member_id")))
        }
        "ListImageMembers" => {
            let image = visible(world, call, call.path("image_id"))?;
            let members: Vec<_> =
                image.members.iter().map(|(id, status)| member(image, id, status)).collect();
            Ok(Success::Json(json!({"members": members, "schema": "/v2/schemas/members"})))
        }
        "ShowImageMember" => {
            show_member(world, call, call.path("image_id"), call.path("member_id"))
        }
        "ShowJob" | "ShowJobProgress" => show_job(world, call),
        _ => Ok(Success::Example),
    }
}

/// Only private images that are ready, and not of a whole machine. The copy is encrypted when a key
/// is named.
fn copy(world: &mut World, call: &Call<'_>) -> Answer {
    let source = owned(world, call, call.path("image_id"))?;
    if source.status != "active" || source.whole {
        return Err(Refused::new(
            400,
            "IMG.0024",
            format!("the image {} cannot be copied in its state", source.id),
        ));
    }
    let or = |pointer: &str, default: &str| call.text(pointer).unwrap_or(default).to_owned();
    let copy = Image {
        description: or("/description", ""),
        cmk_id: or("/cmk_id", ""),
        enterprise_project_id: or("/enterprise_project_id", "0"),
        ..Image::new(&image_id(), name(call)?, project(call), call.now)
    };
    if copy.description.chars().count() > 1024 {
        return Err(Refused::new(
            400,
            "IMG.0004",
            "the description is longer than 1024 characters",
        ));
    }
    Ok(made_by_job(world, call, copy))
}

fn name<'a>(call: &'a Call<'_>) -> Result<&'a str, Refused> {
    let name = call
        .text("/name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refused::new(400, "IMG.0003", "the image name is invalid"))?;
    if name.chars().count() > 128 {
        Err(Refused::new(400, "IMG.0002", "the image name is longer than 128 characters"))
    } else {
        Ok(name)
    }
}

fn made_by_job(world: &mut World, call: &Call<'_>, image: Image) -> Success {
    let id = image.id.clone();
    world.images.insert(id.clone(), image);
    job(world, call, Some(id))
}

fn job(world: &mut World, call: &Call<'_>, image_id: Option<String>) -> Success {
    let job = ImageJob {
        id: new_id(),
        kind: format!("ims{}Job", call.name()),
        image_id,
        begun: call.now,
        looks: 0,
    };
    let answer = json!({"job_id": job.id});
    world.image_jobs.insert(job.id.clone(), job);
    Success::Json(answer)
}

fn show_job(world: &mut World, call: &Call<'_>) -> Answer {
    let id = call.path("job_id");
    let job = world.image_jobs.get_mut(id).ok_or_else(|| not_found("job", id))?;
    job.looks += 1;
    let done = job.looks > 1;
    let entities = job
        .image_id
        .iter()
        .filter(|_| done)
        .map(|image| ("image_id".to_owned(), json!(image)))
        .collect::<serde_json::Map<_, _>>();
    Ok(Success::Json(json!({
        "status": if done { "SUCCESS" } else { "RUNNING" }, "job_id": id, "job_type": job.kind, "begin_time": job.begun.rfc3339(),
        "end_time": done.then(|| call.now.rfc3339()), "error_code": null, "fail_reason": null, "entities": entities,
    })))
}

fn list(world: &World, call: &Call<'_>) -> Success {
    let wanted = |image: &&Image| {
        let is = |name: &str, value: &str| call.query(name).is_none_or(|wanted| wanted == value);
        sees(image, project(call))
            && is("name", &image.name)
            && is("id", &image.id)
            && is("status", &image.status)
            && is("visibility", visibility(image))
    };
    let marker = call.query("marker").unwrap_or_default();
    let found = world.images.values().filter(wanted).filter(|image| image.id.as_str() > marker);
    let images: Vec<_> = found.take(call.number("limit").unwrap_or(500)).map(shown).collect();
    Success::Json(json!({"images": images, "schema": "/v2/schemas/images", "first": "/v2/images"}))
}

/// JSON patch, as far as the sandbox keeps what it names.
fn update(world: &mut World, call: &Call<'_>) -> Answer {
    let image = owned(world, call, call.path("image_id"))?;
    for change in call.list("") {
        let value = change.get("value").and_then(Value::as_str).unwrap_or_default();
        match change.get("path").and_then(Value::as_str) {
            Some("/name") => value.clone_into(&mut image.name),
            Some("/__description") => value.clone_into(&mut image.description),
            Some(_) => {}
            None => return Err(invalid("path")),
        }
    }
    Ok(Success::Json(shown(image)))
}

/// Every image with every project.
fn batch_members(world: &mut World, call: &Call<'_>) -> Answer {
    let texts =
        |pointer: &str| call.list(pointer).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let (images, projects) = (texts("/images"), texts("/projects"));
    for image in &images {
        match call.name() {
            "UpdateImageMember" => {
                set_status(world, call, image, call.text("/project_id").unwrap_or_default())?
            }
            "AddImageMember" => {
                let members = &mut owned(world, call, image)?.members;
                members.extend(
                    projects.iter().map(|project| ((*project).to_owned(), "pending".to_owned())),
                );
            }
            _ => owned(world, call, image)?
                .members
                .retain(|member, _| !projects.contains(&member.as_str())),
        }
    }
    if images.is_empty() { Err(invalid("images")) } else { Ok(job(world, call, None)) }
}

fn set_status(
    world: &mut World,
    call: &Call<'_>,
    image: &str,
    member: &str,
) -> Result<(), Refused> {
    let wanted = call
        .text("/status")
        .filter(|status| ["accepted", "rejected", "pending"].contains(status))
        .ok_or_else(|| invalid("status"))?;
    let image = world.images.get_mut(image).ok_or_else(|| not_found("image", image))?;
    let status = image.members.get_mut(member).ok_or_else(|| not_found("member", member))?;
    wanted.clone_into(status);
    Ok(())
}

fn show_member(world: &World, call: &Call<'_>, image: &str, id: &str) -> Answer {
    let image = visible(world, call, image)?;
    image
        .members
        .get(id)
        .map(|status| Success::Json(member(image, id, status)))
        .ok_or_else(|| not_found("member", id))
}

fn member(image: &Image, id: &str, status: &str) -> Value {
    json!({
        "status": status, "created_at": seconds(image.created), "updated_at": seconds(image.created),
        "image_id": image.id, "member_id": id, "schema": "/v2/schemas/member",
    })
}

fn shown(image: &Image) -> Value {
    json!({
        "id": image.id, "name": image.name, "status": image.status, "visibility": visibility(image), "owner": image.project,
        "protected": false, "min_disk": 40, "min_ram": 0, "disk_format": "zvhd2", "container_format": "bare", "tags": image.tags,
        "created_at": seconds(image.created), "updated_at": seconds(image.created), "schema": "/v2/schemas/image",
        "self": format!("/v2/images/{}", image.id), "file": format!("/v2/images/{}/file", image.id),
        "__description": image.description, "__system__cmkid": image.cmk_id, "enterprise_project_id": image.enterprise_project_id,
    })
}

fn visibility(image: &Image) -> &'static str {
    if image.project.is_empty() { "public" } else { "private" }
}

fn sees(image: &Image, project: &str) -> bool {
    image.project.is_empty() || image.project == project || image.members.contains_key(project)
}

/// Where the path names no project, the header does, or the credential's own project is meant.
fn project<'a>(call: &'a Call<'_>) -> &'a str {
    call.project_header.unwrap_or(PROJECT)
}

fn visible<'w>(world: &'w World, call: &Call<'_>, id: &str) -> Result<&'w Image, Refused> {
    world
        .images
        .get(id)
        .filter(|image| sees(image, project(call)))
        .ok_or_else(|| not_found("image", id))
}

fn owned<'w>(world: &'w mut World, call: &Call<'_>, id: &str) -> Result<&'w mut Image, Refused> {
    let image = world
        .images
        .get_mut(id)
        .filter(|image| sees(image, project(call)))
        .ok_or_else(|| not_found("image", id))?;
    if image.project == project(call) {
        Ok(image)
    } else {
        Err(Refused::new(403, "IMG.0101", "the image belongs to another project"))
    }
}

fn image_id() -> String {
    AuditId::new().to_string()
}

fn not_found(what: &str, id: &str) -> Refused {
    Refused::new(404, "IMG.0027", format!("the {what} {id} does not exist"))
}

fn invalid(field: &str) -> Refused {
    Refused::new(400, "IMG.0001", format!("the field {field} is invalid"))
}
