//! Folders of texts that are read whole: nothing in them is passed over in silence but what editors
//! and systems leave.

use crate::durable;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What is wrong with one entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Fault {
    /// The entry, or the folder itself.
    pub path: PathBuf,
    /// What is wrong and what to do.
    pub why: String,
}

/// What a folder holds.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Which files are read, by their names.
    pub reads: fn(&str) -> bool,
    /// Entries that are known and read elsewhere.
    pub known: &'static [&'static str],
    /// What is read, in words: `*.cedar and patterns.toml`.
    pub words: &'static str,
}

/// The texts of a folder, each as (path, text), in the order of their names; and all that is wrong:
/// what cannot be read, holds nothing, or is neither read nor known there.
pub fn read(dir: &Path, kind: Kind) -> (Vec<(String, String)>, Vec<Fault>) {
    let entries = std::fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            return (
                Vec::new(),
                vec![Fault { path: dir.to_owned(), why: format!("cannot be read: {error}") }],
            );
        }
    };
    entries.sort();
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for path in entries {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if is_left_over(name) || kind.known.contains(&name) {
            continue;
        }
        let read = if (kind.reads)(name) {
            text(&path)
        } else {
            Err(format!(
                "is not read: only {} are; give it such a name, or move it elsewhere",
                kind.words
            ))
        };
        match read {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(why) => faults.push(Fault { path, why }),
        }
    }
    (texts, faults)
}

/// Reads one text that must say something.
///
/// # Errors
/// When it cannot be read, or holds nothing.
pub fn text(path: &Path) -> Result<String, String> {
    let text = durable::read_text(path).map_err(|error| format!("cannot be read: {error}"))?;
    // A file that is being written anew is empty for a moment.
    if text.trim().is_empty() {
        Err("holds nothing: write what belongs there, or remove it".to_owned())
    } else {
        Ok(text)
    }
}

/// What editors, file systems and mounts leave beside files.
fn is_left_over(name: &str) -> bool {
    let autosaved = name.len() > 1 && name.starts_with('#') && name.ends_with('#');
    name.starts_with('.')
        || autosaved
        || ["~", ".swp", ".bak"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind =
        Kind { reads: |name| name.ends_with(".cedar"), known: &["tests"], words: "*.cedar" };

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(dir.path().join(name), "text").unwrap());
        dir
    }

    #[test]
    fn what_editors_leave_is_passed_over() {
        let dir = folder(&[
            "b.cedar",
            "a.cedar",
            ".a.cedar.swp",
            "._a.cedar",
            "a.cedar~",
            "a.cedar.bak",
            "a.swp",
            "#a.cedar#",
            ".DS_Store",
        ]);
        std::os::unix::fs::symlink("dev@host.4711:1796020000", dir.path().join(".#a.cedar"))
            .unwrap();
        std::fs::create_dir(dir.path().join("tests")).unwrap();
        std::fs::create_dir(dir.path().join("..2026_11_30")).unwrap();
        let names: Vec<_> = read(dir.path(), KIND)
            .0
            .into_iter()
            .map(|(path, _)| Path::new(&path).file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.cedar", "b.cedar"]);
    }

    #[test]
    fn what_is_not_read_is_a_mistake() {
        for name in [
            "b.ceder",
            "b.cedar.off",
            "b.CEDAR",
            "b",
            "README.md",
            "patterns.tml",
            "b.cedar.orig",
            "#",
        ] {
            let (texts, faults) = read(folder(&["a.cedar", name]).path(), KIND);
            assert!(
                texts.len() == 1
                    && faults.len() == 1
                    && faults[0]
                        .to_string()
                        .contains(&format!("/{name}: is not read: only *.cedar are")),
                "{faults:?}"
            );
        }
        let dir = folder(&["a.cedar"]);
        std::fs::create_dir(dir.path().join("more")).unwrap();
        std::fs::create_dir(dir.path().join("b.cedar")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("c.cedar")).unwrap();
        std::fs::write(dir.path().join("d.cedar"), b"\xff").unwrap();
        let faults: Vec<_> = read(dir.path(), KIND).1.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 4, "{faults:?}");
        for (fault, wanted) in
            faults.iter().zip(["no regular file", "No such file", "no UTF-8", "is not read"])
        {
            assert!(fault.contains(wanted), "{fault}");
        }
        assert!(read(Path::new("/nowhere"), KIND).1[0].why.starts_with("cannot be read"));
    }

    #[test]
    fn a_file_that_holds_nothing_is_a_mistake() {
        for nothing in ["", "\n", " \t\n"] {
            let dir = folder(&["a.cedar"]);
            std::fs::write(dir.path().join("b.cedar"), nothing).unwrap();
            assert!(read(dir.path(), KIND).1[0].why.starts_with("holds nothing"));
        }
    }
}
