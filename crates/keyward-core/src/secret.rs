//! Keyed digests: what stands in a record in place of a secret.
//!
//! Equal secrets give equal digests under one installation's key, so that a trail can be searched
//! for a secret that somebody holds in hand; without the key a digest tells nothing.

use crate::durable;
use hmac::{Hmac, KeyInit, Mac};
use rustix::fs::StatVfsMountFlags;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What every keyed digest begins with; 64 hexadecimal digits follow.
pub const DIGEST_PREFIX: &str = "hmac-sha256:";

/// The installation's key for keyed digests, 32 bytes. Prints itself as hidden.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(hidden)")
    }
}

/// Why the key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("digest key `{path}`: see to its disk, then start again")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is open to others.
    #[error("digest key `{path}`: {why}")]
    Open {
        /// The file.
        path: String,
        /// To whom, and what to do.
        why: String,
    },
    /// The file does not hold 64 hexadecimal digits.
    #[error("digest key `{path}` must hold 64 hexadecimal digits")]
    Form {
        /// The file.
        path: String,
    },
}

impl DigestKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key file; makes it, with a random key and mode 0600, when it does not exist.
    ///
    /// # Errors
    /// When the file cannot be read or made, is readable by others, or holds something else.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.display().to_string(), source };
        if path.exists() {
            return Self::open(path);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| io(std::io::Error::other(e.to_string())))?;
        match durable::create_private(path, hex::encode(bytes).as_bytes()) {
            Ok(()) => {
                tracing::warn!(
                    "a new key for the digests of secrets was made in `{}`: keep a copy, without it the trail cannot be asked by --secret",
                    path.display()
                );
                Ok(Self(bytes))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::open(path),
            Err(e) => Err(io(e)),
        }
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// When the file cannot be read, is readable by others, or does not hold 64 hexadecimal digits.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let io = |source| KeyError::Io { path: name(), source };
        // What cannot be looked at cannot be read either.
        if path.exists() {
            check_private(path).map_err(|why| KeyError::Open { path: name(), why })?;
        }
        let text = durable::read_text(path).map_err(io)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| KeyError::Form { path: name() })?;
        Ok(Self(bytes))
    }

    /// The keyed digest of a secret: `hmac-sha256:` and 64 hexadecimal digits.
    pub fn digest(&self, secret: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // INVARIANT: HMAC takes a key of any length.
            return "hmac-sha256:unavailable".to_owned();
        };
        mac.update(secret);
        format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
    }
}

/// Whether a file that holds a secret is guarded: the one rule for all of them. It is ours or
/// root's, others can do nothing with it, and a group may read it only where we cannot change that,
/// as with a secret that is mounted.
///
/// # Errors
/// When it is not, or is not there, in words that go behind its name.
pub fn check_private(path: &Path) -> Result<(), String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let user = geteuid().as_raw();
    let given = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
    let fixed = about.uid() != user
        || given
        || rustix::fs::statvfs(path)
            .is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::RDONLY));
    guarded(about.uid(), about.mode(), user, fixed)
        .map_err(|why| format!("{why}: {}", remedy(path, about.uid(), user)))
}

/// What is wrong with a secret's file; `fixed` says that we cannot change its mode.
fn guarded(owner: u32, mode: u32, user: u32, fixed: bool) -> Result<(), String> {
    let mode = mode & 0o777;
    if owner != user && owner != 0 {
        Err(format!(
            "it belongs to user {owner}, the gateway runs as user {user}, and whoever owns a file can replace it"
        ))
    } else if mode & 0o007 != 0 {
        Err(format!("it is readable by others (mode {mode:o})"))
    } else if mode & 0o020 != 0 {
        Err(format!("its group can write it (mode {mode:o})"))
    } else if mode & 0o040 != 0 && !fixed {
        Err(format!("it is readable by others, those of its group (mode {mode:o})"))
    } else {
        Ok(())
    }
}

fn remedy(path: &Path, owner: u32, user: u32) -> String {
    let path = path.display();
    match owner {
        _ if owner == user => {
            format!("run `chmod 600 {path}`, and make a new secret if others may have read it")
        }
        0 => format!("as root, run `chmod 440 {path}`, with a group that the gateway is in"),
        _ => format!("run `chown {user} {path}` and `chmod 600 {path}`"),
    }
}

/// Digests of what files hold, to see whether one has changed: times of files do not tell, for they
/// can be set, and stay the same when one file is put in the place of another. `None` for a file
/// that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<String>>);

impl Stamp {
    /// Of these files, in one order.
    pub fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        Self(files.map(|file| durable::read(file).ok().map(|bytes| sha256(&bytes))).collect())
    }

    /// That of the same files by now, if one of them has changed. While no file can be opened there
    /// is nothing to see.
    pub fn changed<'a>(&self, files: impl Iterator<Item = &'a Path>) -> Option<Self> {
        let now = Self::of(files);
        let hidden = now.0.contains(&None) && std::fs::File::open("/dev/null").is_err();
        (now != *self && !hidden).then_some(now)
    }
}

/// The plain digest of bytes that hold no secret: `sha256:` and 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_mounted_secret_is_taken_and_what_others_can_touch_is_not() {
        let (root, us, other) = (0, 1000, 1001);
        for (owner, mode, fixed, taken) in [
            (us, 0o600, false, true),
            (us, 0o400, false, true),
            (us, 0o640, false, false),
            (us, 0o440, true, true),
            (root, 0o440, true, true),
            (root, 0o640, true, true),
            (root, 0o460, true, false),
            (root, 0o444, true, false),
            (root, 0o441, true, false),
            (us, 0o604, true, false),
            (other, 0o600, true, false),
            (other, 0o440, true, false),
        ] {
            assert_eq!(
                guarded(owner, 0o100_000 | mode, us, fixed).is_ok(),
                taken,
                "{owner} {mode:o} {fixed}"
            );
        }
    }

    #[test]
    fn a_key_is_made_once_kept_private_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digest.key");
        let first = DigestKey::open_or_create(&path).unwrap();
        let second = DigestKey::open_or_create(&path).unwrap();
        assert_eq!(first.digest(b"pt-1"), second.digest(b"pt-1"));
        assert_ne!(first.digest(b"pt-1"), first.digest(b"pt-2"));
        assert_eq!(format!("{first:?}"), "DigestKey(hidden)");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            matches!(DigestKey::open(&path), Err(KeyError::Open { why, .. }) if why.contains("644") && why.contains("chmod 600"))
        );
    }
}
