//! Fuzz targets: what must hold of every input, for libFuzzer to disprove. `KEYWARD_FUZZ_TARGET` names the target, so
//! that one program holds them all; `fuzz/run` builds and runs it.

#![no_main]

mod body;
mod call;
mod frame;
mod load;
mod route;

use keyward::catalog::Catalog;
use keyward::request::RequestHead;
use keyward_core::clock::{AuditId, Timestamp};
use std::path::Path;
use std::sync::LazyLock;

/// A target's name, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] =
    &[("call", call::fuzz), ("route", route::fuzz), ("body", body::fuzz), ("document", load::document), ("config", load::config), ("frame", frame::fuzz)];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("KEYWARD_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    *found.unwrap_or_else(|| panic!("KEYWARD_FUZZ_TARGET must be one of {}", TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))
});

/// The shipped catalogue.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/apis");
    Catalog::load(&dir).unwrap_or_else(|errors| panic!("{errors:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.1)(data));

/// A head in which the head check found nothing.
fn plain_head(method: &http::Method, target: &str, host: &str, headers: http::HeaderMap) -> RequestHead {
    RequestHead {
        id: AuditId::new(),
        received: Timestamp::now(),
        client: ([127, 0, 0, 1], 0).into(),
        via: None,
        tls: None,
        bound_service: None,
        version: "HTTP/1.1",
        method: method.clone(),
        target: bytes::Bytes::copy_from_slice(target.as_bytes()),
        host: host.to_owned(),
        headers,
        raw: None,
        fault: None,
    }
}
