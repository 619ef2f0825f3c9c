//! The catalogue and the policies that come with keyward, inside the program: for whoever has no
//! configuration yet.

use include_dir::{Dir, include_dir};
use keyward_decision::caller::Directory;
use keyward_decision::catalog::Catalog;
use keyward_decision::catalog::document::DocumentError;
use keyward_decision::policy::{Bundle, PolicyError};
use std::path::Path;

static APIS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/config/apis");
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");

/// The groups that the shipped policies name.
pub const GROUPS: &[&str] = &[
    "platform-admins",
    "key-admins",
    "image-admins",
    "phone-ops",
    "codeup-developers",
    "auditors",
];

/// The catalogue.
///
/// # Errors
/// Never for this build's own documents, which a test reads.
pub fn catalog() -> Result<Catalog, Vec<DocumentError>> {
    Catalog::from_texts(&texts(&APIS, "yaml"))
}

/// The policies, for a catalogue and a directory that has [`GROUPS`].
///
/// # Errors
/// When the directory lacks a group, or the catalogue an action.
pub fn policies(catalog: &Catalog, directory: &Directory) -> Result<Bundle, Vec<PolicyError>> {
    Bundle::from_texts(
        &texts(&POLICIES, "cedar"),
        texts(&POLICIES, "toml").first(),
        catalog,
        directory,
    )
}

/// Writes both into `dir`, as `apis` and `policies`. A folder that is there is left as it is: it
/// may have been changed.
///
/// # Errors
/// When the files cannot be written.
pub fn write(dir: &Path) -> std::io::Result<()> {
    for (files, name) in [(&APIS, "apis"), (&POLICIES, "policies")] {
        let target = dir.join(name);
        if target.exists() {
            continue;
        }
        std::fs::create_dir_all(&target)?;
        files.extract(&target)?;
    }
    Ok(())
}

/// Files of one kind by their names, in order; those of folders below are left out.
fn texts(dir: &Dir<'_>, extension: &str) -> Vec<(String, String)> {
    let mut texts: Vec<_> = dir
        .files()
        .filter(|file| file.path().extension().is_some_and(|e| e == extension))
        .filter_map(|file| {
            Some((file.path().display().to_string(), file.contents_utf8()?.to_owned()))
        })
        .collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_fits_together() {
        let catalog = catalog().unwrap();
        let bundle = policies(&catalog, &Directory::of_groups(GROUPS)).unwrap();
        assert!(bundle.policies().count() > 20);
    }
}
