//! The catalogue: what keyward knows of the clouds, from OpenAPI documents (`docs/catalogue.md`).

pub mod credential;
pub mod document;
mod lint;
pub mod operation;
pub mod promise;
pub mod reach;
pub mod route;
pub mod schema;
pub mod source;

use crate::request::RequestHead;
use credential::Credentials;
use document::{Document, DocumentError};
use http::Method;
use keyward_core::alike;
use keyward_core::folder;
use keyward_core::reason::Reason;
use keyward_core::texts::catalog_digest;
use operation::{Operation, Passthrough, Service};
use route::{HostPattern, Template};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The folder of documents.
const FOLDER: folder::Kind = folder::Kind {
    reads: |name| name.ends_with(".yaml") || name.ends_with(".yml"),
    known: &[],
    words: "*.yaml and *.yml",
};

/// All documents, joined.
#[derive(Debug, Default)]
pub struct Catalog {
    services: Vec<ServiceRoutes>,
    operations: Vec<Arc<Operation>>,
    credentials: Credentials,
    /// SHA-256 over the documents, in the order of their names: see [`digest`].
    pub digest: String,
    /// The documents, each as (file name, text).
    pub documents: Vec<(String, String)>,
}

#[derive(Debug)]
struct ServiceRoutes {
    service: Service,
    hosts: Vec<HostPattern>,
    routes: Vec<(Template, Arc<Operation>)>,
    passing: Vec<Arc<Passthrough>>,
}

/// What a method and a path mean.
#[derive(Clone, Debug)]
pub enum Target {
    /// An operation, with its decoded path parameters in order.
    Operation(Arc<Operation>, Vec<(String, String)>),
    /// A family that passes unread.
    Passthrough(Arc<Passthrough>),
    /// Nothing that the catalogue knows.
    Unknown(Unknown),
}

/// A call that the catalogue does not know.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// The service, when the host is known.
    pub service: Option<String>,
    /// What is not known.
    pub reason: Reason,
    /// What the caller may have meant, for people.
    pub hint: Option<String>,
}

impl Target {
    /// The action, or a stand-in that says what it is not. A metric label: a bounded set.
    pub fn action(&self) -> &str {
        match self {
            Self::Operation(operation, _) => &operation.action,
            Self::Passthrough(_) => "passing",
            Self::Unknown(..) => "unknown",
        }
    }

    /// The service, or `unknown`.
    pub fn service(&self) -> &str {
        match self {
            Self::Operation(operation, _) => &operation.service,
            Self::Passthrough(passing) => &passing.service,
            Self::Unknown(unknown) => unknown.service.as_deref().unwrap_or("unknown"),
        }
    }
}

impl Catalog {
    /// Reads every `*.yaml` and `*.yml` of a folder.
    ///
    /// # Errors
    /// All that is wrong, each with file and place; or that there is no document at all.
    pub fn load(dir: &Path) -> Result<Self, Vec<DocumentError>> {
        whole(Self::read(dir))
    }

    /// The same as far as documents are right, with all that is wrong. What is not in it may be in
    /// the others.
    pub fn read(dir: &Path) -> (Self, Vec<DocumentError>) {
        let told = |path: &Path, why: String| DocumentError {
            file: path.display().to_string(),
            place: None,
            why,
        };
        let (texts, faults) = folder::read(dir, FOLDER);
        let mut errors: Vec<_> =
            faults.into_iter().map(|fault| told(&fault.path, fault.why)).collect();
        if texts.is_empty() && errors.is_empty() {
            errors.push(told(dir, "there is no *.yaml in this folder".to_owned()));
        }
        Self::join(&texts, errors)
    }

    /// Joins documents given as (file name, text).
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub fn from_texts(texts: &[(String, String)]) -> Result<Self, Vec<DocumentError>> {
        whole(Self::join(texts, Vec::new()))
    }

    fn join(
        texts: &[(String, String)],
        mut errors: Vec<DocumentError>,
    ) -> (Self, Vec<DocumentError>) {
        let mut documents = Vec::new();
        for (file, text) in texts {
            match document::read(file, text) {
                Ok(document) => documents.push(document),
                Err(mut faults) => errors.append(&mut faults),
            }
        }
        let all = errors.is_empty();
        errors.append(&mut join_aliases(&mut documents, all));
        errors.append(&mut collisions(&documents));
        let digest = catalog_digest(texts);
        let services: Vec<_> = documents.into_iter().map(ServiceRoutes::new).collect();
        let operations =
            services.iter().flat_map(|s| s.routes.iter().map(|(_, op)| Arc::clone(op))).collect();
        let mut credentials = Credentials::default();
        services.iter().for_each(|s| credentials.join(&s.service.credentials));
        (Self { services, operations, credentials, digest, documents: texts.to_vec() }, errors)
    }

    /// Adds an operator's hosts to a service. False when there is no such service.
    pub fn add_hosts(&mut self, service: &str, hosts: &[HostPattern]) -> bool {
        let found = self.services.iter_mut().find(|s| s.service.name == service);
        found.is_some_and(|s| {
            s.hosts.extend_from_slice(hosts);
            true
        })
    }

    /// Whether a host, in lower case and without port, is one of a service.
    pub fn serves(&self, host: &str) -> bool {
        self.services.iter().any(|s| s.hosts.iter().any(|pattern| pattern.matches(host)))
    }

    /// Every route of every operation.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }

    /// Every family that passes.
    pub fn passing(&self) -> impl Iterator<Item = &Passthrough> {
        self.services.iter().flat_map(|s| s.passing.iter().map(Arc::as_ref))
    }

    /// The services, with their hosts.
    pub fn services(&self) -> impl Iterator<Item = (&Service, &[HostPattern])> {
        self.services.iter().map(|s| (&s.service, s.hosts.as_slice()))
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().map(|s| &s.service).find(|s| s.name == name)
    }

    /// The credentials of all services.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The credentials that the target's service verifies; all, where no service is known and
    /// nothing is forwarded.
    pub fn verified(&self, target: &Target) -> &Credentials {
        self.service(target.service()).map_or(&self.credentials, |service| &service.credentials)
    }

    /// What a call means.
    pub fn target(&self, head: &RequestHead) -> Target {
        let bound_service = head.bound_service.as_deref();
        self.classify(bound_service, &head.host_name(), &head.method, head.path())
    }

    /// The same, of a call of which no more is known. `bound_service` takes the place of the host where routing is by listener.
    /// `host` is in lower case and without port; `path` is raw and has passed the head check.
    pub fn classify(
        &self,
        bound_service: Option<&str>,
        host: &str,
        method: &Method,
        path: &str,
    ) -> Target {
        let mine = |s: &&ServiceRoutes| match bound_service {
            Some(name) => s.service.name == name,
            None => s.hosts.iter().any(|pattern| pattern.matches(host)),
        };
        let services: Vec<&ServiceRoutes> = self.services.iter().filter(mine).collect();
        let found = services.iter().find_map(|service| service.classify(method, path));
        found.unwrap_or_else(|| {
            let reason =
                if services.is_empty() { Reason::HostUnknown } else { Reason::OperationUnknown };
            let hint = services.iter().find_map(|service| service.hint(path));
            Target::Unknown(Unknown {
                service: services.first().map(|s| s.service.name.clone()),
                reason,
                hint,
            })
        })
    }
}

impl ServiceRoutes {
    fn new(document: Document) -> Self {
        let mut routes: Vec<_> =
            document.operations.into_iter().map(|r| (r.template, Arc::new(r.operation))).collect();
        routes.sort_by(|a, b| a.0.specificity(&b.0));
        let passing = document.passing.into_iter().map(Arc::new).collect();
        Self { service: document.service, hosts: document.hosts, routes, passing }
    }

    fn classify(&self, method: &Method, path: &str) -> Option<Target> {
        for (template, operation) in self.routes.iter().filter(|(_, op)| op.method == *method) {
            let Some(captured) = template.capture(path) else { continue };
            let decode = |(name, raw): (&str, &str)| {
                route::percent_decode(raw).map(|value| (name.to_owned(), value))
            };
            return Some(match captured.into_iter().map(decode).collect::<Option<Vec<_>>>() {
                Some(parameters) => Target::Operation(Arc::clone(operation), parameters),
                None => Target::Unknown(Unknown {
                    service: Some(self.service.name.clone()),
                    reason: Reason::PathInvalid,
                    hint: None,
                }),
            });
        }
        let passes =
            |p: &&Arc<Passthrough>| p.methods.contains(method) && p.pattern.capture(path).is_some();
        self.passing.iter().find(passes).map(|p| Target::Passthrough(Arc::clone(p)))
    }

    /// What a call to a path that is not known, or not with its method, may have meant.
    fn hint(&self, path: &str) -> Option<String> {
        let here = self.routes.iter().filter(|(template, _)| template.capture(path).is_some());
        let methods: Vec<&str> = here.map(|(_, op)| op.method.as_str()).collect();
        if !methods.is_empty() {
            return Some(format!("this path takes {}", methods.join(", ")));
        }
        let near = self.routes.iter().find(|(template, _)| template.resembles(path));
        near.map(|(_, op)| {
            format!("`{}` is written so: in these letters, with nothing behind", op.template)
        })
    }
}

fn whole((catalog, errors): (Catalog, Vec<DocumentError>)) -> Result<Catalog, Vec<DocumentError>> {
    if errors.is_empty() { Ok(catalog) } else { Err(errors) }
}

/// Gives every alias the action of the operation that it names, and takes those away that have
/// none. Where not all documents are known, what an alias leads to may be in another one.
fn join_aliases(documents: &mut [Document], all: bool) -> Vec<DocumentError> {
    let mut primaries = BTreeMap::new();
    let mut errors = Vec::new();
    for document in documents.iter() {
        let mut seen = BTreeMap::new();
        for route in &document.operations {
            if let Some(first) =
                seen.insert(route.operation.operation_id.clone(), route.pointer.clone())
            {
                errors.push(error(
                    document,
                    &route.pointer,
                    format!("operationId `{}` stands at {first} too", route.operation.operation_id),
                ));
            }
            if let Some(kind) = route
                .alias_of
                .is_none()
                .then(|| route.operation.resource.as_ref().map(|r| r.kind.clone()))
            {
                primaries.insert(route.operation.action.clone(), kind);
            }
        }
    }
    for document in documents.iter_mut() {
        let service = document.service.name.clone();
        let mut faults = Vec::new();
        document.operations.retain_mut(|route| {
            let Some(alias_of) = &route.alias_of else { return true };
            let action = if alias_of.contains('.') {
                alias_of.clone()
            } else {
                format!("{service}.{alias_of}")
            };
            let kind = route.operation.resource.as_ref().map(|r| r.kind.clone());
            let why = match primaries.get(&action) {
                Some(primary) if *primary == kind => {
                    route.operation.action = action;
                    return true;
                }
                Some(primary) => format!(
                    "acts on {kind:?}, but the operation that it is an alias of on {primary:?}"
                ),
                None => {
                    let near = alike::did_you_mean(&action, primaries.keys().map(String::as_str));
                    format!("`x-keyward-alias-of: {alias_of}` leads to no operation{near}")
                }
            };
            if all || primaries.contains_key(&action) {
                faults.push((route.pointer.clone(), why));
            }
            false
        });
        errors.extend(faults.into_iter().map(|(pointer, why)| error(document, &pointer, why)));
    }
    errors
}

/// Two operations on one path of one host would make the judgement a matter of order.
fn collisions(documents: &[Document]) -> Vec<DocumentError> {
    let mut errors = Vec::new();
    for (i, first) in documents.iter().enumerate() {
        for second in documents.iter().skip(i) {
            let same = std::ptr::eq(first, second);
            if !same && first.service.name == second.service.name {
                errors.push(error(
                    second,
                    "/x-keyward-service",
                    format!(
                        "`{}` is the service of {} too",
                        second.service.name, first.service.file
                    ),
                ));
            }
            if !same && !first.hosts.iter().any(|h| second.hosts.contains(h)) {
                continue;
            }
            for (n, a) in first.operations.iter().enumerate() {
                for b in second.operations.iter().skip(if same { n + 1 } else { 0 }) {
                    if a.operation.method == b.operation.method && a.template.collides(&b.template)
                    {
                        errors.push(error(
                            second,
                            &b.pointer,
                            format!(
                                "matches the same calls as {} {}",
                                first.service.file, a.pointer
                            ),
                        ));
                    }
                }
            }
        }
    }
    errors
}

fn error(document: &Document, pointer: &str, why: String) -> DocumentError {
    DocumentError { file: document.service.file.clone(), place: Some(pointer.to_owned()), why }
}
