//! Small files that appear and are replaced whole: after a crash there is the old one or the new
//! one, and never a part.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Files that are read whole are far shorter, in bytes.
const READ_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Reads a file. Whoever put something else in its place, a pipe say, or a device without an end,
/// holds nobody up.
///
/// # Errors
/// When it cannot be read, is no regular file, or is longer than any that belongs there.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    if about.len() > READ_BYTES_MAX {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it has {} bytes: more than {READ_BYTES_MAX} are none of ours", about.len()),
        ));
    }
    std::fs::read(path)
}

/// The same, of a text.
///
/// # Errors
/// As [`read`], and when it is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

/// Replaces a file, or makes it. When this returns, the new one survives a power cut.
///
/// # Errors
/// When it cannot be written; the old one then stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (dir, temporary) = beside(path)?;
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Replaces a file, or makes it: a reader sees the old file or the new one, and a power cut leaves
/// one of them, whichever it is. It asks less of the disk than [`replace`], and works where folders
/// cannot be synced.
///
/// # Errors
/// When it cannot be written; the old one then stays.
pub fn swap(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&new, path)
}

/// Makes a file that only its owner can read. When this returns, it survives a power cut.
///
/// # Errors
/// When it is there already (`AlreadyExists`), or cannot be written: then nothing stands under its
/// name.
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let (dir, temporary) = beside(path)?;
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let made = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| put_in_place(&temporary, path));
    if made.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    made.and_then(|()| File::open(dir)?.sync_all())
}

/// Gives a file its name, unless another process was faster.
fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(temporary, path) {
        Ok(()) => std::fs::remove_file(temporary),
        // Not every file system has links. Whatever else a link fails of is told, and not tried
        // another way.
        Err(error)
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
        {
            Ok(renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?)
        }
        Err(error) => Err(error),
    }
}

/// The folder of a file, and what is written there first.
fn beside(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    Ok((dir, dir.join(format!(".{}.tmp", name.to_string_lossy()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_made_once_and_over_what_a_crash_has_left() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(dir.path().join(".key.tmp"), b"ha").unwrap();
        create_private(&path, b"half").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create_private(&path, b"other").unwrap_err().kind(), ErrorKind::AlreadyExists);
        let temporary = dir.path().join("new");
        std::fs::write(&temporary, b"other").unwrap();
        assert_eq!(put_in_place(&temporary, &path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        std::fs::remove_file(&temporary).unwrap();
        assert_eq!(
            (std::fs::read(&path).unwrap(), std::fs::read_dir(dir.path()).unwrap().count()),
            (b"half".to_vec(), 1)
        );
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
            assert_eq!(read(path).unwrap_err().to_string(), "it is no regular file");
        }
        assert_eq!(read(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(dir.path().join("text"), [0xff]).unwrap();
        assert_eq!(
            read_text(&dir.path().join("text")).unwrap_err().to_string(),
            "it is no UTF-8 text"
        );
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        replace(&path, b"a long one").unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(Path::new("/"), b"x").is_err());
    }
}
