//! What can be read and checked before anything is bound or written.

use crate::audit::retention::Holds;
use crate::caller::Directory;
use crate::catalog::Catalog;
use crate::causes::causes;
use crate::config::Settings;
use crate::durable;
use crate::gate::Rules;
use crate::listen::tls::Tls;
use crate::policy::Bundle;
use crate::proxy::upstream;
use crate::push;
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
        upstream::check_roots(settings.ca_file.as_deref(), &settings.upstreams).map_err(|why| Problems(vec![why]))?;
        let catalog = Arc::new(read_catalog(&settings)?);
        let rules = read_rules(&settings, &catalog)?;
        let pushes = push::prepare(&settings.pushes).map_err(Problems)?;
        Ok(Self { settings, catalog, rules, pushes })
    }
}

/// Checks what a gateway needs besides to open its doors, and a check of its policies does not: certificates, addresses, holds.
///
/// # Errors
/// All that is wrong, a line each.
pub fn check_doors(settings: &Settings) -> Result<(), Problems> {
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
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
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
    if problems.is_empty() { Ok(catalog) } else { Err(Problems(problems)) }
}

fn service_names(catalog: &Catalog) -> String {
    catalog.services().map(|(s, _)| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn read_rules(settings: &Settings, catalog: &Catalog) -> Result<Rules, Problems> {
    let file = settings.callers_file.display();
    let problem = |why: String| Problems(vec![format!("{file}: {}", why.trim())]);
    let text = durable::read_text(&settings.callers_file).map_err(|e| problem(format!("cannot be read: {e}")))?;
    let directory = Directory::parse(&text).map_err(|e| problem(e.to_string()))?;
    let policies = Bundle::load(&settings.policies_dir, catalog, &directory).map_err(|errors| Problems(errors.iter().map(ToString::to_string).collect()))?;
    Ok(Rules { directory, policies })
}
