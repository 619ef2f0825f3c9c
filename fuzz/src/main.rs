//! Fuzz targets: what must hold of every input, for libFuzzer to disprove. `KEYWARD_FUZZ_TARGET`
//! names the target, so that one program holds them all; `fuzz/run` builds and runs it.

#![no_main]

mod body;
mod call;
mod frame;
mod load;
mod route;

use keyward_decision::catalog::Catalog;
use std::path::Path;
use std::sync::LazyLock;

/// A target's name, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("call", call::fuzz),
    ("route", route::fuzz),
    ("body", body::fuzz),
    ("document", load::document),
    ("config", load::config),
    ("frame", frame::fuzz),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("KEYWARD_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    *found.unwrap_or_else(|| {
        panic!(
            "KEYWARD_FUZZ_TARGET must be one of {}",
            TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        )
    })
});

/// The shipped catalogue.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/apis");
    Catalog::load(&dir).unwrap_or_else(|errors| panic!("{errors:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.1)(data));
