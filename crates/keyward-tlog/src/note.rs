//! Checkpoints as signed notes: C2SP's tlog-checkpoint, whose text is the log's name, its size and
//! its root.

use super::key::{LogKey, SigningKey, WitnessKey};
use signed_note::{Note, Signature, Signer, Verifier, VerifierList};
use std::fmt;
use tlog_tiles::{Checkpoint, Hash};

/// Why a note is no checkpoint of this log.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The bytes are no note, or its text is no checkpoint.
    #[error("no checkpoint: {0}")]
    Form(String),
    /// No known key has signed it.
    #[error("the checkpoint is not signed by {0}")]
    Unknown(String),
    /// A signature in the name of a known key is wrong.
    #[error("the checkpoint is not signed by {keys}: {why}")]
    Signature {
        /// The keys that were tried.
        keys: String,
        /// What is wrong.
        why: String,
    },
    /// It is of another log.
    #[error("the checkpoint is of the log `{found}`, not of `{wanted}`")]
    Origin {
        /// Its first line.
        found: String,
        /// The key's name.
        wanted: String,
    },
    /// It could not be signed.
    #[error("the checkpoint could not be signed: {0}")]
    Sign(String),
}

/// A checkpoint with the signatures on it.
#[derive(Debug)]
pub struct Signed {
    checkpoint: Checkpoint,
    note: Note,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.note.to_bytes()))
    }
}

impl Signed {
    /// Signs the head of a tree with each of `keys`, which have one name.
    ///
    /// # Errors
    /// When there is no key, or signing fails.
    pub fn sign(size: u64, root: Hash, keys: &[&SigningKey]) -> Result<Self, NoteError> {
        let failed = |why: String| NoteError::Sign(why);
        let origin = keys.first().ok_or_else(|| failed("no key".to_owned()))?.verifier().origin();
        let checkpoint =
            Checkpoint::new(origin, size, root, "").map_err(|e| failed(e.to_string()))?;
        let mut note = Note::new(&checkpoint.to_bytes(), &[]).map_err(|e| failed(e.to_string()))?;
        let signers: Vec<&dyn Signer> = keys.iter().map(|key| key.signer()).collect();
        note.add_sigs(&signers).map_err(|e| failed(e.to_string()))?;
        Ok(Self { checkpoint, note })
    }

    /// Reads a note without asking who signed it.
    ///
    /// # Errors
    /// When it is no checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = Note::from_bytes(bytes).map_err(|e| NoteError::Form(e.to_string()))?;
        let checkpoint =
            Checkpoint::from_bytes(note.text()).map_err(|e| NoteError::Form(e.to_string()))?;
        Ok(Self { checkpoint, note })
    }

    /// Reads a note that one of `keys` must have signed.
    ///
    /// # Errors
    /// When it is no checkpoint, of another log, or not signed by any of them.
    pub fn open(bytes: &[u8], keys: &[LogKey]) -> Result<Self, NoteError> {
        let signed = Self::parse(bytes)?;
        signed.signers(keys)?;
        Ok(signed)
    }

    /// Which of `keys` have signed it: at least one.
    ///
    /// # Errors
    /// When none has, a signature under one of their names is wrong, or it is of another log.
    pub fn signers<'a>(&self, keys: &'a [LogKey]) -> Result<Vec<&'a LogKey>, NoteError> {
        let names = || keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let known = VerifierList::new(
            keys.iter().map(|key| Box::new(key.verifier().clone()) as Box<dyn Verifier>).collect(),
        );
        let (signatures, _) = self.note.verify(&known).map_err(|error| match error {
            signed_note::NoteError::UnverifiedNote => NoteError::Unknown(names()),
            wrong => NoteError::Signature { keys: names(), why: wrong.to_string() },
        })?;
        let signers = keys.iter().filter(|key| {
            signatures
                .iter()
                .any(|s| s.name() == key.verifier().name() && s.id() == key.verifier().key_id())
        });
        let signers: Vec<_> = signers.collect();
        match signers.first() {
            Some(key) if key.origin() != self.origin() => Err(NoteError::Origin {
                found: self.origin().to_owned(),
                wanted: key.origin().to_owned(),
            }),
            Some(_) => Ok(signers),
            None => Err(NoteError::Unknown(names())),
        }
    }

    /// The same checkpoint with those cosignatures of `lines` that are the witness'. `None` when
    /// there is none.
    pub fn cosigned(&self, lines: &[u8], witness: &WitnessKey) -> Option<Self> {
        let is_witness = |s: &Signature| s.name() == witness.name() && s.id() == witness.key_id();
        let mut signatures: Vec<_> =
            self.signatures()?.into_iter().filter(|s| !is_witness(s)).collect();
        let lines = std::str::from_utf8(lines).ok()?;
        let signature =
            lines.lines().filter_map(|line| Signature::from_bytes(line.as_bytes()).ok());
        signatures.push(
            signature
                .into_iter()
                .find(|s| is_witness(s) && witness.verify(self.note.text(), s.signature()))?,
        );
        let note = Note::new(self.note.text(), &signatures).ok()?;
        Self::parse(&note.to_bytes()).ok()
    }

    /// When each of `witnesses` that has cosigned it did, in seconds since 1970.
    pub fn seen_by<'a>(&self, witnesses: &'a [WitnessKey]) -> Vec<(&'a str, u64)> {
        let signatures = self.signatures().unwrap_or_default();
        let seen = |w: &'a WitnessKey| {
            let signature =
                signatures.iter().find(|s| s.name() == w.name() && s.id() == w.key_id())?;
            w.seen_at(self.note.text(), signature.signature()).map(|time| (w.name(), time))
        };
        witnesses.iter().filter_map(seen).collect()
    }

    /// The signature lines, which the note does not hand out.
    fn signatures(&self) -> Option<Vec<Signature>> {
        let bytes = self.note.to_bytes();
        let lines = std::str::from_utf8(bytes.get(self.note.text().len() + 1..)?).ok()?;
        lines.lines().map(|line| Signature::from_bytes(line.as_bytes()).ok()).collect()
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.checkpoint.origin()
    }

    /// Records in the tree.
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        *self.checkpoint.hash()
    }

    /// The whole note.
    pub fn bytes(&self) -> Vec<u8> {
        self.note.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(origin: &str) -> SigningKey {
        SigningKey::generate(origin).unwrap().0
    }

    #[test]
    fn a_checkpoint_is_opened_by_its_key_and_by_no_other() {
        let (own, other) = (key("example.com/log"), key("example.com/log"));
        let signed = Signed::sign(3, Hash([7; 32]), &[&own]).unwrap();
        let bytes = signed.bytes();
        assert!(String::from_utf8_lossy(&bytes).starts_with("example.com/log\n3\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n\u{2014} example.com/log "));
        assert_eq!(Signed::open(&bytes, &[own.verifier().clone()]).unwrap().size(), 3);
        assert!(matches!(
            Signed::open(&bytes, &[other.verifier().clone()]),
            Err(NoteError::Unknown(_))
        ));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Signed::open(&changed, &[own.verifier().clone()]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn two_keys_of_one_log_may_sign_together() {
        let (old, new) = (key("example.com/log"), key("example.com/log"));
        let signed = Signed::sign(3, Hash([7; 32]), &[&old, &new]).unwrap();
        let keys = [old.verifier().clone(), new.verifier().clone()];
        assert_eq!(signed.signers(&keys).unwrap().len(), 2);
        assert_eq!(signed.signers(&keys[..1]).unwrap(), [&keys[0]]);
        assert!(Signed::sign(3, Hash([7; 32]), &[]).is_err());
    }

    #[test]
    fn what_is_no_checkpoint_is_an_error() {
        for bytes in [
            &b""[..],
            b"x",
            b"\n\n\n",
            b"a\n1\nx\n\n",
            "\u{2014}\n\n\u{2014} a AAAAAAAA\n".as_bytes(),
            &[0xff; 40],
        ] {
            assert!(Signed::parse(bytes).is_err());
        }
    }
}
