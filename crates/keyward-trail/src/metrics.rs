//! The trail's metrics. Who scrapes them is not known here.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// What the trail counts.
#[derive(Debug)]
pub struct Metrics {
    /// Seconds of a durable commit of the journal.
    pub commit_seconds: Histogram,
    /// Records in a commit.
    pub commit_records: Histogram,
    /// Records made durable, by kind.
    pub records: IntCounterVec,
    /// Records that could not be made durable. Each refused a call, or left its outcome unknown.
    pub record_failures: IntCounter,
    /// 1 while the journal takes records.
    pub journal_healthy: IntGauge,
    /// Exchanges whose outcome was closed as unknown.
    pub unknown_outcomes: IntCounter,
    /// Bytes free on the journal's disk, at the last commit.
    pub journal_free_bytes: IntGauge,
    /// Records in sealed segments.
    pub sealed_records: IntGauge,
    /// Records that no segment has yet.
    pub unsealed_records: IntGauge,
    /// Records that were pruned by policy.
    pub pruned_records: IntCounter,
    /// Segments that would be pruned but for a hold.
    pub held_segments: IntGauge,
    /// Prunings that failed.
    pub prune_failures: IntCounter,
    /// Attempts to seal a segment that failed.
    pub seal_failures: IntCounter,
    /// Records under the newest checkpoint.
    pub checkpoint_size: IntGauge,
    /// When the newest checkpoint was signed, in seconds since 1970.
    pub checkpoint_time: IntGauge,
    /// Durable records that no checkpoint covers yet, at the last look.
    pub checkpoint_behind_records: IntGauge,
    /// Checkpoints that could not be made (`tree`), or not be brought to a place, by place.
    pub checkpoint_failures: IntCounterVec,
}

/// Makes families and registers them.
#[derive(Clone, Copy)]
pub struct Families<'a>(
    /// Where.
    pub &'a Registry,
);

#[expect(
    clippy::missing_errors_doc,
    reason = "each fails when the registry has a family of the same name"
)]
impl Families<'_> {
    fn registered<F: prometheus::core::Collector + Clone + 'static>(
        self,
        family: F,
    ) -> Result<F, prometheus::Error> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// Counters by labels.
    pub fn counter(
        self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// One counter.
    pub fn single(self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    /// One number of what there is now.
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }

    /// Numbers of what there is now, by labels.
    pub fn gauges(
        self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A distribution.
    pub fn histogram(
        self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        self.registered(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        )?)
    }

    /// Distributions by labels.
    pub fn histograms(
        self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.registered(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )?)
    }
}

/// Seconds of a commit.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When the registry has a family of the same name.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of = Families(registry);
        let metrics = Self {
            commit_seconds: of.histogram(
                "journal_commit_seconds",
                "Seconds of one durable commit of the journal.",
                SECONDS,
            )?,
            commit_records: of.histogram(
                "journal_commit_records",
                "Records in one durable commit.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
            )?,
            records: of.counter(
                "journal_records_total",
                "Records made durable, by kind.",
                &["kind"],
            )?,
            record_failures: of
                .single("journal_failures_total", "Records that could not be made durable.")?,
            journal_healthy: of
                .gauge("journal_healthy", "1 while the journal takes records, else 0.")?,
            unknown_outcomes: of.single(
                "unknown_outcomes_total",
                "Exchanges whose outcome was closed as unknown.",
            )?,
            journal_free_bytes: of.gauge(
                "journal_free_bytes",
                "Bytes free on the journal's disk at the last commit.",
            )?,
            sealed_records: of
                .gauge("sealed_records", "Records of the trail in sealed segments.")?,
            unsealed_records: of
                .gauge("unsealed_records", "Records of the trail that no segment has yet.")?,
            pruned_records: of.single(
                "pruned_records_total",
                "Records of the trail that were pruned by policy.",
            )?,
            held_segments: of.gauge(
                "held_segments",
                "Segments of the trail that a hold keeps beyond the policy.",
            )?,
            prune_failures: of.single(
                "prune_failures_total",
                "Prunings of the trail that failed, or that unreadable holds have put off.",
            )?,
            seal_failures: of.single(
                "seal_failures_total",
                "Attempts to seal a segment of the trail that failed.",
            )?,
            checkpoint_size: of.gauge("checkpoint_size", "Records under the newest checkpoint.")?,
            checkpoint_time: of.gauge(
                "checkpoint_timestamp_seconds",
                "When the newest checkpoint was signed, in seconds since 1970.",
            )?,
            checkpoint_behind_records: of.gauge(
                "checkpoint_behind_records",
                "Durable records that no checkpoint covers yet, at the last look.",
            )?,
            checkpoint_failures: of.counter(
                "checkpoint_failures_total",
                "Checkpoints that could not be made, or not be brought to a place, by place.",
                &["place"],
            )?,
        };
        for kind in ["forwarded", "refused", "answer", "event"] {
            metrics.records.with_label_values(&[kind]).inc_by(0);
        }
        Ok(metrics)
    }
}
