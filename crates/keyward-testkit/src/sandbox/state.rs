//! What the sandbox clouds hold, and what they hold at first. In memory; a restart or a reset
//! begins anew.

use super::keys::Material;
use super::settings::{ORGANIZATION, PARTNER_PROJECT, PROJECT, Settings};
use keyward_core::clock::{AuditId, Timestamp};
use std::collections::BTreeMap;

/// A key pair of one user in one project.
#[derive(Clone, Debug)]
pub(super) struct Keypair {
    pub project: String,
    /// Name of the owner.
    pub user: String,
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    /// `user`, or `domain` for one that the whole account sees.
    pub scope: String,
    pub material: Material,
    /// The service keeps the private key, and gives it out again.
    pub hosted: bool,
    pub description: String,
    pub id: u64,
    pub created: Timestamp,
}

/// An image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub id: String,
    pub name: String,
    /// The project that owns it; empty for a public one.
    pub project: String,
    /// `active` when it can be used.
    pub status: String,
    pub description: String,
    /// KMS key under which it is encrypted.
    pub cmk_id: String,
    pub enterprise_project_id: String,
    /// Of a whole machine: cannot be copied.
    pub whole: bool,
    /// Project to `pending`, `accepted` or `rejected`.
    pub members: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub created: Timestamp,
}

/// A job of the image service.
#[derive(Clone, Debug)]
pub(super) struct ImageJob {
    pub id: String,
    pub kind: String,
    pub image_id: Option<String>,
    pub begun: Timestamp,
    /// The first look finds it running, later ones find it done.
    pub looks: u32,
}

/// A cloud phone server.
#[derive(Clone, Debug)]
pub(super) struct PhoneServer {
    pub id: String,
    pub name: String,
    pub project: String,
    pub keypair: String,
    /// A frozen server takes no change: its job fails, the others of the batch do not.
    pub frozen: bool,
}

/// A job of the cloud phone service.
#[derive(Clone, Debug)]
pub(super) struct PhoneJob {
    pub id: String,
    pub request_id: String,
    pub server_id: String,
    pub begun: Timestamp,
}

/// An SSH key in Codeup: of a person, or of a repository.
#[derive(Clone, Debug)]
pub(super) struct CodeupKey {
    pub id: u64,
    /// The token's owner.
    pub owner: String,
    /// Organization id, or the host in the region edition.
    pub organization: String,
    /// Of a deploy key alone.
    pub repository: Option<String>,
    pub title: String,
    pub material: Material,
    pub scope: String,
    pub expires: Option<String>,
    /// Of a deploy key: whether it lets anybody in now.
    pub enabled: bool,
    pub created: Timestamp,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct World {
    pub keypairs: Vec<Keypair>,
    pub images: BTreeMap<String, Image>,
    pub image_jobs: BTreeMap<String, ImageJob>,
    pub phone_servers: BTreeMap<String, PhoneServer>,
    pub phone_jobs: Vec<PhoneJob>,
    pub codeup_keys: Vec<CodeupKey>,
    /// User name to id.
    pub users: BTreeMap<String, String>,
    last_number: u64,
}

impl World {
    /// The demo's world: a copy of `kpsuser`'s key pairs by `keyadmin` fails in part, for both have
    /// a `kp-b`; a batch over the phone servers fails in part, for one is frozen.
    pub fn seeded(settings: &Settings, now: Timestamp) -> Self {
        let mut world = Self {
            users: settings.users.iter().map(|u| (u.name.clone(), u.id.clone())).collect(),
            last_number: 5239,
            ..Self::default()
        };
        for (user, name, hosted, scope) in [
            ("kpsuser", "kp-a", true, "user"),
            ("kpsuser", "kp-b", true, "user"),
            ("kpsuser", "kp-c", false, "user"),
            ("keyadmin", "kp-b", false, "user"),
            ("keyadmin", "kp-ops", true, "user"),
            ("ci", "kp-ci", true, "user"),
            ("ci", "lab-adb-2026", false, "user"),
            ("keyadmin", "kp-shared", false, "domain"),
        ] {
            let mut material = Material::made(name);
            material.private = material.private.filter(|_| hosted);
            let keypair = Keypair {
                project: PROJECT.to_owned(),
                user: user.to_owned(),
                name: name.to_owned(),
                kind: "ssh".to_owned(),
                scope: scope.to_owned(),
                material,
                hosted,
                description: String::new(),
                id: world.number(),
                created: now,
            };
            world.keypairs.push(keypair);
        }
        for (id, name, project, status, cmk_id, whole) in [
            ("465076de-dc36-4aec-80f5-ef9d8009428f", "golden", PROJECT, "active", "", false),
            (
                "5b1c8a52-7f8e-4d0a-9b43-2f6e1c0d7a11",
                "golden-encrypted",
                PROJECT,
                "active",
                "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d",
                false,
            ),
            ("6c2d9b63-809f-4e1b-8c54-307f2d1e8b22", "whole-machine", PROJECT, "active", "", true),
            ("7d3eac74-91a0-4f2c-9d65-41803e2f9c33", "half-done", PROJECT, "queued", "", false),
            ("8e4fbd85-a2b1-403d-8e76-52914f30ad44", "shared-base", PROJECT, "active", "", false),
            ("9f50ce96-b3c2-414e-9f87-63a25041be55", "ubuntu-24.04", "", "active", "", false),
        ] {
            let mut image = Image::new(id, name, project, now);
            (image.status, image.cmk_id, image.whole) =
                (status.to_owned(), cmk_id.to_owned(), whole);
            if name == "shared-base" {
                image.members.insert(PARTNER_PROJECT.to_owned(), "accepted".to_owned());
            }
            world.images.insert(id.to_owned(), image);
        }
        for (id, name, keypair, frozen) in [
            ("ae4d3b1c9f2e4a7d8c6b5a4f3e2d1c0b", "lab-1", "kp-b", false),
            ("be5e4c2dad3f5b8e9d7c6b5a4f3e2d1c", "lab-2", "kp-b", true),
            ("cf6f5d3ebe406c9fae8d7c6b5a4f3e2d", "lab-3", "kp-ops", false),
        ] {
            let server = PhoneServer {
                id: id.to_owned(),
                name: name.to_owned(),
                project: PROJECT.to_owned(),
                keypair: keypair.to_owned(),
                frozen,
            };
            world.phone_servers.insert(id.to_owned(), server);
        }
        for (owner, title, scope) in
            [("release-desk", "laptop", "ALL"), ("build-bot", "agent-1", "READ")]
        {
            let key = CodeupKey {
                id: world.number(),
                owner: owner.to_owned(),
                organization: ORGANIZATION.to_owned(),
                repository: None,
                title: title.to_owned(),
                material: Material { private: None, ..Material::made(title) },
                scope: scope.to_owned(),
                expires: None,
                enabled: true,
                created: now,
            };
            world.codeup_keys.push(key);
        }
        world
    }

    /// The next number of a row.
    pub fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The id of a user; the name itself for one that is not known.
    pub fn user_id<'a>(&'a self, name: &'a str) -> &'a str {
        self.users.get(name).map_or(name, String::as_str)
    }

    /// The key pair of that name that the user sees: the own one first, then one of the whole
    /// account.
    pub fn keypair(&self, project: &str, user: &str, name: &str) -> Option<&Keypair> {
        let mut named = self.keypairs.iter().filter(|k| k.project == project && k.name == name);
        named.clone().find(|k| k.user == user).or_else(|| named.find(|k| k.scope == "domain"))
    }

    /// The key pair of that name that the user sees, to be changed.
    pub fn keypair_mut(&mut self, project: &str, user: &str, name: &str) -> Option<&mut Keypair> {
        let id = self.keypair(project, user, name)?.id;
        self.keypairs.iter_mut().find(|k| k.id == id)
    }
}

impl Image {
    /// A private image that is ready.
    pub fn new(id: &str, name: &str, project: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            project: project.to_owned(),
            status: "active".to_owned(),
            description: String::new(),
            cmk_id: String::new(),
            enterprise_project_id: "0".to_owned(),
            whole: false,
            members: BTreeMap::new(),
            tags: Vec::new(),
            created: now,
        }
    }
}

/// A new id in the form of most Huawei ids: 32 hexadecimal digits.
pub(super) fn new_id() -> String {
    AuditId::new().0.simple().to_string()
}

/// Whole seconds, `2026-11-22T14:20:50Z`, as most services write a time.
pub(super) fn seconds(time: Timestamp) -> String {
    let text = time.rfc3339();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}
