//! Over a real socket, with the shipped catalogue: every answer is held to the schema that its
//! document gives for it.

mod alibaba;
mod control;
mod huawei;

use super::settings::PROJECT;
use super::{Sandbox, Settings, acs3};
use crate::signing::{self, AccessKey};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyward_core::clock::Timestamp;
use keyward_decision::catalog::operation::Operation;
use keyward_decision::catalog::{Catalog, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::sync::oneshot;

const KMS: &str = "kms.cn-north-4.myhuaweicloud.com";
const ECS: &str = "ecs.cn-north-4.myhuaweicloud.com";
const IMS: &str = "ims.cn-north-4.myhuaweicloud.com";
const CPH: &str = "cph.cn-north-4.myhuaweicloud.com";
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5S4J2Yl35xp2jkNOIpGvM48qnA/rxAEX1Er4b9JJD8 dev@example.com";

// Read once for all tests: in a debug build a document takes a while.
static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| {
    Arc::new(
        Catalog::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/apis")))
            .unwrap(),
    )
});
static DOCUMENTS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let read =
        |file: &str| serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    CATALOG.services().map(|(service, _)| (service.name.clone(), read(&service.file))).collect()
});

/// A running sandbox.
struct Cloud {
    sandbox: Arc<Sandbox>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Cloud {
    async fn start() -> Self {
        Self::start_with(Settings {
            slow: std::time::Duration::from_millis(80),
            ..Settings::default()
        })
        .await
    }

    async fn start_with(settings: Settings) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sandbox = Sandbox::new(Arc::clone(&CATALOG), settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(Arc::clone(&sandbox).serve(listener, async {
            let _ = stopped.await;
        }));
        Self { sandbox, address, stop, served }
    }

    /// Sends a request as it is. The answer must fit the document when the call is one of the
    /// catalogue's.
    async fn send(&self, request: Request<Bytes>) -> hyper::Result<Got> {
        let (host, method, target) = (
            request.headers()["host"].to_str().unwrap().to_owned(),
            request.method().clone(),
            request.uri().path().to_owned(),
        );
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let got = Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        };
        assert!(got.headers.contains_key("x-request-id"), "{method} {target}: {got:?}");
        if let Target::Operation(operation, _) = CATALOG.classify(None, &host, &method, &target) {
            fits(&operation, &got);
        }
        Ok(got)
    }

    /// A call of a Huawei user, signed.
    async fn signed(
        &self,
        access: &str,
        host: &str,
        method: &str,
        target: &str,
        body: Value,
    ) -> Got {
        let mut request = plain(host, method, target, &body);
        let (key, _) = Settings::default().access_key(access).unwrap().clone();
        signing::sign(&key, host, &mut request, Timestamp::now()).unwrap();
        self.send(request).await.unwrap()
    }

    /// A signed call of the demo's caller.
    async fn admin(&self, host: &str, method: &str, target: &str, body: Value) -> Got {
        self.signed("AKDEMOKEYADMIN", host, method, &target.replace("{project}", PROJECT), body)
            .await
    }

    /// A call with one header.
    async fn with(
        &self,
        name: &'static str,
        value: &str,
        host: &str,
        method: &str,
        target: &str,
        body: Value,
    ) -> Got {
        let mut request = plain(host, method, &target.replace("{project}", PROJECT), &body);
        request.headers_mut().insert(name, value.parse().unwrap());
        self.send(request).await.unwrap()
    }
}

fn plain(host: &str, method: &str, target: &str, body: &Value) -> Request<Bytes> {
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", host)
        .header("content-type", "application/json")
        .body(bytes)
        .unwrap()
}

fn wrong_key() -> AccessKey {
    AccessKey { id: "AKDEMOKEYADMIN".to_owned(), secret: "wrong".to_owned() }
}

/// Holds an answer to what its document says of that status.
fn fits(operation: &Operation, got: &Got) {
    let document = &DOCUMENTS[&operation.service];
    let path = operation.template.replace('~', "~0").replace('/', "~1");
    let method = operation.method.as_str().to_ascii_lowercase();
    let answers = document.pointer(&format!("/paths/{path}/{method}/responses")).unwrap();
    let what = format!("{} {}: {got:?}", operation.operation_id, got.status);
    let follow = |node: &Value| match node.get("$ref").and_then(Value::as_str) {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap().clone(),
        None => node.clone(),
    };
    let answer = answers.get(got.status.to_string()).or_else(|| answers.get("default")).map(follow);
    let Some(content) = answer.as_ref().and_then(|a| a.get("content")).and_then(Value::as_object)
    else {
        assert!(answer.is_none() || got.body.is_empty(), "no body is documented: {what}");
        return;
    };
    let (media_type, media) = content.iter().next().unwrap();
    assert_eq!(got.headers["content-type"], media_type.as_str(), "{what}");
    if media_type == "application/json" {
        let mut schema = media["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let fault = validator.validate(&got.json()).err().map(|e| e.to_string());
        assert_eq!(fault, None, "{what}");
    }
}

/// Every operation of the catalogue is answered as its document says, with whatever its examples
/// give to ask.
#[tokio::test]
async fn every_operation_of_the_catalogue_is_answered_as_documented() {
    let cloud = Cloud::start().await;
    for operation in CATALOG.operations() {
        let (service, hosts) =
            CATALOG.services().find(|(s, _)| s.name == operation.service).unwrap();
        let host = hosts[0].to_string().replace('*', "cn-north-4");
        let mut target = operation.template.clone();
        for field in &operation.path {
            target = target.replace(
                &format!("{{{}}}", field.name),
                if field.name == "project_id" { PROJECT } else { "7" },
            );
        }
        if service.name.starts_with("alibaba.devops") {
            target = format!(
                "{target}?accessToken=pt-sandboxReleaseDesk_0001&organizationId={}",
                super::settings::ORGANIZATION
            );
        }
        let body = operation.body.as_ref().and_then(|b| b.example.clone()).unwrap_or(Value::Null);
        let mut request = plain(&host, operation.method.as_str(), &target, &body);
        match service.name.as_str() {
            "alibaba.codeup" => drop(
                request
                    .headers_mut()
                    .insert("x-yunxiao-token", "pt-sandboxReleaseDesk_0001".parse().unwrap()),
            ),
            "alibaba.devops" => acs_sign(&host, &mut request),
            _ => signing::sign(
                &Settings::default().access_keys[0].0,
                &host,
                &mut request,
                Timestamp::now(),
            )
            .unwrap(),
        }
        let got = cloud.send(request).await.unwrap();
        assert!(![401, 500].contains(&got.status), "{}: {got:?}", operation.operation_id);
    }
}

/// As a caller of the older Alibaba API.
fn acs_sign(host: &str, request: &mut Request<Bytes>) {
    acs3::sign(&Settings::default().acs_keys[0].0, host, request, Timestamp::now()).unwrap();
}

fn names(list: &Value, pointer: &str) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|element| element.pointer(pointer).unwrap().as_str().unwrap().to_owned())
        .collect()
}

fn empty() -> Value {
    json!(null)
}
