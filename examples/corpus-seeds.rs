//! Writes the bytes of the corpus as seeds for fuzzers: `cargo run --example corpus-seeds -- DIR`.
//!
//! `DIR/request` gets whole HTTP/1.1 requests, `DIR/target` request targets, `DIR/body` bodies; a
//! file for each case that has one.

#[path = "../tests/it/corpus/case.rs"]
#[allow(dead_code, reason = "seeds need what is sent, not what is expected")]
mod case;

use case::{Case, Request};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: corpus-seeds DIR");
        return ExitCode::from(2);
    };
    match write_all(Path::new(&dir)) {
        Ok(seeds) => {
            println!("{seeds} seeds in {dir}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(dir: &Path) -> Result<usize, String> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let cases = case::load(&corpus).map_err(|errors| errors.join("\n"))?;
    let mut written = 0;
    for case in &cases {
        for (kind, bytes) in seeds(case) {
            let folder = dir.join(kind);
            let file = folder.join(case.name.replace('/', "-"));
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(&file, bytes))
                .map_err(|e| format!("{}: {e}", file.display()))?;
            written += 1;
        }
    }
    Ok(written)
}

fn seeds(case: &Case) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = match &case.request {
        Request::Raw(bytes) => vec![("request", bytes.clone())],
        Request::Described(request) => vec![
            ("request", request.bytes()),
            ("target", request.target.clone().into_bytes()),
            ("body", request.body.clone()),
        ],
        Request::Frames(frames) => {
            let path = frames
                .headers
                .iter()
                .find(|(name, _)| name == b":path")
                .map(|(_, value)| value.clone());
            vec![
                ("target", path.unwrap_or_default()),
                ("body", frames.body.clone().unwrap_or_default()),
            ]
        }
    };
    seeds.retain(|(_, bytes)| !bytes.is_empty());
    seeds
}
