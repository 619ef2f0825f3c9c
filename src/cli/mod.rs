//! The command line.

/// Writes to standard output. Whoever reads it may have gone, or its disk be full: that is an
/// error, and no panic.
macro_rules! say {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!($($text)*))
    };
}

/// The same, with the end of the line.
macro_rules! sayln {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)))
    };
}

mod audit;
mod backup;
mod evidence;
mod export;
mod retention;
mod output;
mod pack;
mod policy;
#[cfg(feature = "demo")]
mod demo;
mod maintenance;
mod trail;

use crate::app::{Gateway, Prepared, Problems, check_doors, files};
use crate::config::{Draft, Settings};
use crate::log;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use keyward_core::secret::DigestKey;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// The version, and the commit that it was built of.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("KEYWARD_COMMIT"), ")");

/// Audit-logging reverse proxy and policy gateway for the cloud calls that move key pairs, machine
/// images and SSH keys.
#[derive(Debug, Parser)]
#[command(name = "keyward", version = VERSION, max_term_width = 100)]
#[command(
    after_help = "Examples:\n  keyward demo                                   see it work, all on loopback\n  keyward check --config config/keyward.toml     what is wrong with the configuration?\n  keyward serve --config config/keyward.toml     run the gateway\n  keyward audit query --decision deny --since 2h what was refused lately?"
)]
pub struct Cli {
    /// Logs as JSON lines, for machines. How much is logged says KEYWARD_LOG: error, warn, info
    /// (by default) or debug.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    #[command(
        after_help = "Example:\n  keyward serve --config config/keyward.toml --set limits.body_bytes_max=10485760\n\nSIGHUP reads callers and policies anew; SIGTERM finishes what is in flight and closes the journal."
    )]
    Serve(ServeArgs),
    #[cfg(feature = "demo")]
    #[command(flatten)]
    Trial(demo::Trial),
    /// Checks configuration, catalogue, callers and policies; binds no port and writes nothing.
    #[command(
        after_help = "Example:\n  keyward check --config config/keyward.toml --set policies.dir=policies\n\nExits with 0 when all is well, else with 1 and a line for each mistake: file, place, what to do."
    )]
    Check(Configured),
    /// Asks the trail: who did what, when, on what, by which policy, with what outcome.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Lists and tests the policies, and prints the schema that they are checked against.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Prints the keyed digest of a secret read from standard input: for the callers file, and for
    /// `audit query --secret`.
    #[command(
        after_help = "Example:\n  printf %s \"$TOKEN\" | keyward digest --config config/keyward.toml"
    )]
    Digest(Configured),
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    configured: Configured,
    /// Goes on with a trail that does not continue what was signed before. The reason becomes a
    /// record.
    #[arg(long, value_name = "WHY")]
    accept_trail: Option<String>,
}

impl Command {
    /// Runs until somebody ends it.
    fn stays(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            #[cfg(feature = "demo")]
            Self::Trial(_) => true,
            _ => false,
        }
    }
}

/// The configuration that a command works with.
#[derive(Debug, Args)]
struct Configured {
    /// The configuration file.
    #[arg(long, short, default_value = "config/keyward.toml")]
    config: PathBuf,
    /// Overrides a key of the configuration; may be given more than once.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

impl Configured {
    /// For what works with the whole of it: what is wrong with one part hides nothing of the
    /// others.
    fn draft(&self) -> anyhow::Result<Draft> {
        Ok(Draft::read(&self.config, &self.sets)?)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::load(&self.config, &self.sets)?)
    }
}

/// Parses the command line, runs the command and gives the process' exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.log_json);
    files::survive_length();
    // Whoever supervises a gateway that ends waits for it to end.
    let patience = if cli.command.stays() { log::BRIEFLY } else { log::PATIENTLY };
    let code = match run(cli.command) {
        Ok(code) => code,
        // Whoever reads our output may stop when it has enough.
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::say(format_args!("keyward: {error:#}"));
            ExitCode::FAILURE
        }
    };
    log::flush(patience);
    code
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    if command.stays() || matches!(command, Command::Audit(_) | Command::Digest(_)) {
        // Whatever is made of the trail, by us or by the engine, is its owner's alone.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    }
    match command {
        Command::Serve(args) => serve(args),
        #[cfg(feature = "demo")]
        Command::Trial(trial) => trial.run(),
        Command::Check(configured) => check(&configured),
        Command::Audit(command) => audit::run(command),
        Command::Policy(command) => policy::run(command),
        Command::Digest(configured) => digest(&configured),
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut draft = args.configured.draft()?;
    if args.accept_trail.as_ref().is_some_and(|why| why.trim().is_empty()) {
        anyhow::bail!("--accept-trail: say why");
    }
    draft.settings.evidence.accept = args.accept_trail;
    Ok(ExitCode::from(Gateway::open(Prepared::read(draft)?)?.serve()?))
}

fn check(configured: &Configured) -> anyhow::Result<ExitCode> {
    let (prepared, warnings) = match checked(configured) {
        Ok(checked) => checked,
        Err(Problems(problems)) => {
            let count = problems.len();
            log::say(format_args!(
                "{}\n\n{count} mistake{} found",
                problems.join("\n"),
                if count == 1 { "" } else { "s" }
            ));
            return Ok(ExitCode::FAILURE);
        }
    };
    let actions: std::collections::BTreeSet<_> =
        prepared.catalog.operations().iter().map(|op| &op.action).collect();
    sayln!("configuration  {}", configured.config.display())?;
    sayln!(
        "catalogue      {} services, {} routes, {} actions",
        prepared.catalog.services().count(),
        prepared.catalog.operations().len(),
        actions.len()
    )?;
    sayln!(
        "callers        {} in {} groups",
        prepared.rules.directory.callers.len(),
        prepared.rules.directory.groups.len()
    )?;
    sayln!(
        "policies       {}  ({})",
        prepared.rules.policies.policies().count(),
        prepared.rules.policies.hash
    )?;
    let warned = !warnings.is_empty();
    for warning in warnings {
        sayln!("warning        {warning}")?;
    }
    sayln!("{}", if warned { "no mistakes, but see the warnings" } else { "all is well" })?;
    Ok(ExitCode::SUCCESS)
}

/// What a gateway would work with, and what is good to know of it.
///
/// # Errors
/// All that is wrong.
fn checked(configured: &Configured) -> Result<(Prepared, Vec<String>), Problems> {
    let draft = Draft::read(&configured.config, &configured.sets)
        .map_err(|mistake| Problems(vec![mistake.to_string()]))?;
    let doors = check_doors(&draft);
    match (Prepared::read(draft), doors) {
        (Ok(prepared), Ok(warnings)) => Ok((prepared, warnings)),
        (prepared, doors) => Err(Problems(
            [prepared.err(), doors.err()].into_iter().flatten().flat_map(|more| more.0).collect(),
        )),
    }
}

fn digest(configured: &Configured) -> anyhow::Result<ExitCode> {
    let settings = configured.settings()?;
    let key = match settings.digest_key_file.parent() {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            DigestKey::open_or_create(&settings.digest_key_file)?
        }
        None => DigestKey::open(&settings.digest_key_file)?,
    };
    if std::io::stdin().is_terminal() {
        log::say(format_args!("Type or paste the secret, then Enter and Ctrl-D:"));
        log::flush(log::PATIENTLY);
    }
    let mut secret = Vec::new();
    std::io::stdin().read_to_end(&mut secret)?;
    let secret = secret.trim_ascii();
    anyhow::ensure!(!secret.is_empty(), "standard input holds no secret");
    sayln!("{}", key.digest(secret))?;
    Ok(ExitCode::SUCCESS)
}

/// Logs go to standard error, by a thread of their own: see [`log`].
fn start_logging(json: bool) {
    let filter = EnvFilter::try_from_env("KEYWARD_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,keyward=info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log::ToLog);
    let safe = filter_fn(|line| holds_no_request(line.target(), *line.level()));
    if json {
        builder.json().finish().with(safe).init();
    } else {
        builder
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .with(safe)
            .init();
    }
    log::tell_panics();
}

/// Whether a line may be logged whatever `KEYWARD_LOG` asks for: below these levels the lines of
/// libraries hold whole requests, and so secrets.
fn holds_no_request(target: &str, level: Level) -> bool {
    match target.split("::").next() {
        Some("keyward") => true,
        Some("pingora_proxy") => false,
        Some("pingora_core" | "sled") => level <= Level::ERROR,
        _ => level <= Level::WARN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_library_logs_a_request() {
        assert!(holds_no_request("keyward::gate", Level::TRACE));
        assert!(holds_no_request("pingora_core", Level::ERROR));
        for target in ["pingora_core", "pingora_proxy", "hyper", "keywards"] {
            assert!(!holds_no_request(target, Level::DEBUG), "{target}");
        }
        assert!(!holds_no_request("pingora_proxy", Level::ERROR));
    }
}
