//! The folder of policies.

use super::error::PolicyError;
use keyward_core::folder;
use std::path::Path;

/// The file of named patterns.
const PATTERNS: &str = "patterns.toml";

const FOLDER: folder::Kind = folder::Kind {
    reads: |name| name.ends_with(".cedar") || name == PATTERNS,
    known: &["tests"],
    words: "*.cedar and patterns.toml (and the cases in tests/)",
};

/// The texts of a folder of policies.
#[derive(Debug)]
pub struct Texts {
    /// Each `*.cedar`, as (path, text).
    pub policies: Vec<(String, String)>,
    /// `patterns.toml`, when there is one.
    pub patterns: Option<(String, String)>,
}

impl Texts {
    /// Reads a folder. All that is wrong with it too: what is neither read nor known there.
    pub fn read(dir: &Path) -> (Self, Vec<PolicyError>) {
        let (texts, faults) = folder::read(dir, FOLDER);
        let (mut patterns, policies): (Vec<_>, Vec<_>) =
            texts.into_iter().partition(|(path, _)| path.ends_with(PATTERNS));
        (Self { policies, patterns: patterns.pop() }, PolicyError::of_folder(faults))
    }
}
