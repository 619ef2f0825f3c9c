//! How Nova words a key pair: other fields than KPS, and never what the service keeps.

use super::state::{Keypair, World};
use serde_json::{Value, json};

/// In a list.
pub(super) fn listed(keypair: &Keypair) -> Value {
    json!({"keypair": {
        "name": keypair.name, "type": keypair.kind, "public_key": keypair.material.public, "fingerprint": keypair.material.fingerprint,
    }})
}

/// Alone.
pub(super) fn detail(world: &World, keypair: &Keypair) -> Value {
    let created = keypair.created.rfc3339();
    json!({"keypair": {
        "name": keypair.name, "type": keypair.kind, "public_key": keypair.material.public, "fingerprint": keypair.material.fingerprint,
        "user_id": world.user_id(&keypair.user), "id": keypair.id, "deleted": false,
        "created_at": created.trim_end_matches('Z'), "updated_at": null, "deleted_at": null,
    }})
}
