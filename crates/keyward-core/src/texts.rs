//! What was in force: the texts of policies and catalogue, kept beside the trail under their
//! hashes.
//!
//! The hashes stand in every record, so the texts need no proof of their own: whoever has a text
//! can hash it. They are written before the first call is judged by them, and never removed.

use crate::durable;
use crate::secret::sha256;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Where texts are asked for on the admin listener.
pub const TEXTS: &str = "/api/v1/texts";
/// Their folder, in the trail's.
pub const DIR: &str = "texts";

/// Copies all texts from one trail's folder to another's.
///
/// # Errors
/// When they cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.join(DIR), to.join(DIR));
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(&to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// All that a bundle says, as text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PolicyTexts {
    /// The schema that was made from the catalogue, in Cedar's own syntax.
    pub schema: String,
    /// Policy files, each as (name, text).
    pub policies: Vec<(String, String)>,
    /// The patterns file.
    pub patterns: Option<(String, String)>,
    /// The groups of callers.
    pub groups: Vec<String>,
}

impl PolicyTexts {
    /// The bundle's hash: over the texts, each with its length, so that nothing can move from one
    /// to the next unseen.
    pub fn hash(&self) -> String {
        let texts = std::iter::once(&self.schema).chain(self.policies.iter().map(|(_, text)| text));
        let texts = texts.chain(self.patterns.iter().map(|(_, text)| text)).chain(&self.groups);
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        sha256(&bytes)
    }
}

/// The digest of documents given as (file name, text): over names and texts, each with its length,
/// so that nothing can move from one to the next unseen. The folder is nobody's business.
pub fn catalog_digest(documents: &[(String, String)]) -> String {
    // No text begins so: what has a digest of now has none of before.
    let mut bytes = vec![0xff];
    for (file, text) in documents {
        let name =
            Path::new(file).file_name().map_or(file.as_bytes(), |name| name.as_encoded_bytes());
        for part in [name, text.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    sha256(&bytes)
}

/// Whether documents have a digest, by the rule of now or by the one of before, which joined their
/// texts alone: older records have it.
pub fn has_catalog_digest(documents: &[(String, String)], wanted: &str) -> bool {
    let before =
        || sha256(documents.iter().map(|(_, text)| text.as_str()).collect::<String>().as_bytes());
    catalog_digest(documents) == wanted || before() == wanted
}

/// One of the texts that decide.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Text {
    /// Policies, with all that their meaning depends on.
    Bundle(PolicyTexts),
    /// What is known of the clouds.
    Catalog {
        /// The documents, each as (file name, text).
        documents: Vec<(String, String)>,
    },
}

impl Text {
    /// Policies; the folders in which they stood are nobody's business.
    pub fn bundle(source: &PolicyTexts) -> Self {
        let mut source = source.clone();
        source
            .policies
            .iter_mut()
            .chain(&mut source.patterns)
            .for_each(|(name, _)| *name = base(name));
        Self::Bundle(source)
    }

    /// A catalogue.
    pub fn catalog(documents: &[(String, String)]) -> Self {
        Self::Catalog {
            documents: documents.iter().map(|(name, text)| (base(name), text.clone())).collect(),
        }
    }

    /// The hash by which records name it.
    pub fn hash(&self) -> String {
        match self {
            Self::Bundle(source) => source.hash(),
            Self::Catalog { documents } => catalog_digest(documents),
        }
    }

    /// Whether a record may name it by this hash.
    fn has_hash(&self, hash: &str) -> bool {
        match self {
            Self::Bundle(source) => source.hash() == hash,
            Self::Catalog { documents } => has_catalog_digest(documents, hash),
        }
    }

    /// Its files, by names that are sound.
    pub fn files(&self) -> Vec<(String, &str)> {
        match self {
            Self::Bundle(source) => {
                let mut files = vec![("schema.cedarschema".to_owned(), source.schema.as_str())];
                files.extend(
                    source
                        .policies
                        .iter()
                        .chain(&source.patterns)
                        .map(|(name, text)| (base(name), text.as_str())),
                );
                files
            }
            Self::Catalog { documents } => {
                documents.iter().map(|(name, text)| (base(name), text.as_str())).collect()
            }
        }
    }

    /// Keeps it, unless it is kept already. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written: nothing may then be judged by it.
    pub fn keep(&self, audit_dir: &Path) -> io::Result<()> {
        let path = path(audit_dir, &self.hash())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        if read(audit_dir, &self.hash())?.as_ref() == Some(self) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(audit_dir);
        std::fs::create_dir_all(dir)?;
        std::fs::File::open(audit_dir)?.sync_all()?;
        durable::replace(&path, &serde_json::to_vec_pretty(self)?)
    }
}

/// Keeps what calls will be judged by, before the first one is.
///
/// # Errors
/// When it cannot be written: nothing may then be judged by it.
pub fn keep(
    audit_dir: &Path,
    documents: &[(String, String)],
    policies: &PolicyTexts,
) -> io::Result<()> {
    [Text::catalog(documents), Text::bundle(policies)]
        .iter()
        .try_for_each(|text| text.keep(audit_dir))
}

/// The text of this hash; `None` when it was not kept, or is not what its hash says.
///
/// # Errors
/// When it cannot be read.
pub fn read(audit_dir: &Path, hash: &str) -> io::Result<Option<Text>> {
    let Some(path) = path(audit_dir, hash) else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(parse(&bytes, hash)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A text as it was kept, when it is the one that the hash names.
pub fn parse(bytes: &[u8], hash: &str) -> Option<Text> {
    serde_json::from_slice(bytes).ok().filter(|text: &Text| text.has_hash(hash))
}

fn path(audit_dir: &Path, hash: &str) -> Option<PathBuf> {
    let digits = hash.strip_prefix("sha256:").filter(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })?;
    Some(audit_dir.join(DIR).join(format!("{digits}.json")))
}

/// A file's name without its folders.
fn base(name: &str) -> String {
    Path::new(name)
        .file_name()
        .map_or_else(|| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_under_its_hash_and_read_back_only_whole() {
        let dir = tempfile::tempdir().unwrap();
        let source = PolicyTexts {
            schema: "schema".to_owned(),
            policies: vec![("/etc/keyward/policies/a.cedar".to_owned(), "permit".to_owned())],
            patterns: None,
            groups: vec!["ops".to_owned()],
        };
        let text = Text::bundle(&source);
        text.keep(dir.path()).unwrap();
        text.keep(dir.path()).unwrap();
        assert_eq!(text.hash(), source.hash());
        assert_eq!(read(dir.path(), &source.hash()).unwrap(), Some(text.clone()));
        assert_eq!(
            text.files(),
            [("schema.cedarschema".to_owned(), "schema"), ("a.cedar".to_owned(), "permit")]
        );
        let file = path(dir.path(), &source.hash()).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains("/etc"));
        // Changed on disk, it is no text of this hash any more, and is written anew.
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("permit", "forbid"))
            .unwrap();
        assert_eq!(read(dir.path(), &source.hash()).unwrap(), None);
        text.keep(dir.path()).unwrap();
        assert_eq!(read(dir.path(), &source.hash()).unwrap(), Some(text));
        for wrong in ["", "sha256:", "sha256:../../../etc/passwd", "sha256:00"] {
            assert_eq!(read(dir.path(), wrong).unwrap(), None);
        }
    }

    #[test]
    fn documents_of_older_records_are_found_by_their_digest() {
        let documents = [("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())];
        assert!(
            has_catalog_digest(&documents, &catalog_digest(&documents))
                && has_catalog_digest(&documents, &sha256(b"xy"))
        );
        assert!(
            !has_catalog_digest(&documents, &sha256(b"yx"))
                && !has_catalog_digest(&documents, &catalog_digest(&documents[..1]))
        );
    }

    #[test]
    fn no_two_sets_of_documents_have_one_digest() {
        let of = |documents: &[(&str, &str)]| {
            catalog_digest(
                &documents
                    .iter()
                    .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                    .collect::<Vec<_>>(),
            )
        };
        let sets: [&[(&str, &str)]; 8] = [
            &[],
            &[("a", "")],
            &[("a", "xy")],
            &[("b", "xy")],
            &[("a", "x"), ("b", "y")],
            &[("a", "xy"), ("b", "")],
            &[("a", ""), ("b", "xy")],
            &[("a", "x"), ("c", "y")],
        ];
        let digests: std::collections::BTreeSet<_> = sets.iter().map(|set| of(set)).collect();
        assert_eq!(digests.len(), sets.len());
        assert_eq!(of(&[("/etc/keyward/apis/a", "x")]), of(&[("a", "x")]));
    }
}
