//! The Cedar schema, generated from the catalogue, the directory's groups and the patterns: what
//! makes a misspelt field, value, group or action an error at load.

use super::error::PolicyError;
use super::patterns::{Bound, Patterns};
use super::types::{self, Attribute, Attributes, Names, Type};
use crate::caller::{Assurance, Directory};
use crate::catalog::Catalog;
use crate::catalog::operation::{Operation, PASSING, Passthrough};
use crate::catalog::schema::{Field, Shape};
use crate::catalog::source::{Source, Step};
use crate::inspect::facts::KEY_ALGORITHMS;
use cedar_policy::EntityTypeName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The namespace of every type and action.
pub const NAMESPACE: &str = "Keyward";

/// The resource of an operation that acts on nothing.
pub const SERVICE: &str = "Service";

/// The id of the only entity of type `Anonymous`.
pub const ANONYMOUS: &str = "anonymous";

/// Types that keyward declares itself; no document may declare them again.
const OWN_TYPES: &[&str] = &[
    "User",
    "Robot",
    "Anonymous",
    "Group",
    SERVICE,
    "KeyAlgorithm",
    "Assurance",
    "Caller",
    "PublicKey",
    "Action",
];

/// What the catalogue means to policies.
#[derive(Debug)]
pub struct Model {
    /// The schema in Cedar's own syntax.
    pub text: String,
    /// By action id.
    pub actions: BTreeMap<String, ActionModel>,
    /// Every entity type that a decision may need, by its name without namespace.
    pub types: BTreeMap<String, EntityTypeName>,
}

/// One action: all routes of one operation.
#[derive(Debug)]
pub struct ActionModel {
    /// The action groups that it is in.
    pub groups: BTreeSet<String>,
    /// The type of what it acts on; [`SERVICE`] when it acts on nothing.
    pub resource: String,
    /// Whether callers who are not known may ask for it.
    pub anonymous: bool,
    /// The sections `path`, `query`, `body`, `item` and `match` of the context.
    pub context: Attributes,
    /// The patterns on its fields.
    pub patterns: Bound,
    /// The first route's place, for messages.
    route: String,
}

/// Builds the model and its schema.
///
/// # Errors
/// When routes of one action, or closed sets of one name, contradict each other; when a source or a
/// pattern leads to nothing; or when a name cannot be a Cedar type.
pub fn generate(
    catalog: &Catalog,
    directory: &Directory,
    patterns: &Patterns,
) -> Result<Model, Vec<PolicyError>> {
    let mut builder = Builder::new(catalog);
    for operation in catalog.operations() {
        builder.add(operation);
    }
    for passing in catalog.passing() {
        builder.add_passing(passing);
    }
    let Builder { mut actions, mut errors, types, choices, parents, unnamed, .. } = builder;
    if errors.is_empty() {
        errors = patterns.dangling(actions.values().map(|action| &action.context));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for action in actions.values_mut() {
        let (bound, attributes) = patterns.bind(&action.context);
        action.patterns = bound;
        action
            .context
            .insert("match".to_owned(), Attribute { required: true, of: Type::Record(attributes) });
    }
    let text = write(&actions, &choices, &parents, &unnamed, directory);
    Ok(Model { text, actions, types })
}

struct Builder<'a> {
    catalog: &'a Catalog,
    actions: BTreeMap<String, ActionModel>,
    /// Closed sets: values, and where they were seen first.
    choices: BTreeMap<String, (Vec<String>, String)>,
    /// Resource types and the types that may hold them.
    parents: BTreeMap<String, BTreeSet<String>>,
    /// Types that a call may leave unnamed, and a route of such a call.
    unnamed: BTreeMap<String, String>,
    types: BTreeMap<String, EntityTypeName>,
    file: String,
    errors: Vec<PolicyError>,
}

impl<'a> Builder<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        let types = OWN_TYPES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), type_name(name)?)))
            .collect();
        let (choices, parents) =
            (BTreeMap::new(), BTreeMap::from([(SERVICE.to_owned(), BTreeSet::new())]));
        Self {
            catalog,
            actions: BTreeMap::new(),
            choices,
            parents,
            unnamed: BTreeMap::new(),
            types,
            file: String::new(),
            errors: Vec::new(),
        }
    }

    fn add(&mut self, operation: &Operation) {
        let route =
            format!("{} {} (`{}`)", operation.method, operation.template, operation.operation_id);
        self.file = self
            .catalog
            .service(&operation.service)
            .map_or_else(String::new, |service| service.file.clone());
        let section = |of: Attributes| Attribute { required: true, of: Type::Record(of) };
        let path = types::of_fields(&operation.path, self, &format!("{route} path"));
        let query = types::of_fields(&operation.query, self, &format!("{route} query"));
        let body = self.body(operation, &route);
        let item = self.items(operation, &route);
        let context = [("path", path), ("query", query), ("body", body), ("item", item)];
        let context =
            context.into_iter().map(|(name, of)| (name.to_owned(), section(of))).collect();
        let resource = self.resource(operation, &route);
        let groups = operation.groups.iter().cloned().collect();
        let model = ActionModel {
            groups,
            resource,
            anonymous: true,
            context,
            patterns: Bound::default(),
            route,
        };
        let merged = match self.actions.remove(&operation.action) {
            None => model,
            Some(first) => self.join(&operation.action, first, model),
        };
        self.actions.insert(operation.action.clone(), merged);
    }

    /// A family of a service that passes: all of them are one action.
    fn add_passing(&mut self, passing: &Passthrough) {
        let route = format!("{} (`x-keyward-passing`)", passing.template);
        let text = |name: &str| (name.to_owned(), Attribute { required: false, of: Type::Text });
        let path = Type::Record(passing.pattern.parameters().map(text).collect());
        let empty = || Type::Record(Attributes::new());
        let context = [("path", path), ("query", empty()), ("body", empty()), ("item", empty())];
        let context = context
            .into_iter()
            .map(|(name, of)| (name.to_owned(), Attribute { required: true, of }))
            .collect();
        let groups = BTreeSet::from([PASSING.to_owned()]);
        let model = ActionModel {
            groups,
            resource: SERVICE.to_owned(),
            anonymous: false,
            context,
            patterns: Bound::default(),
            route,
        };
        let merged = match self.actions.remove(&passing.action) {
            None => model,
            Some(first) => self.join(&passing.action, first, model),
        };
        self.actions.insert(passing.action.clone(), merged);
    }

    /// Two routes of one action: policies must be able to speak of both as one.
    fn join(&mut self, action: &str, first: ActionModel, second: ActionModel) -> ActionModel {
        let both = format!("{} and {} are both {action}", first.route, second.route);
        if first.groups != second.groups {
            self.fault(
                &both,
                format!("but their groups differ: {:?} and {:?}", first.groups, second.groups),
            );
        }
        match types::merge(first.context, second.context) {
            Ok(context) => ActionModel { context, ..first },
            Err(why) => {
                self.fault(
                    &both,
                    format!("but `context{why}; give one of them another `x-keyward-as`"),
                );
                ActionModel { context: Attributes::new(), ..first }
            }
        }
    }

    fn body(&mut self, operation: &Operation, route: &str) -> Attributes {
        let Some(body) = &operation.body else { return Attributes::new() };
        match Type::of_shape(&body.shape, self, &format!("{route} body")) {
            Type::Record(attributes) if body.required => attributes,
            Type::Record(attributes) => types::optional(attributes),
            _ => Attributes::new(),
        }
    }

    fn resource(&mut self, operation: &Operation, route: &str) -> String {
        let Some(resource) = &operation.resource else { return SERVICE.to_owned() };
        let holder = resource.parent.as_ref().map(|(kind, _)| kind.clone());
        for kind in std::iter::once(&resource.kind).chain(&holder) {
            self.declare(kind, route);
            self.parents.entry(kind.clone()).or_default();
            if self.choices.contains_key(kind) {
                self.fault(route, format!("`{kind}` is a closed set too: rename one of them"));
            }
        }
        let named = std::iter::once((&resource.kind, &resource.id))
            .chain(resource.parent.as_ref().map(|(kind, id)| (kind, id)));
        for (kind, _) in named.filter(|(_, source)| !operation.always_has(source)) {
            self.unnamed.entry(kind.clone()).or_insert_with(|| route.to_owned());
        }
        self.parents.entry(resource.kind.clone()).or_default().extend(holder);
        resource.kind.clone()
    }

    /// Declares a type of the documents' own.
    fn declare(&mut self, name: &str, at: &str) -> Option<EntityTypeName> {
        if OWN_TYPES.contains(&name) {
            self.fault(at, format!("the type name `{name}` is keyward's own: use another"));
            return None;
        }
        let found = self.types.get(name).cloned().or_else(|| type_name(name));
        match &found {
            Some(found) => drop(self.types.insert(name.to_owned(), found.clone())),
            None => self.fault(at, format!("`{name}` cannot be the name of a Cedar type")),
        }
        found
    }

    fn items(&mut self, operation: &Operation, route: &str) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, source) in &operation.items {
            let at = format!("{route} item `{name}`");
            match self.source(operation, source, &at) {
                Some(Attribute { of: Type::Hidden, .. }) => {
                    self.fault(&at, format!("policies cannot see `{source}`"))
                }
                Some(attribute) => drop(attributes.insert(name.clone(), attribute)),
                None => self.fault(&at, format!("`{source}` leads to nothing")),
            }
        }
        attributes
    }

    fn source(&mut self, operation: &Operation, source: &Source, at: &str) -> Option<Attribute> {
        let fields = match source {
            Source::Path(_) => &operation.path,
            Source::Query(_) => &operation.query,
            Source::Header(_) => &operation.headers,
            Source::Item(_) => return None,
            Source::Body(steps) => {
                let body = operation.body.as_ref()?;
                let attribute = self.step(&body.shape, steps, at)?;
                return Some(Attribute {
                    required: attribute.required && body.required,
                    ..attribute
                });
            }
        };
        let (Source::Path(name) | Source::Query(name) | Source::Header(name)) = source else {
            return None;
        };
        let field = fields.iter().find(|field| field.name == *name)?;
        // An item's attribute is the parameter's text, whatever its own type.
        Some(Attribute {
            required: always(field),
            of: if field.secret { Type::Hidden } else { Type::Text },
        })
    }

    fn step(&mut self, shape: &Shape, steps: &[Step], at: &str) -> Option<Attribute> {
        match (shape, steps.split_first()) {
            (_, None) => Some(Attribute { required: true, of: Type::of_shape(shape, self, at) }),
            (Shape::Object { fields, .. }, Some((Step::Field(name), rest))) => {
                let field = fields.iter().find(|field| field.name == *name)?;
                let inner = self.step(&field.shape, rest, at)?;
                let of = if field.secret { Type::Hidden } else { inner.of };
                Some(Attribute { required: always(field) && inner.required, of })
            }
            (Shape::Array { element, .. }, Some((Step::Each, rest))) => {
                self.step(element, rest, at)
            }
            _ => None,
        }
    }
}

impl Names for Builder<'_> {
    fn choice(&mut self, name: &str, values: &[String], at: &str) -> Option<EntityTypeName> {
        let mut sorted = values.to_vec();
        sorted.sort();
        sorted.dedup();
        match self.choices.get(name) {
            Some((known, first)) if *known != sorted => {
                let why = format!(
                    "the closed set `{name}` is {sorted:?}, but {known:?} at {first}; give one of them its own `x-keyward-enum`"
                );
                self.fault(at, why);
            }
            _ => drop(self.choices.insert(name.to_owned(), (sorted, at.to_owned()))),
        }
        if self.parents.contains_key(name) {
            self.fault(at, format!("`{name}` is the type of a resource too: rename one of them"));
        }
        self.declare(name, at)
    }

    fn algorithm(&self) -> Option<EntityTypeName> {
        self.types.get("KeyAlgorithm").cloned()
    }

    fn fault(&mut self, at: &str, why: String) {
        self.errors.push(PolicyError::new(&self.file, format!("{at}: {why}")));
    }
}

fn always(field: &Field) -> bool {
    field.required || field.default.is_some()
}

fn type_name(name: &str) -> Option<EntityTypeName> {
    format!("{NAMESPACE}::{name}").parse().ok()
}

fn write(
    actions: &BTreeMap<String, ActionModel>,
    choices: &BTreeMap<String, (Vec<String>, String)>,
    parents: &BTreeMap<String, BTreeSet<String>>,
    unnamed: &BTreeMap<String, String>,
    directory: &Directory,
) -> String {
    let mut out = format!(
        "// Generated by keyward from the API catalogue, the groups and the patterns.\nnamespace {NAMESPACE} {{\n"
    );
    let groups: Vec<&str> = directory.groups.iter().map(String::as_str).collect();
    // Cedar has no empty closed set.
    write_enum(
        &mut out,
        "Group",
        if groups.is_empty() { &["no-groups-configured"] } else { &groups },
    );
    out.push_str("  entity User in [Group];\n  entity Robot in [Group];\n");
    write_enum(&mut out, "Anonymous", &[ANONYMOUS]);
    write_enum(&mut out, "Assurance", &Assurance::ALL.iter().map(|a| a.code()).collect::<Vec<_>>());
    write_enum(&mut out, "KeyAlgorithm", KEY_ALGORITHMS);
    for (name, (values, _)) in choices {
        write_enum(&mut out, name, &values.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for (kind, holders) in parents {
        let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
        let holders = if holders.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", holders.join(", "))
        };
        if let Some(route) = unnamed.get(kind) {
            let _ = writeln!(
                out,
                "  // A call may leave its {kind} out, for example {route}: it then acts on, or in, {NAMESPACE}::{kind}::\"\".\n  // A rule over a named {kind} does not hold for it; one over {NAMESPACE}::{kind}::\"\" does, and can forbid it."
            );
        }
        let _ = writeln!(out, "  entity {kind}{holders};");
    }
    out.push_str("  type PublicKey = { algorithm: KeyAlgorithm, bits: Long, exponent: Long };\n");
    out.push_str("  type Caller = { source: ipaddr, now: datetime, assurance: Assurance };\n\n");
    let groups: BTreeSet<&String> = actions.values().flat_map(|action| &action.groups).collect();
    for group in groups {
        let _ = writeln!(out, "  action {group:?};");
    }
    for (id, action) in actions {
        let _ = write!(
            out,
            "\n  action {id:?} in {:?} appliesTo {{\n",
            action.groups.iter().collect::<Vec<_>>()
        );
        let anonymous = if action.anonymous { ", Anonymous" } else { "" };
        let _ = write!(
            out,
            "    principal: [User, Robot{anonymous}],\n    resource: [{}],\n",
            action.resource
        );
        out.push_str(
            "    context: {\n      \"caller\": Caller,\n      \"batch\": { \"items\": Long },\n",
        );
        for (name, section) in &action.context {
            let _ = write!(out, "      {name:?}: ");
            section.of.write(&mut out, 6);
            out.push_str(",\n");
        }
        out.push_str("    }\n  };\n");
    }
    out.push_str("}\n");
    out
}

fn write_enum(out: &mut String, name: &str, values: &[&str]) {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    let _ = writeln!(out, "  entity {name} enum {values:?};");
}
