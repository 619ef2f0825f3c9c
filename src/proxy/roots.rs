//! The CA certificates by which upstreams are verified, when they have changed since the start.
//!
//! pingora loads `upstreams.ca_file` once, when it is built. From the first change on each peer
//! brings the certificates itself; until then none does, so that connections are resumed as pingora
//! resumes them.

use crate::listen::tls::certificates;
use arc_swap::ArcSwap;
use keyward_core::secret::Stamp;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The certificates, and where they come from.
#[derive(Debug)]
pub struct Roots {
    file: Option<PathBuf>,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamp: Stamp,
    /// How often other ones were loaded.
    generation: u64,
    /// `None` for those that pingora has loaded.
    roots: Option<Arc<CaType>>,
}

impl Roots {
    /// Those of a file, or the system's, which stay as they are.
    pub fn new(file: Option<&Path>) -> Self {
        let loaded = Loaded { stamp: Stamp::of(file.into_iter()), generation: 0, roots: None };
        Self { file: file.map(Path::to_owned), current: ArcSwap::from_pointee(loaded) }
    }

    /// What new connections are verified by, and how often it has changed.
    pub fn current(&self) -> (u64, Option<Arc<CaType>>) {
        let loaded = self.current.load();
        (loaded.generation, loaded.roots.clone())
    }

    /// Loads the file anew, if it has changed. The file, or why what it holds cannot be used: then
    /// the old ones stay in force, which is said once. `None` when there is nothing new.
    pub fn reload(&self) -> Option<Result<String, String>> {
        let file = self.file.as_deref()?;
        // Taken before the file is read: a change in between is seen the next time.
        let old = self.current.load_full();
        let stamp = old.stamp.changed(std::iter::once(file))?;
        let (loaded, told) = match read(file) {
            Ok(roots) => (
                Loaded { stamp, generation: old.generation + 1, roots: Some(roots) },
                Ok(file.display().to_string()),
            ),
            Err(why) => {
                (Loaded { stamp, generation: old.generation, roots: old.roots.clone() }, Err(why))
            }
        };
        self.current.store(Arc::new(loaded));
        Some(told)
    }
}

fn read(file: &Path) -> Result<Arc<CaType>, String> {
    let certificates = certificates(file).map_err(|error| format!("upstreams.ca_file {error}"))?;
    let mut store = pingora_rustls::RootCertStore::empty();
    for certificate in &certificates {
        // What does not go in here would be a connection that fails later.
        store
            .add(certificate.clone())
            .map_err(|error| format!("upstreams.ca_file {}: {error}", file.display()))?;
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| format!("upstreams.ca_file {}: {error}", file.display()))?;
    }
    Ok(certificates
        .iter()
        .map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509))
        .collect())
}
