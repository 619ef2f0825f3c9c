//! For the tests: a small catalogue, and questions made from raw calls without the checks of `inspect`.

use super::cases::{Case, CaseCaller};
use super::question::Question;
use crate::caller::{Assurance, Caller, CallerKind, Credential, Directory, Identity};
use crate::catalog::operation::{Operation, ResourceSpec};
use crate::catalog::schema::{Field, Shape, TextMeaning};
use crate::catalog::source::{Source, Step, select};
use crate::catalog::{Catalog, Target};
use crate::clock::Timestamp;
use crate::inspect::facts::{CallFacts, Fact, Facts, Item, KEY_ALGORITHMS, PublicKey, Resource};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A catalogue with one of everything.
pub const DOCUMENT: &str = r"
openapi: 3.1.0
info: {title: Test, version: '1'}
x-keyward-service: test.svc
x-keyward-error-shape: flat
servers: [{url: 'https://svc.test'}]
x-keyward-passing: [{methods: [GET], path: /free/**, reason: nothing to see}]
paths:
  /:
    get: {operationId: Versions, x-keyward-groups: [discovery], responses: {'200': {description: ok}}}
  /orgs/{org}/keys:
    parameters: [{name: org, in: path, required: true, schema: {type: string}}]
    get:
      operationId: ListKeys
      x-keyward-groups: [read]
      x-keyward-resource: {type: Organization, id: path.org}
      parameters: [{name: limit, in: query, schema: {type: integer, default: 50}}, {name: token, in: query, x-keyward-secret: true, schema: {type: string}}]
      responses: {'200': {description: ok}}
    post:
      operationId: CreateKey
      x-keyward-groups: [write, key]
      x-keyward-resource: {type: Organization, id: path.org}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [title, key, scope]
              properties:
                title: {type: string}
                key: {type: string, format: ssh-public-key}
                scope: {type: string, enum: [READ, ALL], x-keyward-enum: KeyScope}
                expireTime: {type: string, format: date-time}
                force: {type: boolean, default: false}
                tags: {type: array, items: {type: string}}
                parts: {type: array, items: {type: object, properties: {a: {type: string}}}}
                password: {type: string, x-keyward-secret: true}
                any: {}
      responses: {'200': {description: ok}}
  /v1/keys:
    post:
      operationId: CreateKeyOld
      x-keyward-alias-of: CreateKey
      x-keyward-groups: [write, key]
      x-keyward-resource: {type: Organization, id: query.org}
      parameters: [{name: org, in: query, required: true, schema: {type: string}}]
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [name, publicKey]
              properties:
                name: {type: string, x-keyward-as: title}
                publicKey: {type: string, format: ssh-public-key, x-keyward-as: key}
                scope: {type: string, enum: [ALL, READ], x-keyward-enum: KeyScope}
                expireTime: {type: string, format: date-time}
                force: {type: boolean, default: false}
      responses: {'200': {description: ok}}
  /projects/{project}/bind:
    parameters: [{name: project, in: path, required: true, schema: {type: string}}]
    put:
      operationId: Bind
      x-keyward-groups: [write]
      x-keyward-resource: {type: Server, id: item.server_id, in: {type: Project, id: path.project}}
      x-keyward-items: {server_id: 'body.servers[].server_id', keypair: 'body.servers[].keypair', project: path.project}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [servers]
              properties:
                servers:
                  type: array
                  items: {type: object, required: [server_id], properties: {server_id: {type: string}, keypair: {type: string}}}
      responses: {'200': {description: ok}}
";

/// The groups that tests know.
pub fn directory() -> Directory {
    Directory::of_groups(&["key-admins", "auditors"])
}

/// The small catalogue.
pub fn catalog() -> Catalog {
    Catalog::from_texts(&[("svc.yaml".to_owned(), DOCUMENT.to_owned())]).unwrap()
}

/// A caller in groups; anonymous when the name is empty.
pub fn caller(name: &str, kind: CallerKind, groups: &[&str]) -> Caller {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let identity = (!name.is_empty()).then(|| Identity { name: name.to_owned(), kind, groups });
    let assurance = if identity.is_some() { Assurance::Token } else { Assurance::None };
    Caller { identity, assurance, credential: Credential::default(), why: String::new() }
}

/// The question that a call makes, by a robot in `key-admins`, at noon of a fixed day.
pub fn question(catalog: &Catalog, method: &str, url: &str, body: Value) -> Question {
    let (host, path) = url.split_once('/').unwrap();
    let path = format!("/{path}");
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let target = catalog.classify(None, host, &method.parse().unwrap(), path);
    let facts = match &target {
        Target::Operation(operation, parameters) => facts(operation, parameters, query, &[], &body),
        _ => CallFacts::default(),
    };
    let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
    Question { target, caller: caller("ci-keys", CallerKind::Robot, &["key-admins"]), facts: Ok(facts), source: "10.20.0.5".parse().unwrap(), now }
}

/// The facts of a call that fits the catalogue.
pub fn facts(operation: &Operation, parameters: &[(String, String)], query: &str, headers: &[(String, String)], body: &Value) -> CallFacts {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = Value::Object(pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect());
    let path = Value::Object(parameters.iter().map(|(name, value)| (name.clone(), json!(value))).collect());
    let headers = Value::Object(headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect());
    let call = json!({"path": path, "query": query, "header": headers, "body": body});
    let shown = |fields: &[Field], section: &str| record(fields, &call[section]);
    let shape = operation.body.as_ref().map(|body| &body.shape);
    let body = match shape {
        Some(Shape::Object { fields, .. }) => shown(fields, "body"),
        _ => Facts::new(),
    };
    CallFacts { path: shown(&operation.path, "path"), query: shown(&operation.query, "query"), body, items: items(operation, &call) }
}

fn record(fields: &[Field], value: &Value) -> Facts {
    let mut facts = Facts::new();
    for field in fields.iter().filter(|field| !field.secret) {
        let value = value.get(&field.name).or(field.default.as_ref());
        if let Some(fact) = value.and_then(|value| fact(&field.shape, value)) {
            facts.insert(field.fact.clone(), fact);
        }
    }
    facts
}

fn fact(shape: &Shape, value: &Value) -> Option<Fact> {
    Some(match shape {
        Shape::Object { fields, .. } => Fact::Record(record(fields, value)),
        Shape::Array { element, .. } => Fact::List(value.as_array()?.iter().map(|value| fact(element, value)).collect::<Option<_>>()?),
        Shape::Text { meaning, .. } => {
            let text = value.as_str()?;
            match meaning {
                TextMeaning::Plain => Fact::Text(text.to_owned()),
                TextMeaning::Choice { name, .. } => Fact::Choice { kind: name.clone(), value: text.to_owned() },
                TextMeaning::DateTime => Fact::Time(Timestamp::parse(text)?),
                TextMeaning::SshPublicKey => Fact::Key(key(text)),
            }
        }
        // Values of a query or a path come as text.
        Shape::Integer { .. } => Fact::Number(value.as_i64().or_else(|| value.as_str()?.parse().ok())?),
        Shape::Boolean => Fact::Flag(value.as_bool().or_else(|| value.as_str()?.parse().ok())?),
        Shape::Any => return None,
    })
}

/// Reads an OpenSSH line; `rsa:2048` and the like stand for keys that no test needs in full.
fn key(text: &str) -> PublicKey {
    if let Ok(key) = ssh_key::PublicKey::from_openssh(text) {
        let rsa = key.key_data().rsa().and_then(|rsa| rsa.n.as_positive_bytes()).map(|n| 8 * n.len());
        let (algorithm, bits) = rsa.map_or(("ed25519", 256), |bits| ("rsa", bits));
        return PublicKey { algorithm, bits: i64::try_from(bits).unwrap() };
    }
    let (name, bits) = text.split_once(':').unwrap_or(("unknown", "0"));
    let algorithm = KEY_ALGORITHMS.iter().find(|known| **known == name).unwrap();
    PublicKey { algorithm, bits: bits.parse().unwrap() }
}

/// The index of the element under decision, for each array that items are taken from.
type Chosen = Vec<(Vec<Step>, usize)>;

fn items(operation: &Operation, call: &Value) -> Vec<Item> {
    let Some(spec) = &operation.resource else { return Vec::new() };
    let arrays: BTreeSet<Vec<Step>> = operation.items.values().filter_map(array_of).collect();
    let mut choices: Vec<Chosen> = vec![Vec::new()];
    for array in arrays {
        let count = select(&call["body"], &array).len();
        let extended = |chosen: &Chosen| (0..count).map(|index| [chosen.as_slice(), &[(array.clone(), index)]].concat()).collect::<Vec<_>>();
        choices = choices.iter().flat_map(extended).collect();
    }
    choices.iter().map(|chosen| item(operation, spec, call, chosen)).collect()
}

fn array_of(source: &Source) -> Option<Vec<Step>> {
    let Source::Body(steps) = source else { return None };
    let at = steps.iter().position(|step| *step == Step::Each)?;
    Some(steps[..=at].to_vec())
}

fn item(operation: &Operation, spec: &ResourceSpec, call: &Value, chosen: &Chosen) -> Item {
    let value = |source: &Source| one(operation, source, call, chosen);
    let fields = operation.items.iter().filter_map(|(name, source)| Some((name.clone(), value(source)?))).collect();
    let id = |source: &Source| match value(source)? {
        Fact::Text(text) => Some(text),
        Fact::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let parent = spec.parent.as_ref().and_then(|(kind, source)| Some((kind.clone(), id(source)?)));
    Item { fields, resource: id(&spec.id).map(|id| Resource { kind: spec.kind.clone(), id, parent }) }
}

/// The value of a source for the chosen elements.
fn one(operation: &Operation, source: &Source, call: &Value, chosen: &Chosen) -> Option<Fact> {
    let parameter = |section: &str, name: &str| call[section].get(name)?.as_str().map(|text| Fact::Text(text.to_owned()));
    match source {
        Source::Path(name) => parameter("path", name),
        Source::Query(name) => parameter("query", name),
        Source::Header(name) => parameter("header", name),
        Source::Item(name) => one(operation, operation.items.get(name)?, call, chosen),
        Source::Body(steps) => {
            let array = array_of(source);
            let index = chosen.iter().find(|(of, _)| Some(of) == array.as_ref()).map_or(0, |(_, index)| *index);
            walk(&operation.body.as_ref()?.shape, &call["body"], steps, index)
        }
    }
}

fn walk(shape: &Shape, value: &Value, steps: &[Step], index: usize) -> Option<Fact> {
    match (shape, steps.split_first()) {
        (_, None) => fact(shape, value),
        (Shape::Object { fields, .. }, Some((Step::Field(name), rest))) => {
            let field = fields.iter().find(|field| field.name == *name)?;
            walk(&field.shape, value.get(name).or(field.default.as_ref())?, rest, index)
        }
        (Shape::Array { element, .. }, Some((Step::Each, rest))) => walk(element, value.get(index)?, rest, index),
        _ => None,
    }
}

/// The question that a case makes.
pub fn of_case(catalog: &Catalog, case: &Case) -> Question {
    let target = catalog.classify(None, &case.host, &case.method.parse().unwrap(), &case.path);
    let mut headers: Vec<_> = case.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    headers.push(("host".to_owned(), case.host.clone()));
    let body = case.body.as_ref().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
    let facts = match &target {
        Target::Operation(operation, parameters) => facts(operation, parameters, &case.query, &headers, &body),
        _ => CallFacts::default(),
    };
    let groups = |of: &CaseCaller| of.groups.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
    let caller = match &case.caller {
        Some(of) => caller(&of.name, of.kind, &groups(of).iter().map(String::as_str).collect::<Vec<_>>()),
        None => caller("", CallerKind::User, &[]),
    };
    Question { target, caller, facts: Ok(facts), source: case.source, now: Timestamp::parse(&case.now).unwrap() }
}
