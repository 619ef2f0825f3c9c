//! The files of a pack, until they are put into its archive.

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The names of digests, as `sha256sum -c` reads them.
const SUMS: &str = "SHA256SUMS";

/// Files in a folder beside the archive, removed with it.
pub(super) struct Spool {
    dir: TempDir,
    /// By name, in the archive and below the folder.
    files: BTreeMap<String, Spooled>,
}

struct Spooled {
    file: BufWriter<File>,
    path: PathBuf,
    hash: Sha256,
}

impl Spool {
    pub fn new(out: &Path) -> anyhow::Result<Self> {
        let beside = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = tempfile::Builder::new().prefix(".keyward-pack-").tempdir_in(beside).with_context(|| beside.display().to_string())?;
        Ok(Self { dir, files: BTreeMap::new() })
    }

    /// Writes at the end of a file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.files.contains_key(name) {
            let path = self.dir.path().join(self.files.len().to_string());
            let file = BufWriter::new(File::create_new(&path).with_context(|| path.display().to_string())?);
            self.files.insert(name.to_owned(), Spooled { file, path, hash: Sha256::new() });
        }
        if let Some(spooled) = self.files.get_mut(name) {
            spooled.hash.update(bytes);
            spooled.file.write_all(bytes).with_context(|| name.to_owned())?;
        }
        Ok(())
    }

    /// A file, to be read from its beginning.
    pub fn read(&mut self, name: &str) -> anyhow::Result<File> {
        let spooled = self.files.get_mut(name).with_context(|| format!("there is no {name}"))?;
        spooled.file.flush()?;
        Ok(File::open(&spooled.path)?)
    }

    /// Whether there is a file whose name begins so.
    pub fn has(&self, prefix: &str) -> bool {
        self.files.keys().any(|name| name.starts_with(prefix))
    }

    /// Puts all files into the archive, and their digests. The digest of the archive.
    pub fn archive(&mut self, out: &Path) -> anyhow::Result<String> {
        let sums: String = self.files.iter().map(|(name, file)| format!("{}  {name}\n", hex::encode(file.hash.clone().finalize()))).collect();
        self.write(SUMS, sums.as_bytes())?;
        let beside = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let archive = tempfile::NamedTempFile::new_in(beside)?;
        let mut zip = ZipWriter::new(BufWriter::new(archive.as_file().try_clone()?));
        for (name, spooled) in &mut self.files {
            spooled.file.flush()?;
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).unix_permissions(0o644).large_file(true);
            zip.start_file(name.as_str(), options)?;
            std::io::copy(&mut File::open(&spooled.path)?, &mut zip)?;
        }
        zip.finish()?.flush()?;
        archive.as_file().sync_all()?;
        let sha256 = digest(archive.as_file())?;
        // A pack is whole, or is not there.
        archive.persist_noclobber(out).with_context(|| out.display().to_string())?;
        Ok(sha256)
    }
}

fn digest(file: &File) -> std::io::Result<String> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}
