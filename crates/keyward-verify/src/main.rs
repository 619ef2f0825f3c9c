//! `keyward-verify`: for auditors, who need no gateway to check what one has recorded.

use clap::{CommandFactory, Parser};
use keyward_core::terminal::clean_lines;
use keyward_tlog::source::Source;
use keyward_trail::verify::Segments;
use keyward_verify::{Opens, VERDICTS, VerifyOptions, run};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const EXAMPLES: &str = "Of an audit folder only the sealed segments are read; for the records behind them, which the gateway's program alone can read, it
names the command.

Examples:
  keyward-verify --export exchanges.ndjson --checkpoint checkpoint --vkey audit.example.com+1a2b3c4d+AX…
  keyward-verify --pack evidence-2026-11 --vkey audit.example.com+1a2b3c4d+AX…
  keyward-verify --dir data/audit --vkey audit.example.com+1a2b3c4d+AX…";

/// Verifies what a keyward gateway has recorded: exports, evidence packs, proofs, tiled logs and
/// sealed segments.
#[derive(Parser)]
#[command(name = "keyward-verify", version, after_help = format!("{VERDICTS}\n\n{EXAMPLES}"))]
struct Program {
    #[command(flatten)]
    args: VerifyOptions,
}

/// Segments, and nothing that is not named.
struct Files;

impl Opens for Files {
    fn folder(&self, dir: &Path) -> anyhow::Result<Box<dyn Source>> {
        Ok(Box::new(Segments::open(dir)?))
    }

    fn unnamed(&self) -> anyhow::Result<Box<dyn Source>> {
        Program::command()
            .error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "name what to verify: --export, --pack, --proof, --copy or --dir",
            )
            .exit()
    }
}

fn main() -> ExitCode {
    let outcome = match run(&Program::parse().args, &Files) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("keyward-verify: {}", clean_lines(&format!("{error:#}")));
            return ExitCode::FAILURE;
        }
    };
    if let Some(why) = outcome.refused {
        eprintln!("keyward-verify: {why}");
    }
    // Whoever reads our output may stop when it has enough.
    std::io::stdout().write_all(outcome.text.as_bytes()).ok();
    ExitCode::from(outcome.status)
}
