//! What the gate reads of calls whose heads are plain, for programs that compare it with what
//! others read.
//!
//! `judge APIS` takes calls from standard input, a JSON object on each line (`method`, `target`,
//! `host`, `headers` as pairs, `body` in hexadecimal), and answers each with a line: what was found
//! wrong, or the action, the body as JSON and the facts. `judge APIS --operations` lists the
//! operations of the catalogue, with the shapes of their bodies.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward::record::compose::facts_json;
use keyward_decision::catalog::Catalog;
use keyward_decision::catalog::schema::{Field, Shape};
use keyward_decision::inspect::inspect;
use keyward_decision::request::RequestHead;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().context("usage: judge APIS [--operations]")?;
    let catalog = Catalog::load(Path::new(&dir)).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.next().is_some_and(|a| a == "--operations") {
        return Ok(writeln!(out, "{}", operations(&catalog))?);
    }
    for line in std::io::stdin().lock().lines() {
        let call = serde_json::from_str(&line?).context("a line is no call")?;
        writeln!(out, "{}", judge(&catalog, call)?)?;
    }
    Ok(())
}

fn judge(catalog: &Catalog, call: Call) -> anyhow::Result<Value> {
    let body = Bytes::from(hex::decode(&call.body).context("the body is not hexadecimal")?);
    let head = head(call)?;
    let target = catalog.classify(None, &head.host_name(), &head.method, head.path());
    let (inspected, facts) = inspect(&target, &head, body);
    Ok(match facts {
        Err(why) => json!({"refused": why.reason.code(), "detail": why.detail}),
        Ok(facts) => json!({
            "action": target.action(), "json": inspected.json,
            "path": facts_json(&facts.path), "query": facts_json(&facts.query), "body": facts_json(&facts.body),
        }),
    })
}

fn head(call: Call) -> anyhow::Result<RequestHead> {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        headers.append(
            HeaderName::from_bytes(name.as_bytes())?,
            HeaderValue::from_bytes(value.as_bytes())?,
        );
    }
    Ok(RequestHead::plain(call.method.parse()?, call.target, call.host, headers))
}

fn operations(catalog: &Catalog) -> Value {
    let operation = |op: &std::sync::Arc<keyward_decision::catalog::operation::Operation>| {
        let hosts = catalog
            .services()
            .find(|(s, _)| s.name == op.service)
            .map(|(_, hosts)| hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let body = op.body.as_ref().map(
            |b| json!({"media_type": b.media_type, "shape": shape(&b.shape), "example": b.example}),
        );
        json!({
            "service": op.service, "id": op.operation_id, "hosts": hosts, "method": op.method.as_str(), "template": op.template, "write": op.is_write(),
            "raw_segments": op.raw_segments, "path": fields(&op.path), "query": fields(&op.query), "body": body,
        })
    };
    catalog.operations().iter().map(operation).collect()
}

fn fields(fields: &[Field]) -> Value {
    let field = |f: &Field| {
        let mut inner = shape(&f.shape);
        if let Value::Object(inner) = &mut inner {
            inner.extend([
                ("required".to_owned(), f.required.into()),
                ("secret".to_owned(), f.secret.into()),
                ("fact".to_owned(), f.fact.clone().into()),
            ]);
        }
        (f.name.clone(), inner)
    };
    fields.iter().map(field).collect::<Map<_, _>>().into()
}

fn shape(of: &Shape) -> Value {
    match of {
        Shape::Object { fields: inner, additional } => {
            json!({"type": "object", "additional": additional, "fields": fields(inner)})
        }
        Shape::Array { element, max, .. } => {
            json!({"type": "array", "element": shape(element), "max": max})
        }
        Shape::Text { meaning, max, .. } => {
            json!({"type": "text", "meaning": format!("{meaning:?}"), "max": max})
        }
        Shape::Integer { min, max } => json!({"type": "integer", "min": min, "max": max}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Either(_) | Shape::Any => json!({"type": "any"}),
    }
}
