//! One OpenAPI document becomes operations. Whatever is wrong with it is said with file and place.

mod answers;

use super::credential::Credentials;
use super::operation::{
    BodySpec, ErrorShape, Operation, PASSING, Passthrough, ProjectHeader, ResourceSpec, Service,
};
use super::promise;
use super::route::{HostPattern, Template};
use super::schema::{self, EMPTY_OBJECT, Field, NULL_FIELD, SchemaFault, escape};
use super::source::Source;
use super::{lint, reach};
use http::Method;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What one document holds, not yet joined with the others.
#[derive(Debug)]
pub struct Document {
    /// The service.
    pub service: Service,
    /// Its hosts.
    pub hosts: Vec<HostPattern>,
    /// Its routes, with the alias that each names, if any, and its pointer.
    pub operations: Vec<Route>,
    /// Its passing families.
    pub passing: Vec<Passthrough>,
}

/// One operation of a document, with what is needed to join it.
#[derive(Debug)]
pub struct Route {
    /// The compiled path.
    pub template: Template,
    /// The operation; its action is its own id until aliases are joined.
    pub operation: Operation,
    /// `x-keyward-alias-of`.
    pub alias_of: Option<String>,
    /// JSON pointer of the operation.
    pub pointer: String,
}

/// A document that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {why}", place.as_deref().map(|p| format!(":{p}")).unwrap_or_default())]
pub struct DocumentError {
    /// The file's path.
    pub file: String,
    /// `line:column`, or a JSON pointer.
    pub place: Option<String>,
    /// What is wrong and what to do.
    pub why: String,
}

type Fault = SchemaFault;

/// Reads one document.
///
/// # Errors
/// When it is no YAML, no OpenAPI 3.1, or breaks a rule of `docs/catalogue.md`.
pub fn read(file: &str, text: &str) -> Result<Document, Vec<DocumentError>> {
    let error =
        |place: Option<String>, why: String| DocumentError { file: file.to_owned(), place, why };
    let value: Value = serde_saphyr::from_str(text).map_err(|e| {
        let place = e.location().map(|at| format!("{}:{}", at.line(), at.column()));
        vec![error(place, format!("not YAML: {e}"))]
    })?;
    if !value.get("openapi").and_then(Value::as_str).is_some_and(|v| v.starts_with("3.1.")) {
        return Err(vec![error(Some("/openapi".to_owned()), "must be 3.1.x".to_owned())]);
    }
    let reader = Reader { root: &value, file };
    let faults = match (lint::check(&value), reader.document()) {
        (keys, Ok(document)) if keys.is_empty() => match oas3::from_json(value.to_string()) {
            Ok(_) => return Ok(document),
            Err(e) => return Err(vec![error(None, format!("not OpenAPI 3.1: {e}"))]),
        },
        (keys, document) => reader.faults(keys, document.err()),
    };
    Err(faults.into_iter().map(|fault| error(Some(fault.pointer), fault.why)).collect())
}

struct Reader<'a> {
    root: &'a Value,
    file: &'a str,
}

const METHODS: &[&str] = &["get", "put", "post", "delete", "patch", "head", "options", "trace"];

impl Reader<'_> {
    fn document(&self) -> Result<Document, Fault> {
        let service = Service {
            name: self.text("/x-keyward-service")?,
            title: self.text("/info/title")?,
            file: self.file.to_owned(),
            errors: match self.text("/x-keyward-error-shape")?.as_str() {
                "flat" => ErrorShape::Flat,
                "ims" => ErrorShape::Ims,
                "nova" => ErrorShape::Nova,
                "codeup" => ErrorShape::Codeup,
                "acs" => ErrorShape::Acs,
                _ => {
                    return Err(fault(
                        "/x-keyward-error-shape",
                        "must be flat, ims, nova, codeup or acs",
                    ));
                }
            },
            credentials: Credentials::read(self.root)?,
        };
        self.check_absent()?;
        let mut operations = Vec::new();
        for (path, item) in self.object("/paths")? {
            let pointer = format!("/paths/{}", escape(path));
            let item = item.as_object().ok_or_else(|| fault(&pointer, "must be an object"))?;
            if let Some(key) = item.keys().find(|k| {
                !METHODS.contains(&k.as_str())
                    && !["parameters", "summary", "description"].contains(&k.as_str())
            }) {
                return Err(fault(&pointer, &format!("`{key}` is not supported in a path item")));
            }
            for method in METHODS.iter().filter(|m| item.contains_key(**m)) {
                operations.push(self.operation(&service.name, path, &pointer, method)?);
            }
        }
        if self.project_header()?.is_some()
            && operations.iter().all(|route| route.operation.project.is_none())
        {
            return Err(fault("/x-keyward-project", "`path` is a parameter of no operation"));
        }
        let passing = self.passing(&service.name)?;
        Ok(Document { hosts: self.hosts()?, service, operations, passing })
    }

    /// All that is wrong: keys, the first fault of the whole and of each operation. What is told of
    /// a place once is not told again.
    fn faults(&self, mut faults: Vec<Fault>, first: Option<Fault>) -> Vec<Fault> {
        let mut more: Vec<Fault> = first.into_iter().collect();
        let service = self.text("/x-keyward-service").unwrap_or_default();
        for (path, item) in self.root.get("paths").and_then(Value::as_object).into_iter().flatten()
        {
            let pointer = format!("/paths/{}", escape(path));
            for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
                more.extend(self.operation(&service, path, &pointer, method).err());
            }
        }
        for fault in more {
            if !faults.iter().any(|known| known.pointer.starts_with(&fault.pointer)) {
                faults.push(fault);
            }
        }
        faults
    }

    fn hosts(&self) -> Result<Vec<HostPattern>, Fault> {
        let servers = self.root.get("servers").and_then(Value::as_array).filter(|s| !s.is_empty());
        let servers = servers.ok_or_else(|| fault("/servers", "name the service's hosts"))?;
        let mut hosts = Vec::new();
        for (i, server) in servers.iter().enumerate() {
            let pointer = format!("/servers/{i}");
            let url = self.text(&format!("{pointer}/url"))?;
            let host = url
                .strip_prefix("https://")
                .map(|h| h.strip_suffix('/').unwrap_or(h))
                .filter(|h| !h.contains(['/', ':']));
            let host = host.ok_or_else(|| {
                fault(&pointer, "`url` must be `https://HOST` without port or path")
            })?;
            let variable = |name: &str| server.pointer(&format!("/variables/{}", escape(name)));
            let closed =
                |name: &str| variable(name).and_then(|v| v.get("enum")).and_then(string_list);
            if let Some(name) = host.strip_prefix('{').and_then(|h| h.strip_suffix('}')) {
                let default = variable(name).and_then(|v| v.get("default")).and_then(Value::as_str);
                let named =
                    closed(name).unwrap_or_default().into_iter().chain(default.map(str::to_owned));
                hosts.extend(named.filter_map(|h| HostPattern::parse(&h)));
            } else {
                hosts.push(
                    HostPattern::from_server(host, closed)
                        .ok_or_else(|| fault(&pointer, "`url` names no host"))?,
                );
            }
        }
        Ok(hosts)
    }

    /// The header and the path parameter in which calls of this service name their project.
    fn project_header(&self) -> Result<Option<ProjectHeader>, Fault> {
        let pointer = "/x-keyward-project";
        let Some(node) = self.root.pointer(pointer) else { return Ok(None) };
        if node.as_object().is_none_or(|node| node.len() != 2) {
            return Err(fault(pointer, "must be `{header: NAME, path: PARAMETER}`"));
        }
        let (header, parameter) =
            (self.text("/x-keyward-project/header")?, self.text("/x-keyward-project/path")?);
        Ok(Some(ProjectHeader { header: header.to_ascii_lowercase(), parameter }))
    }

    /// What this document takes for absence is of a closed list.
    fn check_absent(&self) -> Result<(), Fault> {
        let Some(node) = self.root.get("x-keyward-absent") else { return Ok(()) };
        let known = |entry: &Value| entry == NULL_FIELD || entry == EMPTY_OBJECT;
        if node.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(known)) {
            return Ok(());
        }
        Err(fault(
            "/x-keyward-absent",
            &format!("must list `{NULL_FIELD}`, `{EMPTY_OBJECT}` or both"),
        ))
    }

    fn passing(&self, service: &str) -> Result<Vec<Passthrough>, Fault> {
        let mut passing = Vec::new();
        for (i, entry) in self
            .root
            .get("x-keyward-passing")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            let pointer = format!("/x-keyward-passing/{i}");
            let template = self.text(&format!("{pointer}/path"))?;
            let methods = entry.get("methods").and_then(string_list).unwrap_or_default();
            let methods: Vec<Method> = methods.iter().filter_map(|m| m.parse().ok()).collect();
            if methods.is_empty() {
                return Err(fault(&pointer, "`methods` must list HTTP methods"));
            }
            let pattern = Template::parse(&template, &[]).map_err(|why| fault(&pointer, &why))?;
            let project = self
                .project_header()?
                .filter(|project| pattern.parameters().any(|name| name == project.parameter));
            let (service, action) = (service.to_owned(), format!("{service}.{PASSING}"));
            let empty_object_is_absent = schema::says_absent(self.root, EMPTY_OBJECT);
            let why = self.text(&format!("{pointer}/reason"))?;
            passing.push(Passthrough {
                service,
                action,
                pattern,
                project,
                methods,
                template,
                empty_object_is_absent,
                why,
            });
        }
        Ok(passing)
    }

    fn operation(
        &self,
        service: &str,
        path: &str,
        item: &str,
        method: &str,
    ) -> Result<Route, Fault> {
        let at = format!("{item}/{method}");
        let node = self.root.pointer(&at).ok_or_else(|| fault(&at, "must be an object"))?;
        let operation_id = self.text(&format!("{at}/operationId"))?;
        let parameters = self.parameters(item, &at)?;
        let raw_segments: Vec<String> = parameters
            .iter()
            .filter(|p| p.place == "path" && p.raw)
            .map(|p| p.field.name.clone())
            .collect();
        let template = Template::parse(path, &raw_segments).map_err(|why| fault(item, &why))?;
        let mut fields: BTreeMap<&str, Vec<Field>> = BTreeMap::new();
        for parameter in parameters {
            fields.entry(parameter.place).or_default().push(parameter.field);
        }
        let path_fields = fields.remove("path").unwrap_or_default();
        let mut declared: Vec<&str> = path_fields.iter().map(|f| f.name.as_str()).collect();
        let mut used: Vec<&str> = template.parameters().collect();
        declared.sort_unstable();
        used.sort_unstable();
        if declared != used {
            return Err(fault(
                &at,
                &format!(
                    "the path has the parameters {used:?}, but the operation declares {declared:?}"
                ),
            ));
        }
        let groups = node.get("x-keyward-groups").and_then(string_list).unwrap_or_default();
        if !groups.first().is_some_and(|g| ["read", "write", "discovery"].contains(&g.as_str())) {
            return Err(fault(&at, "`x-keyward-groups` must start with read, write or discovery"));
        }
        if operation_id == PASSING || groups.iter().any(|group| group == PASSING) {
            return Err(fault(
                &at,
                "`passing` is the name of what `x-keyward-passing` lists: use another",
            ));
        }
        let resource = self.resource(&at)?;
        if resource.is_none() && groups.first().is_some_and(|g| g != "discovery") {
            return Err(fault(
                &at,
                "`x-keyward-resource` is missing: say what the operation acts on",
            ));
        }
        let mut operation = Operation {
            service: service.to_owned(),
            action: format!("{service}.{operation_id}"),
            operation_id,
            summary: node
                .get("summary")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim()
                .to_owned(),
            groups,
            method: method.to_ascii_uppercase().parse().map_err(|_| fault(&at, "no method"))?,
            template: path.to_owned(),
            path: path_fields,
            raw_segments,
            query: fields.remove("query").unwrap_or_default(),
            headers: fields.remove("header").unwrap_or_default(),
            project: self
                .project_header()?
                .filter(|project| used.contains(&project.parameter.as_str())),
            body: self.body(&at)?,
            empty_object_is_absent: schema::says_absent(self.root, EMPTY_OBJECT),
            resource,
            items: self.items(&at)?,
            outcome: self.outcome(&at)?,
            answers: self.answers(&at)?,
        };
        reach::settle(&mut operation).map_err(|why| fault(&at, &why))?;
        let alias_of = node.get("x-keyward-alias-of").and_then(Value::as_str).map(str::to_owned);
        Ok(Route { template, operation, alias_of, pointer: at })
    }

    /// The parameters of an operation, the path item's first, references followed.
    fn parameters(&self, item: &str, at: &str) -> Result<Vec<Parameter>, Fault> {
        let mut parameters = Vec::new();
        for owner in [item, at] {
            let list = self.root.pointer(&format!("{owner}/parameters")).and_then(Value::as_array);
            for i in 0..list.map_or(0, Vec::len) {
                parameters
                    .push(self.parameter(&self.resolve(&format!("{owner}/parameters/{i}"))?)?);
            }
        }
        Ok(parameters)
    }

    fn parameter(&self, pointer: &str) -> Result<Parameter, Fault> {
        let node = self.root.pointer(pointer).ok_or_else(|| fault(pointer, "must be an object"))?;
        let mut name = self.text(&format!("{pointer}/name"))?;
        let place = match node.get("in").and_then(Value::as_str) {
            Some("path") => "path",
            Some("query") => "query",
            Some("header") => "header",
            _ => return Err(fault(pointer, "`in` must be path, query or header")),
        };
        if place == "header" {
            name = name.to_ascii_lowercase();
        }
        let flag = |key: &str| node.get(key) == Some(&Value::Bool(true));
        if place == "path" && !flag("required") {
            return Err(fault(
                pointer,
                "a path parameter is always required: write `required: true`",
            ));
        }
        let mut field = schema::compile_field(
            self.root,
            &format!("{pointer}/schema"),
            &name,
            flag("required"),
        )?;
        field.secret |= flag("x-keyward-secret");
        if let Some(fact) = node.get("x-keyward-as").and_then(Value::as_str) {
            fact.clone_into(&mut field.fact);
        }
        if let Some(description) = node.get("description").and_then(Value::as_str) {
            description.trim().clone_into(&mut field.description);
        }
        Ok(Parameter { place, raw: flag("x-keyward-raw-segment"), field })
    }

    fn body(&self, at: &str) -> Result<Option<BodySpec>, Fault> {
        let pointer = format!("{at}/requestBody");
        if self.root.pointer(&pointer).is_none() {
            return Ok(None);
        }
        let pointer = self.resolve(&pointer)?;
        let content = self.object(&format!("{pointer}/content"))?;
        let [media_type] = content.keys().collect::<Vec<_>>()[..] else {
            return Err(fault(
                &format!("{pointer}/content"),
                "one media type is judged, no more and no less",
            ));
        };
        if !media_type.starts_with("application/")
            || !(media_type.ends_with("/json")
                || media_type.ends_with("+json")
                || media_type.ends_with("-json-patch"))
        {
            return Err(fault(
                &format!("{pointer}/content"),
                "only JSON bodies can be judged: application/json, application/…+json or application/…-json-patch",
            ));
        }
        let media = format!("{pointer}/content/{}", escape(media_type));
        let shape = schema::compile(self.root, &format!("{media}/schema"), "body")?;
        let required =
            self.root.pointer(&format!("{pointer}/required")) == Some(&Value::Bool(true));
        self.check_examples(&media)?;
        let secrets = promise::secrets(self.root, &format!("{media}/schema"));
        Ok(Some(BodySpec {
            required,
            media_type: media_type.to_ascii_lowercase(),
            shape,
            secrets,
            example: self.example(&media),
        }))
    }

    /// The media type's `example`, or the first of its `examples`.
    fn example(&self, media: &str) -> Option<Value> {
        let one = self.root.pointer(&format!("{media}/example"));
        let first = || {
            self.root
                .pointer(&format!("{media}/examples"))?
                .as_object()?
                .values()
                .next()?
                .get("value")
        };
        one.or_else(first).cloned()
    }

    /// A schema must be JSON Schema 2020-12, and the examples beside it must fit it.
    fn check_examples(&self, media: &str) -> Result<(), Fault> {
        let Some(validator) = self.validator(media, false)? else { return Ok(()) };
        let one = self.root.pointer(&format!("{media}/example"));
        let many = self.root.pointer(&format!("{media}/examples")).and_then(Value::as_object);
        for example in one
            .into_iter()
            .chain(many.into_iter().flat_map(Map::values).filter_map(|e| e.get("value")))
        {
            validator
                .validate(example)
                .map_err(|e| fault(media, &format!("an example does not fit the schema: {e}")))?;
        }
        Ok(())
    }

    /// The schema of a media type, compiled; `None` when it has none. `lenient` lets fields that
    /// are not required be null.
    fn validator(
        &self,
        media: &str,
        lenient: bool,
    ) -> Result<Option<jsonschema::Validator>, Fault> {
        let schema = format!("{media}/schema");
        promise::compile(self.root, &schema, lenient).map_err(|why| fault(&schema, &why))
    }

    fn resource(&self, at: &str) -> Result<Option<ResourceSpec>, Fault> {
        let pointer = format!("{at}/x-keyward-resource");
        if self.root.pointer(&pointer).is_none() {
            return Ok(None);
        }
        let parent = match self.root.pointer(&format!("{pointer}/in")) {
            None => None,
            Some(_) => Some((
                self.text(&format!("{pointer}/in/type"))?,
                self.source(&format!("{pointer}/in/id"))?,
            )),
        };
        Ok(Some(ResourceSpec {
            kind: self.text(&format!("{pointer}/type"))?,
            id: self.source(&format!("{pointer}/id"))?,
            parent,
        }))
    }

    fn items(&self, at: &str) -> Result<BTreeMap<String, Source>, Fault> {
        let pointer = format!("{at}/x-keyward-items");
        match self.root.pointer(&pointer).map(Value::as_object) {
            None => Ok(BTreeMap::new()),
            Some(None) => Err(fault(&pointer, "must map attributes to sources")),
            Some(Some(items)) => items
                .keys()
                .map(|name| {
                    Ok((name.clone(), self.source(&format!("{pointer}/{}", escape(name)))?))
                })
                .collect(),
        }
    }

    fn source(&self, pointer: &str) -> Result<Source, Fault> {
        self.text(pointer)?
            .parse()
            .map_err(|e: super::source::SourceError| fault(pointer, &e.to_string()))
    }

    fn text(&self, pointer: &str) -> Result<String, Fault> {
        self.root
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| fault(pointer, "is missing, or is no text"))
    }

    fn object(&self, pointer: &str) -> Result<&Map<String, Value>, Fault> {
        self.root
            .pointer(pointer)
            .and_then(Value::as_object)
            .ok_or_else(|| fault(pointer, "is missing, or is no object"))
    }

    /// Follows one `$ref` of a parameter, body or response into the document's components.
    fn resolve(&self, pointer: &str) -> Result<String, Fault> {
        let Some(target) = self.root.pointer(pointer).and_then(|n| n.get("$ref")) else {
            return Ok(pointer.to_owned());
        };
        let target = target
            .as_str()
            .and_then(|t| t.strip_prefix('#'))
            .filter(|t| self.root.pointer(t).is_some_and(|n| n.get("$ref").is_none()));
        target
            .map(str::to_owned)
            .ok_or_else(|| fault(pointer, "`$ref` leads to nothing in this document"))
    }
}

struct Parameter {
    place: &'static str,
    raw: bool,
    field: Field,
}

fn string_list(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
}

fn fault(pointer: &str, why: &str) -> Fault {
    Fault { pointer: pointer.to_owned(), why: why.to_owned() }
}
