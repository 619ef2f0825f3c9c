//! The trail's metrics. Who scrapes them is not known here.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

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
}

/// Seconds of a commit.
const SECONDS: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When the registry has a family of the same name.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let single = |name: &str, help: &str| {
            let family = IntCounter::new(name, help)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let gauge = |name: &str, help: &str| {
            let family = IntGauge::new(name, help)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let family = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let metrics = Self {
            commit_seconds: histogram("journal_commit_seconds", "Seconds of one durable commit of the journal.", SECONDS)?,
            commit_records: histogram(
                "journal_commit_records",
                "Records in one durable commit.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
            )?,
            records: counter("journal_records_total", "Records made durable, by kind.", &["kind"])?,
            record_failures: single("journal_failures_total", "Records that could not be made durable.")?,
            journal_healthy: gauge("journal_healthy", "1 while the journal takes records, else 0.")?,
            unknown_outcomes: single("unknown_outcomes_total", "Exchanges whose outcome was closed as unknown.")?,
            journal_free_bytes: gauge("journal_free_bytes", "Bytes free on the journal's disk at the last commit.")?,
            sealed_records: gauge("sealed_records", "Records of the trail in sealed segments.")?,
            unsealed_records: gauge("unsealed_records", "Records of the trail that no segment has yet.")?,
            pruned_records: single("pruned_records_total", "Records of the trail that were pruned by policy.")?,
            held_segments: gauge("held_segments", "Segments of the trail that a hold keeps beyond the policy.")?,
            prune_failures: single("prune_failures_total", "Prunings of the trail that failed, or that unreadable holds have put off.")?,
            seal_failures: single("seal_failures_total", "Attempts to seal a segment of the trail that failed.")?,
        };
        for kind in ["forwarded", "refused", "answer", "event"] {
            metrics.records.with_label_values(&[kind]).inc_by(0);
        }
        Ok(metrics)
    }
}
