//! `keyward audit pack`: an auditor's question, and an archive that answers it.

use super::export::export_into;
use super::output::Sink;
use super::trail::{FilterArgs, Trail, ask_gateway, folder, send_to_gateway, warn};
use crate::evidence::gateway::Gateway;
use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::texts::{self, TEXTS, Text};
use keyward_pack::making::{Making, PACKS, PURPOSE};
use keyward_pack::{Gone, InForce, Pack, Question};
use keyward_record::event::Span;
use keyward_record::{Event, EventName};
use keyward_tlog::proof::prove_record;
use keyward_tlog::source::Source;
use keyward_trail::exchange::Exchange;
use keyward_trail::export::format::ExportFormat;
use keyward_trail::export::{Export, Start};
use keyward_trail::filter::Filter;
use keyward_trail::query::PAGE_EXCHANGES_MAX;
use keyward_trail::query::ask::{Ask, Form};
use keyward_trail::tombstone::Removal;
use keyward_trail::verify::Folder;
use keyward_verify::progress_bar;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the last records may wait for a checkpoint.
const SIGNED_WITHIN: Duration = Duration::from_secs(15);

/// What the pack is to hold.
#[derive(Debug, Args)]
pub struct PackArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The archive to make, a zip file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    trail: Trail,
}

/// Makes a pack.
///
/// # Errors
/// When the trail cannot be reached or read, or the archive cannot be written.
pub fn run(args: &PackArgs) -> anyhow::Result<ExitCode> {
    let filter = args.filter.filter()?;
    let trail = &args.trail;
    let question = Question {
        filter: filter.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        source: trail
            .dir
            .as_ref()
            .map_or_else(|| trail.url.clone(), |dir| dir.display().to_string()),
        by: std::env::var("USER")
            .ok()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| "an unnamed user".to_owned()),
        at: Timestamp::now(),
        warnings: Vec::new(),
    };
    let mut intake = Intake {
        pack: Pack::new(question, &args.out)?,
        next: None,
        end: None,
        export: None,
        bar: progress_bar(),
    };
    let export = Export {
        form: ExportFormat::Exchange,
        filter: filter.clone(),
        start: Start::Oldest,
        follow: false,
    };
    ensure!(
        export_into(trail, export, Some(PURPOSE), &mut intake)?,
        "interrupted: no pack is made"
    );
    let Intake { mut pack, end, export, bar, .. } = intake;
    bar.finish_and_clear();
    let in_force = in_force(trail, &filter)?;
    let mut hashes: Vec<String> = pack.hashes().map(str::to_owned).collect();
    hashes.extend(
        in_force
            .iter()
            .flat_map(|rules| [rules.bundle.clone(), rules.catalog.clone()])
            .filter(|hash| !hash.is_empty()),
    );
    hashes.sort();
    hashes.dedup();
    for hash in hashes {
        pack.add_text(&hash, text(trail, &hash)?.as_ref())?;
    }
    if let Err(error) = prove(trail, &mut pack) {
        crate::log::say(format_args!("keyward: the pack holds no proofs: {error:#}"));
    }
    let export = export.filter(|_| pack.is_proved());
    let sums = pack.seal(&in_force, &gone(trail, &filter)?, end, export.is_some())?;
    match export {
        Some(export) => record(trail, &mut pack, Making { export, sums })
            .context("no pack is made: its making could not be recorded and proved")?,
        None => crate::log::say(format_args!(
            "keyward: no record of the trail tells of the making of this pack: that none of its records was left out rests on your word"
        )),
    }
    let made = pack.archive(&args.out)?;
    sayln!(
        "{}  {} exchanges, {} records\n{}",
        args.out.display(),
        made.exchanges,
        made.records,
        made.sha256
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Takes exchanges into the pack.
struct Intake {
    pack: Pack,
    next: Option<u64>,
    end: Option<u64>,
    /// The gateway's export behind it.
    export: Option<String>,
    bar: ProgressBar,
}

impl Sink for Intake {
    fn put(&mut self, line: &[u8], next: u64) -> anyhow::Result<()> {
        self.next = Some(next);
        self.bar.set_position(next);
        if line.is_empty() {
            return Ok(());
        }
        self.pack.add(line)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn ends_at(&mut self, end: Option<u64>) {
        end.into_iter().for_each(|end| self.bar.set_length(end));
        self.end = end;
    }

    fn warned(&mut self, warnings: &[String]) {
        warn(warnings);
        self.pack.warned(warnings);
    }

    fn known_as(&mut self, export: &str) {
        self.export = Some(export.to_owned());
    }

    fn next(&self) -> Option<u64> {
        self.next
    }
}

/// Adds proofs. A running gateway signs every second: the last records may have to wait for it.
fn prove(trail: &Trail, pack: &mut Pack) -> anyhow::Result<()> {
    match &trail.dir {
        Some(dir) => pack.prove(&Folder::open(dir)?),
        None => pack.prove(&covering(trail, pack.end())?),
    }
}

/// The gateway, once its checkpoint covers so many records, or when it has been waited for.
fn covering(trail: &Trail, end: u64) -> anyhow::Result<Gateway> {
    let deadline = Instant::now() + SIGNED_WITHIN;
    loop {
        let late = Instant::now() > deadline;
        match Gateway::open(&trail.url).and_then(|gateway| Ok((gateway.end()?, gateway))) {
            Ok((covered, gateway)) if late || covered >= end => return Ok(gateway),
            // A gateway that has just started has signed nothing yet.
            Err(error) if late => return Err(error),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What a gateway tells of a record that it has made.
#[derive(Deserialize)]
struct Told {
    id: String,
}

/// A page of exchanges, as a trail gives it.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    exchanges: Vec<&'a RawValue>,
    next: Option<String>,
}

/// Has the gateway record that the pack was made, and puts that record into it, with its proof.
fn record(trail: &Trail, pack: &mut Pack, making: Making) -> anyhow::Result<()> {
    let body = serde_json::to_vec(&making)?;
    let request = http::Request::post(PACKS)
        .header("content-type", "application/json")
        .header("x-keyward-purpose", PURPOSE);
    let request =
        match std::env::var("USER").ok().and_then(|name| http::HeaderValue::from_str(&name).ok()) {
            Some(name) if !name.is_empty() => request.header("x-keyward-auditor", name),
            _ => request,
        };
    let Told { id } = serde_json::from_str(&send_to_gateway(trail, request, body.into())?)?;
    let id = AuditId::parse(&id).context("the gateway does not say which record it is")?;
    let made = Exchange::read(ask_gateway(trail, &Ask::Exchange(id).target(Form::Json))?.trim())
        .context("the record of the making cannot be read")?;
    let (seq, leaf) = (made.request.seq, made.request.leaf);
    let proof = prove_record(&covering(trail, seq.saturating_add(1))?, seq, &leaf)?;
    pack.add_making(seq, &leaf, &proof)
}

/// Policies or catalogue of a hash; `None` when the gateway has not kept them.
fn text(trail: &Trail, hash: &str) -> anyhow::Result<Option<Text>> {
    match &trail.dir {
        Some(dir) => Ok(texts::read(dir, hash)?),
        None => Ok(texts::parse(
            ask_gateway(trail, &format!("{TEXTS}/{hash}")).unwrap_or_default().as_bytes(),
            hash,
        )),
    }
}

/// Which rules were in force at the filter's times, from what the trail says of starts and reloads.
fn in_force(trail: &Trail, filter: &Filter) -> anyhow::Result<Vec<InForce>> {
    let (since, _) = filter.bounds(Timestamp::now());
    let mut events = Vec::new();
    for event in [EventName::Started, EventName::RulesLoaded] {
        let mut wanted = Filter::parse([("event", event.code())])?;
        filter
            .pairs()
            .filter(|(name, _)| *name == "until")
            .try_for_each(|(name, value)| wanted.add(name, value))?;
        events.extend(loaded(trail, &wanted, since)?);
    }
    events.sort_by_key(|event| (event.request.time, event.request.seq));
    // Of those before the time asked for, the last one was in force when it began.
    let before = events.iter().filter(|event| event.request.time < since).count();
    let mut rules: Vec<InForce> = Vec::new();
    for event in events.iter().skip(before.saturating_sub(1)) {
        let (bundle, catalog) = match event.request.event() {
            Some(Event::Started { bundle, catalog, .. }) => (bundle, catalog),
            Some(Event::RulesLoaded { bundle, .. }) => (bundle, String::new()),
            _ => continue,
        };
        let from = event.request.asked().time.unwrap_or_default().to_owned();
        let mut next = InForce { from, until: None, bundle, catalog };
        if let Some(last) = rules.last_mut() {
            if next.catalog.is_empty() {
                next.catalog.clone_from(&last.catalog);
            }
            if (&next.bundle, &next.catalog) == (&last.bundle, &last.catalog) {
                continue;
            }
            last.until = Some(next.from.clone());
        }
        rules.push(next);
    }
    Ok(rules)
}

/// What is gone from the trail, as its own records tell, unless all of it was older than what is
/// asked for; stretches that touch as one, told by the newest.
fn gone(trail: &Trail, filter: &Filter) -> anyhow::Result<Vec<Gone>> {
    let (since, _) = filter.bounds(Timestamp::now());
    let mut gone: Vec<Gone> = Vec::new();
    for why in [Removal::Pruned, Removal::Lost] {
        for event in loaded(trail, &Filter::parse([("event", why.event().code())])?, Timestamp(0))?
        {
            let Some(told) = event.request.event() else { continue };
            let until = match &told {
                Event::RecordsPruned { until, .. } => until.clone(),
                _ => None,
            };
            if until.as_deref().and_then(Timestamp::parse).is_some_and(|until| until < since) {
                continue;
            }
            gone.extend(told.gone().map(|range| {
                let Span { first, last } = Span::of(&range);
                Gone {
                    first,
                    last,
                    lost: why == Removal::Lost,
                    told_by: event.request.seq,
                    until: until.clone(),
                }
            }));
        }
    }
    gone.sort_by_key(|gone| (gone.first, gone.told_by));
    gone.dedup_by(|next, before| {
        let touches = before.lost == next.lost && next.first <= before.last.saturating_add(1);
        if touches {
            let first = before.first;
            *before = Gone { first, last: before.last.max(next.last), ..next.clone() };
        }
        touches
    });
    Ok(gone)
}

/// Events that match, the newest first, down to the first one before `since`.
fn loaded(trail: &Trail, filter: &Filter, since: Timestamp) -> anyhow::Result<Vec<Exchange>> {
    let reader = trail.dir.as_deref().map(folder).transpose()?;
    let (mut events, mut cursor) = (Vec::new(), None);
    loop {
        let ask = Ask::Exchanges { filter: filter.clone(), limit: PAGE_EXCHANGES_MAX, cursor };
        let text = match &reader {
            Some(reader) => ask.answer(reader, Form::Json)?.text,
            None => ask_gateway(trail, &ask.target(Form::Json))?,
        };
        let page: Page = serde_json::from_str(&text)?;
        events.extend(page.exchanges.iter().filter_map(|exchange| Exchange::read(exchange.get())));
        cursor = page.next.as_deref().map(str::parse).transpose()?;
        if cursor.is_none() || events.last().is_some_and(|event| event.request.time < since) {
            return Ok(events);
        }
    }
}
