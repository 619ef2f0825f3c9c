//! The paths of a configuration: each is of its kind, and can be read or written as a gateway will.
//! Looks, and writes nothing.

use crate::config::{Draft, Settings};
use keyward_trail::wal::ballast;
use rustix::fs::Access;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What a gateway will do with a path.
#[derive(Clone, Copy)]
enum Use {
    /// Read a file that must be there.
    Read,
    /// Read a file, or make it when it is not there.
    ReadOrMake,
    /// Write into a folder that must be there.
    Fill,
    /// Write into a folder, or make it when it is not there.
    FillOrMake,
}

/// What is wrong with paths, each named by its key. Where a key is wrong, so may be what follows
/// from it.
pub fn problems(draft: &Draft) -> Vec<String> {
    let settings = &draft.settings;
    let evidence = &settings.evidence;
    let own = if draft.is_sure("audit") && draft.is_sure("evidence") {
        written(settings)
    } else {
        Vec::new()
    };
    let paths = [
        ("evidence.directory", evidence.off_host.directory.as_deref(), Use::Fill),
        (
            "evidence.webhook_token_file",
            evidence.off_host.webhook_credential.token_file(),
            Use::Read,
        ),
        ("evidence.ca_file", evidence.off_host.ca_file.as_deref(), Use::Read),
        ("upstreams.ca_file", settings.ca_file.as_deref(), Use::Read),
        ("retention.holds_file", settings.retention.holds_file.as_deref(), Use::Read),
    ];
    let read = paths.into_iter().filter_map(|(key, path, wanted)| wrong(key, path?, wanted));
    own.into_iter().chain(read).collect()
}

/// What is wrong with the paths without which no trail can be opened, each named by its key. What
/// of a key file follows from the folder is told once.
pub fn written(settings: &Settings) -> Vec<String> {
    let dir = &settings.audit_dir;
    let keys = [
        ("audit.digest_key_file", &settings.digest_key_file),
        ("evidence.key_file", &settings.evidence.key_file),
    ];
    let trail = wrong("audit.dir", dir, Use::FillOrMake);
    let apart =
        keys.into_iter().filter(|(_, path)| trail.is_none() || existing(path) != existing(dir));
    let keys: Vec<_> = apart.filter_map(|(key, path)| wrong(key, path, Use::ReadOrMake)).collect();
    trail.into_iter().chain(keys).collect()
}

/// Makes the folder of the trail.
///
/// # Errors
/// When it cannot be made, as [`written`] says it.
pub fn make(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| {
        format!("configuration: audit.dir `{}`: it cannot be made: {error}", dir.display())
    })
}

fn wrong(key: &str, path: &Path, wanted: Use) -> Option<String> {
    let why = look(path, wanted).err()?;
    Some(format!("configuration: {key} `{}`: {why}", path.display()))
}

/// What is wrong with the disk of the trail; then what is good to know of it.
pub fn disk(settings: &Settings) -> (Option<String>, Option<String>) {
    let dir = existing(&settings.audit_dir);
    let (min, ballast) = (settings.free_bytes_min, settings.ballast_bytes);
    let free = match ballast::free_bytes(dir) {
        Ok(free) => free,
        Err(error) => {
            return (
                Some(format!(
                    "configuration: audit.dir `{}`: its disk cannot be asked for free space: {error}",
                    dir.display()
                )),
                None,
            );
        }
    };
    if free < min {
        let problem = format!(
            "configuration: audit.dir `{}`: {free} bytes are free on its disk, {min} are needed to take calls: free some space, or lower audit.free_bytes_min",
            settings.audit_dir.display()
        );
        return (Some(problem), None);
    }
    let missing = ballast::missing(&settings.audit_dir, ballast);
    let unfit = (free - min < missing)
        .then(|| ballast::does_not_fit(&settings.audit_dir, ballast, free, min));
    (None, unfit)
}

/// Whether a path is what it will be used as.
fn look(path: &Path, wanted: Use) -> Result<(), String> {
    let folder = matches!(wanted, Use::Fill | Use::FillOrMake);
    match (path.metadata(), wanted) {
        (Ok(about), _) if folder != about.is_dir() || (!folder && !about.is_file()) => {
            let (is, must) =
                if folder { ("is no folder", "folder") } else { ("is no file", "file") };
            Err(format!("it {is}: name a {must}, or move what is there away"))
        }
        (Ok(_), _) if folder => {
            may(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, "written into")
        }
        (Ok(_), _) => may(path, Access::READ_OK, "read"),
        (Err(error), Use::ReadOrMake | Use::FillOrMake)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            let above = existing(path);
            if !above.is_dir() {
                return Err(format!("it cannot be made, for `{}` is no folder", above.display()));
            }
            may(above, Access::WRITE_OK | Access::EXEC_OK, "made")
        }
        (Err(error), _) => Err(error.to_string()),
    }
}

fn may(path: &Path, access: Access, what: &str) -> Result<(), String> {
    let denied =
        |error| format!("it cannot be {what}: {} (`{}`)", io::Error::from(error), path.display());
    rustix::fs::access(path, access).map_err(denied)
}

/// The path, or what is there of the folders above it.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists() && !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
