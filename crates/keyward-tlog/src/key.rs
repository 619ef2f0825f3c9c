//! The keys of checkpoints: the log's own, which signs, and those by which others verify, in the
//! forms of C2SP's signed notes.
//!
//! Whoever holds the signing key and the trail can rewrite both, so the key lies apart from the
//! trail: in a file of its own, or where systemd puts credentials.

use base64::prelude::{BASE64_STANDARD, Engine};
use ed25519_dalek::VerifyingKey;
use keyward_core::durable;
use keyward_core::secret::check_private;
use signed_note::{Signer, StandardSigner, StandardVerifier, Verifier};
use std::io;
use std::path::{Path, PathBuf};

/// The name of the signing key among systemd's credentials.
pub const CREDENTIAL: &str = "keyward-evidence-key";

const ED25519: u8 = 0x01;
const COSIGNATURE_V1: u8 = 0x04;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("signing key `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is open to others, or somebody else's.
    #[error("signing key `{path}`: {why}")]
    Open {
        /// The file.
        path: PathBuf,
        /// To whom, and what to do.
        why: String,
    },
    /// It holds something else.
    #[error("signing key `{0}` holds no key: the form is PRIVATE+KEY+NAME+ID+BASE64, on one line")]
    Form(PathBuf),
    /// The configuration names another log.
    #[error(
        "signing key `{path}` is for the log `{found}`, `evidence.origin` says `{wanted}`: a log keeps its name for ever"
    )]
    Origin {
        /// The file.
        path: PathBuf,
        /// The key's name.
        found: String,
        /// The configured one.
        wanted: String,
    },
    /// A name that no log can have.
    #[error(
        "`{0}` cannot name a log: write something like audit.example.com/keyward, without blanks and plus signs"
    )]
    Name(String),
    /// No verifier key.
    #[error(
        "`{0}` is no verifier key: the form is NAME+ID+BASE64, as the log prints it at its first start"
    )]
    Verifier(String),
    /// The system has no random bytes.
    #[error("no random bytes for a new key: {0}")]
    Random(String),
}

/// Signs checkpoints. Prints itself as its verifier key.
#[derive(Clone)]
pub struct SigningKey {
    signer: StandardSigner,
    verifier: LogKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

impl SigningKey {
    /// A new key for the log `origin`, and its text.
    ///
    /// # Errors
    /// When the name cannot be, or there are no random bytes.
    pub fn generate(origin: &str) -> Result<(Self, String), KeyError> {
        if !signed_note::is_key_name_valid(origin) || origin.chars().any(char::is_control) {
            return Err(KeyError::Name(origin.to_owned()));
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        let id = signed_note::key_id(origin, &typed(ED25519, public.as_bytes()));
        let text = format!(
            "PRIVATE+KEY+{origin}+{id:08x}+{}",
            BASE64_STANDARD.encode(typed(ED25519, &seed))
        );
        let key = Self::parse(&text).ok_or_else(|| KeyError::Name(origin.to_owned()))?;
        Ok((key, text))
    }

    /// A key from its text.
    pub fn parse(text: &str) -> Option<Self> {
        let signer = StandardSigner::new(text).ok()?;
        // Base64 has plus signs too.
        let private = BASE64_STANDARD.decode(text.splitn(5, '+').last()?).ok()?;
        let seed: [u8; 32] = private.get(1..)?.try_into().ok()?;
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        let verifier =
            LogKey::parse(&signed_note::new_ed25519_verifier_key(signer.name(), &public)).ok()?;
        Some(Self { signer, verifier })
    }

    /// Reads a key file, which must be guarded as every secret.
    ///
    /// # Errors
    /// When it cannot be read, is open to others, or holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        std::fs::metadata(path).map_err(io)?;
        check_private(path).map_err(|why| KeyError::Open { path: path.to_owned(), why })?;
        let text = durable::read_text(path).map_err(io)?;
        Self::parse(text.trim()).ok_or_else(|| KeyError::Form(path.to_owned()))
    }

    /// Makes a key file, which must not exist yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, origin: &str) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let (key, text) = Self::generate(origin)?;
        durable::create_private(path, format!("{text}\n").as_bytes()).map_err(io)?;
        Ok(key)
    }

    /// The key by which others verify.
    pub fn verifier(&self) -> &LogKey {
        &self.verifier
    }

    /// What signs notes.
    pub(super) fn signer(&self) -> &dyn Signer {
        &self.signer
    }
}

/// The key by which a log's checkpoints are verified. Prints itself as NAME+ID+BASE64.
#[derive(Clone)]
pub struct LogKey {
    verifier: StandardVerifier,
    text: String,
}

impl LogKey {
    /// A key from its text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let verifier =
            StandardVerifier::new(text).map_err(|_| KeyError::Verifier(text.to_owned()))?;
        Ok(Self { verifier, text: text.to_owned() })
    }

    /// The log's name, which its checkpoints bear in their first line.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// What verifies notes.
    pub(super) fn verifier(&self) -> &StandardVerifier {
        &self.verifier
    }
}

impl PartialEq for LogKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Display for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The key by which a witness' cosignatures are verified, `cosignature/v1`: over a time and the
/// checkpoint.
#[derive(Clone, Debug)]
pub struct WitnessKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl WitnessKey {
    /// A key from NAME+ID+BASE64.
    ///
    /// # Errors
    /// When it is none, or of another type.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::read(text.trim()).ok_or_else(|| KeyError::Verifier(text.trim().to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = BASE64_STANDARD.decode(key).ok()?;
        let id = (id.len() == 8).then(|| u32::from_str_radix(id, 16).ok())??;
        let (kind, bytes) = key.split_first()?;
        let sound = *kind == COSIGNATURE_V1
            && signed_note::is_key_name_valid(name)
            && signed_note::key_id(name, &key) == id;
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        sound.then(|| Self { name: name.to_owned(), id, key })
    }

    /// The seconds since 1970 at which the witness says it saw the checkpoint, if the signature is
    /// its.
    pub fn seen_at(&self, text: &[u8], signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        let message = [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat();
        self.key.verify_strict(&message, &signature).ok().map(|()| time)
    }
}

impl Verifier for WitnessKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, msg: &[u8], sig: &[u8]) -> bool {
        self.seen_at(msg, sig).is_some()
    }
}

fn typed(kind: u8, key: &[u8; 32]) -> Vec<u8> {
    [&[kind], key.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evidence.key");
        let key = SigningKey::create(&path, "example.com/log").unwrap();
        assert_eq!(SigningKey::read(&path).unwrap().verifier(), key.verifier());
        assert!(matches!(SigningKey::create(&path, "example.com/log"), Err(KeyError::Io { .. })));
        let secret = std::fs::read_to_string(&path).unwrap();
        assert!(!format!("{key:?}").contains(secret.splitn(5, '+').last().unwrap().trim()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = SigningKey::read(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        SigningKey::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        durable::create_private(&path, b"PRIVATE+KEY+x").unwrap();
        assert!(matches!(SigningKey::read(&path), Err(KeyError::Form(_))));
    }

    #[test]
    fn every_key_reads_back() {
        for _ in 0..100 {
            let (key, text) = SigningKey::generate("example.com/log").unwrap();
            assert_eq!(SigningKey::parse(&text).unwrap().verifier(), key.verifier());
            assert_eq!(
                LogKey::parse(&key.verifier().to_string()).unwrap().origin(),
                "example.com/log"
            );
        }
    }

    #[test]
    fn only_names_that_notes_can_bear() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{7}b"] {
            assert!(matches!(SigningKey::generate(name), Err(KeyError::Name(_))), "{name:?}");
        }
        for text in ["", "x", "a+b+c", "a+00000000+AAAA"] {
            assert!(LogKey::parse(text).is_err() && WitnessKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_witness_key_is_of_its_own_type() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let text = |kind| {
            let typed = typed(kind, key.verifying_key().as_bytes());
            format!(
                "w.example+{:08x}+{}",
                signed_note::key_id("w.example", &typed),
                BASE64_STANDARD.encode(typed)
            )
        };
        assert!(WitnessKey::parse(&text(1)).is_err());
        let witness = WitnessKey::parse(&text(4)).unwrap();
        let sign = |message: &[u8]| ed25519_dalek::Signer::sign(&key, message).to_bytes();
        let signature =
            [9_u64.to_be_bytes().as_slice(), &sign(b"cosignature/v1\ntime 9\nx\n1\n")].concat();
        assert_eq!(witness.seen_at(b"x\n1\n", &signature), Some(9));
        assert_eq!(witness.seen_at(b"x\n2\n", &signature), None);
        assert_eq!(
            witness.seen_at(b"x\n1\n", &[8_u64.to_be_bytes().as_slice(), &signature[8..]].concat()),
            None
        );
        assert_eq!(witness.seen_at(b"x\n1\n", &signature[..20]), None);
    }
}
