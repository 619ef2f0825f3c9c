//! For the tests: a small catalogue, and questions to ask of it.

use super::cases;
use super::question::Question;
use crate::caller::{Assurance, Caller, CallerKind, Credential, Directory, Identity};
use crate::catalog::{Catalog, Target};
use serde_json::Value;
use std::sync::LazyLock;

/// A catalogue with one of everything.
pub const DOCUMENT: &str = r"
openapi: 3.1.0
info: {title: Test, version: '1'}
x-keyward-service: test.svc
x-keyward-error-shape: flat
servers: [{url: 'https://svc.test'}]
x-keyward-passing: [{methods: [GET], path: '/free/{thing}/**', reason: nothing to see}, {methods: [GET], path: '/free/{thing}', reason: nothing to see}]
paths:
  /:
    get: {operationId: Versions, x-keyward-groups: [discovery], responses: {'200': {description: ok}}}
  /orgs/{org}/keys:
    parameters: [{name: org, in: path, required: true, schema: {type: string, pattern: '^[a-z0-9]+$'}}]
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
      parameters: [{name: org, in: query, required: true, schema: {type: string, pattern: '^[a-z0-9]+$'}}]
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
    parameters: [{name: project, in: path, required: true, schema: {type: string, pattern: '^[a-z0-9]+$'}}]
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
                  items: {type: object, required: [server_id], properties: {server_id: {type: string, pattern: '^[a-z0-9]+$'}, keypair: {type: string, x-keyward-free-name: true}}}
      responses: {'200': {description: ok}}
  /images/{image}:
    parameters: [{name: image, in: path, required: true, schema: {type: string, pattern: '^[a-z0-9]+$'}}, {name: X-Project-Id, in: header, schema: {type: string, pattern: '^[a-z0-9]+$'}}]
    get:
      operationId: ShowImage
      x-keyward-groups: [read]
      x-keyward-resource: {type: Image, id: path.image, in: {type: Project, id: header.x-project-id}}
      responses: {'200': {description: ok}}
";

/// The groups that tests know.
pub fn directory() -> Directory {
    Directory::of_groups(&["key-admins", "auditors"])
}

/// The small catalogue.
pub fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        Catalog::from_texts(&[("svc.yaml".to_owned(), DOCUMENT.to_owned())]).unwrap()
    });
    &CATALOG
}

/// A caller in groups; anonymous when the name is empty.
pub fn caller(name: &str, kind: CallerKind, groups: &[&str]) -> Caller {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let identity = (!name.is_empty()).then(|| Identity { name: name.to_owned(), kind, groups });
    let assurance = if identity.is_some() { Assurance::Token } else { Assurance::None };
    Caller { identity, assurance, credential: Credential::default(), why: String::new() }
}

/// The question that a call makes, by a robot in `key-admins`, at noon of a fixed day.
pub fn question(catalog: &Catalog, method: &str, url: &str, body: &Value) -> Question {
    let (host, path) = url.split_once('/').unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut case = cases::parse(
        "test.toml",
        "[[case]]\nname = \"\"\nmethod = \"GET\"\nhost = \"\"\npath = \"\"\nexpect = \"allow\"\n",
    )
    .unwrap()
    .remove(0);
    (case.method, case.host, case.path, case.query) =
        (method.to_owned(), host.to_owned(), format!("/{path}"), query.to_owned());
    case.body = (!body.is_null()).then(|| body.to_string());
    case.source = "10.20.0.5".parse().unwrap();
    // The route's own media type, as its clients send it.
    if let Target::Operation(operation, _) =
        catalog.classify(None, host, &case.method.parse().unwrap(), &case.path)
        && let Some(spec) = &operation.body
    {
        case.headers.insert("content-type".to_owned(), spec.media_type.clone());
    }
    let asked = cases::question(catalog, &case).unwrap();
    Question { caller: caller("ci-keys", CallerKind::Robot, &["key-admins"]), ..asked }
}
