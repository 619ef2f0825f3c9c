//! `keyward policy`: looking at policies and testing them, without a gateway.

use super::Configured;
use crate::app::{Prepared, Problems, read_words};
use crate::config::Settings;
use clap::{Args, Subcommand};
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use keyward_decision::policy::{Effect, Mode, PolicyError, Texts, cases, schema_text};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Lists the policies with their owners, messages and places.
    #[command(after_help = "Example:\n  keyward policy list --config config/keyward.toml --json")]
    List(ListArgs),
    /// Runs the policies' cases; every policy needs one in which it decides and one in which it
    /// does not.
    #[command(
        after_help = "Example:\n  keyward policy test --config config/keyward.toml --cases policies/tests\n\nA case is a raw call, a caller and a time, and the exact set of policies that decide it:\nsee policies/tests/*.toml. Exits with 1 when a case goes otherwise."
    )]
    Test(TestArgs),
    /// Prints the Cedar schema that the catalogue gives: what a policy may speak of.
    #[command(
        after_help = "Example:\n  keyward policy schema --config config/keyward.toml > keyward.cedarschema"
    )]
    Schema(Configured),
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    configured: Configured,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    configured: Configured,
    /// The folder of cases; by default `tests` beside the policies.
    #[arg(long)]
    cases: Option<PathBuf>,
}

/// Runs a subcommand.
///
/// # Errors
/// When the configuration, the catalogue, the callers or the policies cannot be used.
pub fn run(policy: Policy) -> anyhow::Result<ExitCode> {
    match policy {
        Policy::List(args) => list(&args),
        Policy::Test(args) => test(&args),
        Policy::Schema(configured) => {
            say!("{}", schema(&configured.settings()?)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What a policy may speak of does not hang on the policies: it is shown while they are wrong, for
/// then it is needed.
fn schema(settings: &Settings) -> Result<String, Problems> {
    let (catalog, directory) = read_words(settings)?;
    let problems =
        |errors: Vec<PolicyError>| Problems(errors.iter().map(ToString::to_string).collect());
    let (texts, faults) = Texts::read(&settings.policies_dir);
    let with_patterns = if faults.is_empty() {
        schema_text(texts.patterns.as_ref(), &catalog, &directory)
    } else {
        Err(faults)
    };
    with_patterns.or_else(|errors| {
        let text = schema_text(None, &catalog, &directory).map_err(problems)?;
        crate::log::say(format_args!(
            "{}\nthis is the schema without the patterns",
            problems(errors)
        ));
        Ok(text)
    })
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let prepared = Prepared::read(args.configured.draft()?)?;
    let rows = prepared.rules.policies.policies().map(|p| {
        let effect = if p.effect == Effect::Permit { "permit" } else { "forbid" };
        let mode = if p.mode == Mode::Shadow { "shadow" } else { "enforce" };
        (p, effect, mode)
    });
    if args.json {
        let all: Vec<_> = rows.map(|(p, effect, mode)| json!({"id": p.id, "owner": p.owner, "message": p.message, "severity": p.severity, "effect": effect, "mode": mode, "file": p.file, "line": p.line, "text": p.text})).collect();
        sayln!("{}", json!({"bundle": prepared.rules.policies.hash, "policies": all}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(
        ["policy", "effect", "mode", "owner", "what it tells the caller"]
            .map(|h| Cell::new(h).add_attribute(Attribute::Bold)),
    );
    for (p, effect, mode) in rows {
        table.add_row([p.id.as_str(), effect, mode, p.owner.as_str(), p.message.as_str()]);
    }
    sayln!("{table}\nbundle {}", prepared.rules.policies.hash)?;
    Ok(ExitCode::SUCCESS)
}

fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let prepared = Prepared::read(args.configured.draft()?)?;
    let dir = args.cases.clone().unwrap_or_else(|| prepared.settings.policies_dir.join("tests"));
    let problems =
        |errors: Vec<PolicyError>| Problems(errors.iter().map(ToString::to_string).collect());
    let cases = cases::load(&dir).map_err(problems)?;
    match cases::run_all(&prepared.rules.policies, &cases, |case| {
        cases::question(&prepared.catalog, case)
    }) {
        Ok(()) => {
            sayln!(
                "{} cases, {} policies: all as they should be",
                cases.len(),
                prepared.rules.policies.policies().count()
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            crate::log::say(format_args!(
                "{}\n\n{} of {} cases and policies not as they should be",
                problems(errors.clone()),
                errors.len(),
                cases.len()
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}
