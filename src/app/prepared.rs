//! What can be read and checked before anything is bound or written.

use super::files::{self, Files};
use super::paths;
use super::threads_of;
use crate::config::{Draft, Settings};
use crate::gate::RuleSet;
use crate::listen::tls::Tls;
use crate::proxy::health::Health;
use crate::proxy::upstream;
use crate::push;
use keyward_core::alike;
use keyward_core::error_chain::error_chain;
use keyward_core::folder;
use keyward_decision::caller::Directory;
use keyward_decision::catalog::{Catalog, Target};
use keyward_decision::policy::Bundle;
use keyward_trail::retention::Holds;

use http::Method;
use std::path::Path;
use std::sync::Arc;

/// Everything that can be read and checked without binding a port or writing a byte.
pub struct Prepared {
    /// The settings.
    pub settings: Settings,
    /// What is known of the clouds.
    pub catalog: Arc<Catalog>,
    /// Callers and policies.
    pub rules: RuleSet,
    /// Where the trail is sent on to.
    pub pushes: Vec<push::Prepared>,
}

/// All that is wrong, a line each.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Problems {
    fn of(some: impl IntoIterator<Item = impl ToString>) -> Self {
        Self(some.into_iter().map(|one| one.to_string()).collect())
    }
}

impl Prepared {
    /// Reads catalogue, callers and policies, as far as it is known where they are.
    ///
    /// # Errors
    /// All that is wrong, each with file and place.
    pub fn read(draft: Draft) -> Result<Self, Problems> {
        let mut problems = Problems::of(&draft.mistakes).0;
        let sure = |section| draft.is_sure(section);
        let settings = &draft.settings;
        problems
            .extend(upstream::check_roots(settings.ca_file.as_deref(), &settings.upstreams).err());
        let pushes = push::prepare(&settings.pushes).map_err(|more| problems.extend(more));
        let (catalog, more) =
            if sure("catalog") { read_catalog(settings) } else { Default::default() };
        let whole = sure("catalog") && more.0.is_empty();
        problems.extend(more.0);
        let callers = sure("callers").then_some(settings.callers_file.as_path());
        let policies = sure("policies").then_some(settings.policies_dir.as_path());
        let rules =
            rules(callers, policies, &catalog, whole).map_err(|more| problems.extend(more.0));
        match (rules, pushes) {
            (Ok(rules), Ok(pushes)) if problems.is_empty() => {
                Ok(Self { settings: draft.settings, catalog: Arc::new(catalog), rules, pushes })
            }
            _ => Err(Problems(problems)),
        }
    }
}

/// The words that policies are written in: what the catalogue and the groups of callers give.
///
/// # Errors
/// All that is wrong with them.
pub fn read_words(settings: &Settings) -> Result<(Catalog, Directory), Problems> {
    let (catalog, mut problems) = read_catalog(settings);
    let (directory, more) = read_directory(&settings.callers_file);
    problems.0.extend(more.0);
    match directory {
        Some(directory) if problems.0.is_empty() => Ok((catalog, directory)),
        _ => Err(problems),
    }
}

/// Checks what a gateway needs besides to open its doors, and a check of its policies does not:
/// certificates, addresses, holds, what the machine allows. What is no mistake, but good to know.
///
/// # Errors
/// All that is wrong, a line each.
pub fn check_doors(draft: &Draft) -> Result<Vec<String>, Problems> {
    let settings = &draft.settings;
    let mut problems = Vec::new();
    for listener in &settings.listeners {
        let loaded = listener.tls.clone().map(Tls::load).transpose();
        problems.extend(loaded.err().map(|error| {
            format!("configuration: listener {}: {}", listener.address, error_chain(&error))
        }));
    }
    let mut addresses: Vec<_> = settings
        .listeners
        .iter()
        .map(|listener| listener.address)
        .chain([settings.admin])
        .filter(|a| a.port() != 0)
        .collect();
    addresses.sort_unstable();
    let twice = addresses
        .windows(2)
        .filter_map(|pair| pair.first().filter(|first| pair.last() == Some(first)));
    problems.extend(twice.map(|address| {
        format!("configuration: two listeners have the address {address}: give each its own")
    }));
    let holds = settings.retention.holds_file.as_deref().map(Holds::read).transpose();
    problems.extend(holds.err().map(|error| format!("configuration: {}", error_chain(&error))));
    let mut warnings: Vec<_> = files::length_warning().into_iter().collect();
    problems.extend(paths::problems(draft));
    if draft.is_sure("audit") {
        let (full, unfit) = paths::disk(settings);
        problems.extend(full);
        warnings.extend(unfit);
    }
    if draft.is_sure("limits") {
        match Files::look(settings) {
            Ok(files) => warnings.extend(files.warning(settings)),
            Err(few) => problems.push(few.to_string()),
        }
    }
    if draft.is_sure("gateway") {
        problems.extend(
            keyward_core::threads::probe(threads_of(settings)).err().map(|few| few.to_string()),
        );
    }
    if problems.is_empty() { Ok(warnings) } else { Err(Problems(problems)) }
}

/// The catalogue as far as it is right, and all that is wrong: with it, and with what the
/// configuration says of it.
fn read_catalog(settings: &Settings) -> (Catalog, Problems) {
    let (mut catalog, errors) = Catalog::read(&settings.catalog_dir);
    let whole = errors.is_empty();
    let mut problems = Problems::of(errors).0;
    let mut unknown = Vec::new();
    for (service, hosts) in &settings.service_hosts {
        if !catalog.add_hosts(service, hosts) {
            unknown.push((format!("`[[service]] name = \"{service}\"`"), service));
        }
    }
    let bound = settings
        .listeners
        .iter()
        .filter_map(|l| l.service.as_ref())
        .chain(settings.upstreams.iter().filter_map(|u| u.service.as_ref()));
    unknown.extend(bound.filter(|name| catalog.service(name).is_none()).map(|service| {
        (format!("a listener or upstream is bound to `{service}`, which"), service)
    }));
    // A document that cannot be read may be that service's.
    for (what, service) in unknown.into_iter().filter(|_| whole) {
        let known: Vec<_> = catalog.services().map(|(s, _)| s.name.as_str()).collect();
        let near = alike::did_you_mean(service, known.iter().copied());
        problems.push(format!(
            "configuration: {what} is no service of the catalogue{near}: known are {}",
            known.join(", ")
        ));
    }
    for listener in &settings.listeners {
        let Some(health) = &listener.health else { continue };
        let known = |method| {
            catalog.services().any(|(s, _)| {
                !matches!(
                    catalog.classify(Some(&s.name), "", &method, &health.path),
                    Target::Unknown(_)
                )
            })
        };
        if known(Method::GET) || known(Method::HEAD) {
            let Health { path, .. } = health;
            problems.push(format!("configuration: listener {}: `health_path = \"{path}\"` is a path of a cloud: take another one", listener.address));
        }
    }
    (catalog, Problems(problems))
}

/// Callers and policies anew.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn read_rules(settings: &Settings, catalog: &Catalog) -> Result<RuleSet, Problems> {
    rules(Some(&settings.callers_file), Some(&settings.policies_dir), catalog, true)
}

/// Callers and policies, where it is known where they are. What is wrong with one hides nothing
/// that is wrong with the other; by a part of the catalogue, or of the groups, policies are not
/// judged by what may be in the rest.
fn rules(
    callers: Option<&Path>,
    policies: Option<&Path>,
    catalog: &Catalog,
    whole: bool,
) -> Result<RuleSet, Problems> {
    let (directory, mut problems) = callers.map(read_directory).unwrap_or_default();
    let whole = whole && directory.is_some();
    let directory = directory.unwrap_or_default();
    let bundle = match policies {
        None => None,
        Some(dir) if whole => Bundle::load(dir, catalog, &directory)
            .map_err(|errors| problems.0.extend(Problems::of(errors).0))
            .ok(),
        Some(dir) => {
            problems.0.extend(Problems::of(Bundle::mistakes(dir, catalog, &directory)).0);
            None
        }
    };
    match bundle {
        Some(policies) if problems.0.is_empty() => Ok(RuleSet { directory, policies }),
        _ => Err(problems),
    }
}

/// The callers as far as they are right; none when it is not known which groups there are.
fn read_directory(file: &Path) -> (Option<Directory>, Problems) {
    let of = file.display().to_string();
    match folder::text(file) {
        Ok(text) => {
            let (directory, mistakes) = Directory::read(&of, &text);
            (directory, Problems::of(mistakes))
        }
        Err(why) => (None, Problems(vec![format!("{of}: {why}")])),
    }
}
