//! What was in force: the texts of policies and catalogue, kept beside the trail under their hashes.
//!
//! The hashes stand in every record, so the texts need no proof of their own: whoever has a text can hash it. They are
//! written before the first call is judged by them, and never removed.

use keyward_core::durable;
use keyward_decision::catalog::{self, Catalog};
use keyward_decision::policy::{Bundle, Source};
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

/// One of the texts that decide.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Text {
    /// Policies, with all that their meaning depends on.
    Bundle(Source),
    /// What is known of the clouds.
    Catalog {
        /// The documents, each as (file name, text).
        documents: Vec<(String, String)>,
    },
}

impl Text {
    /// Policies; the folders in which they stood are nobody's business.
    pub fn bundle(source: &Source) -> Self {
        let mut source = source.clone();
        source.policies.iter_mut().chain(&mut source.patterns).for_each(|(name, _)| *name = base(name));
        Self::Bundle(source)
    }

    /// A catalogue.
    pub fn catalog(documents: &[(String, String)]) -> Self {
        Self::Catalog { documents: documents.iter().map(|(name, text)| (base(name), text.clone())).collect() }
    }

    /// The hash by which records name it.
    pub fn hash(&self) -> String {
        match self {
            Self::Bundle(source) => source.hash(),
            Self::Catalog { documents } => catalog::digest(documents),
        }
    }

    /// Whether a record may name it by this hash.
    fn has_hash(&self, hash: &str) -> bool {
        match self {
            Self::Bundle(source) => source.hash() == hash,
            Self::Catalog { documents } => catalog::has_digest(documents, hash),
        }
    }

    /// Its files, by names that are sound.
    pub fn files(&self) -> Vec<(String, &str)> {
        match self {
            Self::Bundle(source) => {
                let mut files = vec![("schema.cedarschema".to_owned(), source.schema.as_str())];
                files.extend(source.policies.iter().chain(&source.patterns).map(|(name, text)| (base(name), text.as_str())));
                files
            }
            Self::Catalog { documents } => documents.iter().map(|(name, text)| (base(name), text.as_str())).collect(),
        }
    }

    /// Keeps it, unless it is kept already. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written: nothing may then be judged by it.
    pub fn keep(&self, audit_dir: &Path) -> io::Result<()> {
        let path = path(audit_dir, &self.hash()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
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
pub fn keep(audit_dir: &Path, catalog: &Catalog, policies: &Bundle) -> io::Result<()> {
    [Text::catalog(&catalog.documents), Text::bundle(&policies.source)].iter().try_for_each(|text| text.keep(audit_dir))
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
    let digits = hash.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some(audit_dir.join(DIR).join(format!("{digits}.json")))
}

/// A file's name without its folders.
fn base(name: &str) -> String {
    Path::new(name).file_name().map_or_else(|| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_under_its_hash_and_read_back_only_whole() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source {
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
        assert_eq!(text.files(), [("schema.cedarschema".to_owned(), "schema"), ("a.cedar".to_owned(), "permit")]);
        let file = path(dir.path(), &source.hash()).unwrap();
        assert!(!std::fs::read_to_string(&file).unwrap().contains("/etc"));
        // Changed on disk, it is no text of this hash any more, and is written anew.
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("permit", "forbid")).unwrap();
        assert_eq!(read(dir.path(), &source.hash()).unwrap(), None);
        text.keep(dir.path()).unwrap();
        assert_eq!(read(dir.path(), &source.hash()).unwrap(), Some(text));
        for wrong in ["", "sha256:", "sha256:../../../etc/passwd", "sha256:00"] {
            assert_eq!(read(dir.path(), wrong).unwrap(), None);
        }
    }
}
