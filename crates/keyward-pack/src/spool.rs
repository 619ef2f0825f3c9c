//! The files of a pack, until they are put into its archive.

use anyhow::Context;
use keyward_core::secret::sha256;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The names of digests, as `sha256sum -c` reads them.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Files in a folder beside the archive, removed with it; or their digests alone.
pub(super) struct Spool {
    dir: Option<TempDir>,
    /// By name, in the archive.
    files: BTreeMap<String, Spooled>,
}

struct Spooled {
    /// Where it is, unless its digest is all that is wanted.
    file: Option<(BufWriter<File>, PathBuf)>,
    hash: Sha256,
}

impl Spool {
    pub fn new(out: &Path) -> anyhow::Result<Self> {
        let beside =
            out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = tempfile::Builder::new()
            .prefix(".keyward-pack-")
            .tempdir_in(beside)
            .with_context(|| beside.display().to_string())?;
        Ok(Self { dir: Some(dir), files: BTreeMap::new() })
    }

    /// One that keeps digests and no bytes.
    pub fn of_digests() -> Self {
        Self { dir: None, files: BTreeMap::new() }
    }

    /// Writes at the end of a file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.files.contains_key(name) {
            let path = self.dir.as_ref().map(|dir| dir.path().join(self.files.len().to_string()));
            let create = |path: PathBuf| {
                let file = File::create_new(&path).with_context(|| path.display().to_string())?;
                anyhow::Ok((BufWriter::new(file), path))
            };
            self.files.insert(
                name.to_owned(),
                Spooled { file: path.map(create).transpose()?, hash: Sha256::new() },
            );
        }
        if let Some(spooled) = self.files.get_mut(name) {
            spooled.hash.update(bytes);
            spooled
                .file
                .iter_mut()
                .try_for_each(|(file, _)| file.write_all(bytes))
                .with_context(|| name.to_owned())?;
        }
        Ok(())
    }

    /// A file, to be read from its beginning.
    pub fn read(&mut self, name: &str) -> anyhow::Result<File> {
        let (file, path) = self
            .files
            .get_mut(name)
            .and_then(|spooled| spooled.file.as_mut())
            .with_context(|| format!("there is no {name}"))?;
        file.flush()?;
        Ok(File::open(path)?)
    }

    /// Whether there is a file whose name begins so.
    pub fn has(&self, prefix: &str) -> bool {
        self.files.keys().any(|name| name.starts_with(prefix))
    }

    /// The digests of all files that there are, by name.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.files
            .iter()
            .map(|(name, file)| (name.clone(), hex::encode(file.hash.clone().finalize())))
            .collect()
    }

    /// Writes the digests of all files that there are. The digest of that.
    pub fn seal(&mut self) -> anyhow::Result<String> {
        let sums: String =
            self.digests().iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        self.write(SUMS, sums.as_bytes())?;
        Ok(sha256(sums.as_bytes()))
    }

    /// Puts all files into the archive. The digest of the archive.
    pub fn archive(&mut self, out: &Path) -> anyhow::Result<String> {
        let beside =
            out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let archive = tempfile::NamedTempFile::new_in(beside)?;
        let mut zip = ZipWriter::new(BufWriter::new(archive.as_file().try_clone()?));
        for (name, spooled) in &mut self.files {
            let Some((file, path)) = &mut spooled.file else { continue };
            file.flush()?;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .unix_permissions(0o644)
                .large_file(true);
            zip.start_file(name.as_str(), options)?;
            std::io::copy(&mut File::open(path)?, &mut zip)?;
        }
        zip.finish()?.flush()?;
        archive.as_file().sync_all()?;
        let mut whole = archive.as_file().try_clone()?;
        whole.seek(SeekFrom::Start(0))?;
        let sha256 = format!("sha256:{}", digest(whole)?);
        // A pack is whole, or is not there.
        archive.persist_noclobber(out).with_context(|| out.display().to_string())?;
        Ok(sha256)
    }
}

/// The SHA-256 of what is read, in hexadecimal digits.
pub(super) fn digest(mut from: impl Read) -> std::io::Result<String> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}
