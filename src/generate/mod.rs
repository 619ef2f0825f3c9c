//! Trails to try things on: as many records as wanted, of the form that a gateway with the shipped
//! catalogue and policies writes.
//!
//! Each kind of call is judged and composed once for each caller; an exchange then fills in what
//! differs. The same seed gives the same records. Times lie in the 90 days before a fixed end,
//! busier by day and on weekdays, with bursts.

pub mod scenario;
pub mod template;
pub mod workload;

use bytes::Bytes;
use fastrand::Rng;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::secret::sha256;
use keyward_record::{Content, Entry, Event, Kind};
use keyward_trail::store::{Batch, Store, StoreError};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use template::{Slot, Template, Values};
use workload::{Agent, Half, Script};

pub use workload::Site;

/// The end of a generated trail, unless another is asked for.
pub const END: &str = "2026-11-01T00:00:00Z";
/// Records in one commit.
const BATCH_RECORDS: usize = 2048;
const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const DAYS: u64 = 90;
/// Shares of the day's calls by hour, UTC.
const HOURS: [u32; 24] =
    [3, 3, 2, 2, 2, 2, 3, 5, 8, 11, 12, 12, 10, 11, 12, 12, 11, 9, 7, 5, 4, 4, 3, 3];

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many records.
    pub records: u64,
    /// What chance follows.
    pub seed: u64,
    /// When the trail ends.
    pub end: Timestamp,
}

/// What was generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// Records.
    pub records: u64,
    /// Bytes of their leaves and bodies, before compression.
    pub bytes: u64,
}

/// Writes a trail into an empty store. `progress` is shown what there is after each commit.
///
/// # Errors
/// When the store fails.
pub fn generate(
    store: &dyn Store,
    site: &Site,
    options: Options,
    mut progress: impl FnMut(Generated),
) -> Result<Generated, StoreError> {
    let mut trail = Trail::new(site, options);
    let mut done = Generated::default();
    while let Some(batch) = trail.next_batch() {
        store.append(&batch)?;
        done.records += batch.entries.len() as u64;
        done.bytes += batch.entries.iter().map(|entry| entry.leaf.len() as u64).sum::<u64>();
        done.bytes +=
            batch.contents.iter().map(|(_, content)| content.bytes.len() as u64).sum::<u64>();
        progress(done);
    }
    Ok(done)
}

/// An answer that is under way, ordered by when it comes.
struct Pending<'a> {
    due: u64,
    /// The place of its request.
    opened: u64,
    id: AuditId,
    half: &'a Half,
    values: Values,
}

impl PartialEq for Pending<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.opened == other.opened
    }
}

impl Eq for Pending<'_> {}

impl PartialOrd for Pending<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.opened).cmp(&(other.due, other.opened))
    }
}

/// A run of calls of one caller, as from a pipeline.
struct Burst<'a> {
    left: u32,
    agent: &'a Agent,
    script: &'a Script,
}

struct Trail<'a> {
    site: &'a Site,
    options: Options,
    random: Rng,
    now: u64,
    next_event: u64,
    next_seq: u64,
    pending: BinaryHeap<Reverse<Pending<'a>>>,
    burst: Option<Burst<'a>>,
    batch: Batch,
    open_floor: u64,
    /// The trail's own time, which never goes back.
    last_time: u64,
}

impl<'a> Trail<'a> {
    fn new(site: &'a Site, options: Options) -> Self {
        let now = options.end.0.saturating_sub(DAYS * DAY);
        Self {
            site,
            options,
            random: Rng::with_seed(options.seed),
            now,
            next_event: now,
            next_seq: 0,
            pending: BinaryHeap::new(),
            burst: None,
            batch: Batch::default(),
            open_floor: 0,
            last_time: 0,
        }
    }

    /// The next records, or `None` when all are written. Every call that was forwarded has its
    /// answer by then.
    fn next_batch(&mut self) -> Option<Batch> {
        self.batch = Batch { first_seq: self.next_seq, ..Batch::default() };
        while self.batch.entries.len() < BATCH_RECORDS && self.next_seq < self.options.records {
            let left = self.options.records - self.next_seq;
            let waiting = self.pending.len() as u64;
            let due = self.pending.peek().is_some_and(|Reverse(first)| first.due <= self.now);
            if due || waiting >= left {
                self.answer();
            } else if self.now >= self.next_event {
                self.event();
            } else {
                self.call(left - waiting);
            }
        }
        let floor = self
            .pending
            .iter()
            .map(|Reverse(pending)| pending.opened)
            .min()
            .unwrap_or(self.next_seq);
        self.batch.open_floor = (floor != self.open_floor).then_some(floor);
        self.open_floor = floor;
        (!self.batch.entries.is_empty()).then(|| std::mem::take(&mut self.batch))
    }

    /// One call, of which no more than `room` records may come.
    fn call(&mut self, room: u64) {
        let (agent, script) = self.choose(room);
        let mut values = Values::default();
        self.draw(agent, &mut values);
        let id = AuditId(self.id());
        values.set(Slot::Id, format_args!("{id}"));
        let opened = self.next_seq;
        self.write(id, script.kind, self.now, &script.request, &mut values);
        if script.kind == Kind::Forwarded
            && let Some(half) =
                pick(&mut self.random, script.answers.iter().map(|(weight, half)| (*weight, half)))
        {
            // Most answers come within a tenth of a second, one in five hundred takes up to a
            // minute.
            let takes = if self.random.u32(..500) == 0 {
                self.random.u64(SECOND..60 * SECOND)
            } else {
                self.random.u64(SECOND / 50..SECOND / 4)
            };
            values.set(Slot::CloudTime, format_args!(":{}", takes / 1000));
            self.pending.push(Reverse(Pending { due: self.now + takes, opened, id, half, values }));
        }
        self.now += self.gap(room);
    }

    fn answer(&mut self) {
        let Some(Reverse(Pending { due, id, half, mut values, .. })) = self.pending.pop() else {
            return;
        };
        self.now = self.now.max(due);
        values.set(Slot::Answered, format_args!("{}", Timestamp(due).rfc3339()));
        self.write(id, Kind::Answer, due, half, &mut values);
    }

    /// Callers and policies are read anew about once a day.
    fn event(&mut self) {
        let record = Event::RulesLoaded {
            bundle: "sha256:generated".to_owned(),
            before: "sha256:generated".to_owned(),
            policies: None,
            callers: None,
            changes: None,
        }
        .record();
        let made = [(Slot::Id, record.id.to_string()), (Slot::Received, record.time.rfc3339())];
        let half = Half { leaf: Template::cut(&record.leaf, &made), content: None };
        let id = AuditId(self.id());
        let mut values = Values::default();
        values.set(Slot::Id, format_args!("{id}"));
        values.set(Slot::Received, format_args!("{}", Timestamp(self.now).rfc3339()));
        self.write(id, Kind::Event, self.now, &half, &mut values);
        self.next_event = self.now + self.random.u64(DAY / 2..DAY * 3 / 2);
    }

    fn choose(&mut self, room: u64) -> (&'a Agent, &'a Script) {
        if let Some(burst) = &mut self.burst
            && burst.left > 0
            && room > 1
        {
            burst.left -= 1;
            return (burst.agent, burst.script);
        }
        loop {
            let agent =
                pick(&mut self.random, self.site.agents.iter().map(|agent| (agent.weight, agent)));
            let Some(agent) = agent.or(self.site.agents.first()) else { continue };
            let fits =
                agent.scripts.iter().filter(|script| room > 1 || script.kind != Kind::Forwarded);
            if let Some(script) = pick(&mut self.random, fits.map(|script| (script.weight, script)))
            {
                let bursts = self.random.u32(..400) == 0;
                self.burst =
                    bursts.then(|| Burst { left: self.random.u32(20..200), agent, script });
                return (agent, script);
            }
        }
    }

    /// Draws what differs from one call to the next.
    fn draw(&mut self, agent: &Agent, values: &mut Values) {
        let judged = self.now + self.random.u64(40_000..400_000);
        values.set(Slot::Received, format_args!("{}", Timestamp(self.now).rfc3339()));
        values.set(Slot::Judged, format_args!("{}", Timestamp(judged).rfc3339()));
        values.set(
            Slot::Expires,
            format_args!("{}", Timestamp((judged / SECOND + 30 * 86_400) * SECOND).rfc3339()),
        );
        let date: String = values
            .get(Slot::Received)
            .chars()
            .take(19)
            .filter(|c| !matches!(c, '-' | ':'))
            .collect();
        values.set(Slot::SdkDate, format_args!("{date}Z"));
        // Few things are used often, and most seldom.
        let project = self.seldom(60);
        let pool = (self.options.records / 40).max(64);
        let (keypair, image, server) =
            (self.seldom(pool), self.seldom(pool / 4), self.seldom(pool / 8));
        let team = ["atlas", "basil", "delta", "ember", "fjord", "gamma", "haven", "indus"]
            .get((keypair % 8) as usize)
            .copied()
            .unwrap_or("other");
        values.set(Slot::Project, format_args!("{:032x}", spread(project, 1)));
        values.set(
            Slot::Keypair,
            format_args!(
                "{team}-{:06x}-20{}",
                spread(keypair, 2) as u32 & 0xff_ffff,
                24 + keypair % 3
            ),
        );
        values.set(
            Slot::Image,
            format_args!(
                "{}",
                uuid::Builder::from_random_bytes(spread(image, 3).to_be_bytes()).into_uuid()
            ),
        );
        values.set(Slot::Server, format_args!("{:032x}", spread(server, 4)));
        values.set(Slot::Server2, format_args!("{:032x}", spread(server + 1, 4)));
        values.set(Slot::Job, format_args!("{:032x}", self.random.u128(..)));
        let [a, b, c] = agent.network;
        values.set(Slot::Address, format_args!("{a}.{b}.{c}.{}", self.random.u8(10..14)));
        values.set(Slot::Port, format_args!("\"port\":{}", self.random.u16(32_768..60_999)));
        values.set(
            Slot::Signature,
            format_args!("hmac-sha256:{:032x}{:032x}", self.random.u128(..), self.random.u128(..)),
        );
        for (slot, range) in
            [(Slot::HeadTime, 12..60), (Slot::BodyTime, 8..90), (Slot::DecideTime, 90..420)]
        {
            values.set(slot, format_args!(":{}", self.random.u32(range)));
        }
    }

    fn seldom(&mut self, of: u64) -> u64 {
        let x = self.random.f64();
        ((x * x * x) * of as f64) as u64
    }

    /// Writes one record, made at `time`, and the body beside it.
    fn write(&mut self, id: AuditId, kind: Kind, time: u64, half: &Half, values: &mut Values) {
        if let Some((content, keyed)) = &half.content {
            let bytes = Bytes::from(content.filled(values));
            let mut salt = [0; 32];
            self.random.fill(&mut salt);
            let digest = if *keyed { self.site.key.digest(&bytes) } else { sha256(&bytes) };
            let content = Content { salt, bytes };
            values.set(Slot::Digest, format_args!("{digest}"));
            values.set(Slot::Commit, format_args!("{}", content.commitment()));
            self.batch.contents.push((self.next_seq, content));
        }
        let leaf = half.leaf.filled(values).into();
        self.last_time = self.last_time.max(time);
        self.batch.entries.push(Entry { time: Timestamp(self.last_time), kind, id, leaf });
        self.next_seq += 1;
    }

    /// Nanoseconds to the next call: what is left of the time, shared by the calls that are left.
    fn gap(&mut self, room: u64) -> u64 {
        if self.burst.as_ref().is_some_and(|burst| burst.left > 0) {
            return self.random.u64(2_000_000..30_000_000);
        }
        let hour = HOURS.get((self.now / (3600 * SECOND) % 24) as usize).copied().unwrap_or(1);
        // The first of January 1970 was a Thursday.
        let weekend = matches!(self.now / DAY % 7, 2 | 3);
        let busy = f64::from(hour) / 6.5 * if weekend { 0.35 } else { 1.25 };
        // About two records for each call, and every other call in a burst that takes no time.
        let mean =
            self.options.end.0.saturating_sub(self.now) as f64 / (room as f64 / 2.4).max(1.0);
        (-(1.0 - self.random.f64()).ln() * mean / busy) as u64
    }

    /// A UUID of version 7 for this moment.
    fn id(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(self.now / 1_000_000, &bytes).into_uuid()
    }
}

/// One of several, as often as its weight says.
fn pick<T>(random: &mut Rng, from: impl Iterator<Item = (u32, T)> + Clone) -> Option<T> {
    let all: u32 = from.clone().map(|(weight, _)| weight).sum();
    let mut at = if all == 0 { return None } else { random.u32(..all) };
    for (weight, one) in from {
        match at.checked_sub(weight) {
            Some(left) => at = left,
            None => return Some(one),
        }
    }
    None
}

/// A number that looks like none of its neighbours, the same every time (the steps of SplitMix64).
fn spread(n: u64, salt: u64) -> u128 {
    let mix = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let (high, low) = (
        mix(n.wrapping_mul(31).wrapping_add(salt) ^ 0x9e37_79b9_7f4a_7c15),
        mix(n.wrapping_add(salt << 40)),
    );
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests;
