//! Cloud phone servers. Batches are asynchronous, and each server fails or goes well on its own.

use super::call::{Call, text};
use super::errors::{Answer, Refused, Success};
use super::state::{PhoneJob, PhoneServer, World, new_id};
use serde_json::{Value, json};

pub(super) fn answer(world: &mut World, call: &Call<'_>) -> Answer {
    match call.name() {
        "UpdateKeypair" => update_keypair(world, call),
        "ListCloudPhoneServers" => {
            let project = call.path("project_id");
            // Status 5: running; 10: frozen.
            let listed = |s: &PhoneServer| json!({"server_id": s.id, "server_name": s.name, "keypair_name": s.keypair, "status": if s.frozen { 10 } else { 5 }});
            let servers: Vec<_> =
                world.phone_servers.values().filter(|s| s.project == project).map(listed).collect();
            Ok(Success::Json(
                json!({"request_id": call.request_id, "count": servers.len(), "servers": servers}),
            ))
        }
        "ListJobs" => {
            let wanted = call.query("request_id").or_else(|| call.query("request_ids"));
            let jobs = world.phone_jobs.iter().filter(|job| {
                wanted.is_none_or(|ids| ids.split(',').any(|id| id == job.request_id))
            });
            Ok(Success::Json(
                json!({"request_id": call.request_id, "jobs": jobs.map(shown).collect::<Vec<_>>()}),
            ))
        }
        "ShowJob" => {
            let job = world.phone_jobs.iter().find(|job| job.id == call.path("job_id"));
            job.map(|job| Success::Json(shown(job)))
                .ok_or_else(|| Refused::new(404, "CPS.0005", "the job does not exist"))
        }
        _ => Ok(Success::Example),
    }
}

/// One job for each server. A server that cannot be changed has an error in its place; the status
/// is 200 all the same.
fn update_keypair(world: &mut World, call: &Call<'_>) -> Answer {
    let servers = call.list("/servers");
    if servers.is_empty() {
        return Err(Refused::new(400, "CPS.0004", "the parameter servers is invalid"));
    }
    let project = call.path("project_id");
    let mut jobs = Vec::new();
    for wanted in servers {
        let (id, keypair) = (
            text(wanted, "/server_id").unwrap_or_default(),
            text(wanted, "/keypair_name").unwrap_or_default(),
        );
        let known = world.keypairs.iter().any(|k| k.project == project && k.name == keypair);
        let fault = match world.phone_servers.get_mut(id).filter(|server| server.project == project)
        {
            None => Some(("CPS.0005", "the server does not exist")),
            Some(_) if !known => Some(("CPS.0006", "the key pair does not exist")),
            Some(server) if server.frozen => Some(("CPS.0012", "the server is frozen")),
            Some(server) => {
                keypair.clone_into(&mut server.keypair);
                None
            }
        };
        jobs.push(match fault {
            Some((code, why)) => json!({"server_id": id, "error_code": code, "error_msg": why}),
            None => {
                let job = PhoneJob {
                    id: new_id(),
                    request_id: call.request_id.to_owned(),
                    server_id: id.to_owned(),
                    begun: call.now,
                };
                let answer = json!({"server_id": id, "job_id": job.id});
                world.phone_jobs.push(job);
                answer
            }
        });
    }
    Ok(Success::Json(json!({"request_id": call.request_id, "jobs": jobs})))
}

/// Status 2: done.
fn shown(job: &PhoneJob) -> Value {
    json!({"request_id": job.request_id, "job_id": job.id, "server_id": job.server_id, "begin_time": job.begun.rfc3339(), "status": 2})
}
