//! Who may call the sandbox clouds, and with what. Nothing here opens anything but a sandbox.

use crate::signing::AccessKey;
use std::collections::BTreeMap;
use std::time::Duration;

/// The demo's project, that of the seeded key pairs, images and phone servers.
pub const PROJECT: &str = "0123456789abcdef0123456789abcdef";
/// Another tenant's project, with which an image is shared.
pub const PARTNER_PROJECT: &str = "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f";
/// The demo's Codeup organization.
pub const ORGANIZATION: &str = "60de7a6852743a5162b5f957";

/// A user of the Huawei tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name by which others take the user's key pairs.
    pub name: String,
    /// The id under which the services know the user.
    pub id: String,
}

/// What the sandbox takes for valid.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Huawei users.
    pub users: Vec<User>,
    /// Access keys, each with the name of its user.
    pub access_keys: Vec<(AccessKey, String)>,
    /// `X-Auth-Token` values, each with the name of its user.
    pub tokens: BTreeMap<String, String>,
    /// Codeup's personal access tokens (`x-yunxiao-token`, `accessToken`), each with the name of
    /// its owner.
    pub personal_tokens: BTreeMap<String, String>,
    /// Access keys of the older Alibaba API, each with the name of its owner.
    pub acs_keys: Vec<(AccessKey, String)>,
    /// Host as received, with its port, to service: for clients that dial by address.
    pub bound: BTreeMap<String, String>,
    /// How long a slow answer takes.
    pub slow: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let keys = |triples: &[(&str, &str, &str)]| {
            let key = |(id, secret, user): &(&str, &str, &str)| {
                (
                    AccessKey { id: (*id).to_owned(), secret: (*secret).to_owned() },
                    (*user).to_owned(),
                )
            };
            triples.iter().map(key).collect()
        };
        let user =
            |(name, id): &(&str, &str)| User { name: (*name).to_owned(), id: (*id).to_owned() };
        Self {
            users: [
                ("keyadmin", "e4f380899b1248918f3d37098dc63746"),
                ("kpsuser", "a1b2c3d4e5f60718293a4b5c6d7e8f90"),
                ("imageops", "b2c3d4e5f60718293a4b5c6d7e8f90a1"),
                ("ci", "c3d4e5f60718293a4b5c6d7e8f90a1b2"),
            ]
            .iter()
            .map(user)
            .collect(),
            access_keys: keys(&[
                ("AKDEMOKEYADMIN", "sandbox-secret-of-keyadmin", "keyadmin"),
                ("AKDEMOKPSUSER", "sandbox-secret-of-kpsuser", "kpsuser"),
                ("AKDEMOIMAGEOPS", "sandbox-secret-of-imageops", "imageops"),
                ("AKDEMOCI", "sandbox-secret-of-ci", "ci"),
            ]),
            tokens: owned(&[
                ("MIISANDBOXTOKENOFKEYADMIN0001", "keyadmin"),
                ("MIISANDBOXTOKENOFKPSUSER0002", "kpsuser"),
                ("MIISANDBOXTOKENOFIMAGEOPS0003", "imageops"),
                ("MIISANDBOXTOKENOFCI0004", "ci"),
            ]),
            personal_tokens: owned(&[
                ("pt-sandboxReleaseDesk_0001", "release-desk"),
                ("pt-sandboxBuildBot_0002", "build-bot"),
            ]),
            acs_keys: keys(&[(
                "LTAIDEMORELEASE",
                "sandbox-secret-of-release-desk",
                "release-desk",
            )]),
            bound: BTreeMap::new(),
            slow: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// The access key of that id, with the name of its user.
    pub fn access_key(&self, id: &str) -> Option<&(AccessKey, String)> {
        self.access_keys.iter().find(|(key, _)| key.id == id)
    }

    /// The access key of the older Alibaba API of that id, with the name of its owner.
    pub fn acs_key(&self, id: &str) -> Option<&(AccessKey, String)> {
        self.acs_keys.iter().find(|(key, _)| key.id == id)
    }
}
