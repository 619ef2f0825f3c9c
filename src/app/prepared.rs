//! What can be read and checked before anything is bound or written.

use super::files::{self, Files};
use super::paths;
use super::threads_of;
use crate::audit::retention::Holds;
use crate::caller::Directory;
use crate::catalog::{Catalog, Target};
use crate::causes::causes;
use crate::config::Settings;
use crate::folder;
use crate::gate::Rules;
use crate::listen::tls::Tls;
use crate::policy::Bundle;
use crate::proxy::health::Health;
use crate::proxy::upstream;
use crate::push;
use crate::threads;
use http::Method;
use std::sync::Arc;

/// Everything that can be read and checked without binding a port or writing a byte.
pub struct Prepared {
    /// The settings.
    pub settings: Settings,
    /// What is known of the clouds.
    pub catalog: Arc<Catalog>,
    /// Callers and policies.
    pub rules: Rules,
    /// Where the trail is sent on to.
    pub pushes: Vec<push::Prepared>,
}

/// All that is wrong, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Prepared {
    /// Reads catalogue, callers and policies.
    ///
    /// # Errors
    /// All that is wrong, each with file and place.
    pub fn read(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        problems.extend(upstream::check_roots(settings.ca_file.as_deref(), &settings.upstreams).err());
        let pushes = push::prepare(&settings.pushes).map_err(|more| problems.extend(more));
        let catalog = read_catalog(&settings).map_err(|more| problems.extend(more.0));
        let rules = match &catalog {
            Ok(catalog) => read_rules(&settings, catalog).map_err(|more| problems.extend(more.0)),
            // What policies may speak of is not known; what is wrong with them beside is told all the same.
            Err(()) => {
                problems.extend(read_directory(&settings).err().into_iter().chain(Bundle::mistakes(&settings.policies_dir)));
                Err(())
            }
        };
        match (catalog, rules, pushes) {
            (Ok(catalog), Ok(rules), Ok(pushes)) if problems.is_empty() => Ok(Self { settings, catalog: Arc::new(catalog), rules, pushes }),
            _ => Err(Problems(problems)),
        }
    }
}

/// The words that policies are written in: what the catalogue and the groups of callers give.
///
/// # Errors
/// All that is wrong with them.
pub fn read_words(settings: &Settings) -> Result<(Catalog, Directory), Problems> {
    match (read_catalog(settings), read_directory(settings)) {
        (Ok(catalog), Ok(directory)) => Ok((catalog, directory)),
        (catalog, directory) => Err(Problems(catalog.err().into_iter().flat_map(|more| more.0).chain(directory.err()).collect())),
    }
}

/// Checks what a gateway needs besides to open its doors, and a check of its policies does not: certificates, addresses, holds,
/// what the machine allows. What is no mistake, but good to know.
///
/// # Errors
/// All that is wrong, a line each.
pub fn check_doors(settings: &Settings) -> Result<Vec<String>, Problems> {
    let mut problems = Vec::new();
    for listener in &settings.listeners {
        let loaded = listener.tls.clone().map(Tls::load).transpose();
        problems.extend(loaded.err().map(|error| format!("configuration: listener {}: {}", listener.address, causes(&error))));
    }
    let mut addresses: Vec<_> = settings.listeners.iter().map(|listener| listener.address).chain([settings.admin]).filter(|a| a.port() != 0).collect();
    addresses.sort_unstable();
    let twice = addresses.windows(2).filter_map(|pair| pair.first().filter(|first| pair.last() == Some(first)));
    problems.extend(twice.map(|address| format!("configuration: two listeners have the address {address}: give each its own")));
    let holds = settings.retention.holds_file.as_deref().map(Holds::read).transpose();
    problems.extend(holds.err().map(|error| format!("configuration: {}", causes(&error))));
    problems.extend(paths::problems(settings));
    let (full, unfit) = paths::disk(settings);
    problems.extend(full);
    let mut warnings: Vec<_> = unfit.into_iter().collect();
    warnings.extend(files::length_warning());
    match Files::look(settings) {
        Ok(files) => warnings.extend(files.warning(settings)),
        Err(few) => problems.push(few.to_string()),
    }
    problems.extend(threads::probe(threads_of(settings)).err().map(|few| few.to_string()));
    if problems.is_empty() { Ok(warnings) } else { Err(Problems(problems)) }
}

fn read_catalog(settings: &Settings) -> Result<Catalog, Problems> {
    let mut catalog = Catalog::load(&settings.catalog_dir).map_err(|errors| Problems(errors.iter().map(ToString::to_string).collect()))?;
    let mut problems = Vec::new();
    for (service, hosts) in &settings.service_hosts {
        if !catalog.add_hosts(service, hosts) {
            problems.push(format!("configuration: `[[service]] name = \"{service}\"` is no service of the catalogue: known are {}", service_names(&catalog)));
        }
    }
    let bound = settings.listeners.iter().filter_map(|l| l.service.as_ref()).chain(settings.upstreams.iter().filter_map(|u| u.service.as_ref()));
    for service in bound.filter(|name| catalog.service(name).is_none()) {
        problems.push(format!(
            "configuration: a listener or upstream is bound to `{service}`, which is no service of the catalogue: known are {}",
            service_names(&catalog)
        ));
    }
    for listener in &settings.listeners {
        let Some(health) = &listener.health else { continue };
        let known = |method| catalog.services().any(|(s, _)| !matches!(catalog.classify(Some(&s.name), "", &method, &health.path), Target::Unknown(_)));
        if known(Method::GET) || known(Method::HEAD) {
            let Health { path, .. } = health;
            problems.push(format!("configuration: listener {}: `health_path = \"{path}\"` is a path of a cloud: take another one", listener.address));
        }
    }
    if problems.is_empty() { Ok(catalog) } else { Err(Problems(problems)) }
}

fn service_names(catalog: &Catalog) -> String {
    catalog.services().map(|(s, _)| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn read_rules(settings: &Settings, catalog: &Catalog) -> Result<Rules, Problems> {
    match read_directory(settings) {
        Ok(directory) => {
            let policies =
                Bundle::load(&settings.policies_dir, catalog, &directory).map_err(|errors| Problems(errors.iter().map(ToString::to_string).collect()))?;
            Ok(Rules { directory, policies })
        }
        Err(problem) => Err(Problems(std::iter::once(problem).chain(Bundle::mistakes(&settings.policies_dir)).collect())),
    }
}

fn read_directory(settings: &Settings) -> Result<Directory, String> {
    let file = settings.callers_file.display();
    let text = folder::text(&settings.callers_file).map_err(|why| format!("{file}: {why}"))?;
    Directory::parse(&text).map_err(|e| format!("{file}: {}", e.to_string().trim()))
}
