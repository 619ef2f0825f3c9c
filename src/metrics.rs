//! All metric families in one struct. Who updates them is not known here.

use keyward_core::reason::Reason;
use keyward_trail::metrics::Families;
use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};
use std::sync::Arc;

/// A number of what there is now.
pub use prometheus::IntGauge as Gauge;

/// The stages of an exchange. `upstream` is from the permit to the end of the cloud's answer,
/// `total` all of it.
pub const STAGES: [&str; 7] =
    ["head", "body", "decide", "record", "upstream", "answer_record", "total"];

/// The gateway's metrics, prefix `keyward_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Decisions by service, action, verdict and reason.
    pub requests: IntCounterVec,
    /// Outcomes of forwarded calls by service, action and outcome.
    pub outcomes: IntCounterVec,
    /// Seconds in each stage: [`STAGES`].
    pub stage_seconds: HistogramVec,
    /// Refusals by reason code: the class of what was refused.
    pub refusals: IntCounterVec,
    /// Refusals that are on record by their number alone, by reason code.
    pub refusals_counted: IntCounterVec,
    /// Health checks that were answered on the ports of calls.
    pub health_checks: IntCounter,
    /// Shadow policies that would have denied, by policy id.
    pub would_deny: IntCounterVec,
    /// Shadow policies that could not be evaluated, by policy id.
    pub shadow_errors: IntCounterVec,
    /// Policies in force, by mode: `enforce`, `shadow`.
    pub policies: IntGaugeVec,
    /// Policies that reloads have brought, taken and changed: `came`, `went`, `changed`.
    pub policy_changes: IntCounterVec,
    /// Exchanges that are open now.
    pub open_exchanges: IntGauge,
    /// Connections that clients have open now.
    pub connections_open: IntGauge,
    /// Connections that auditors and Prometheus have open now.
    pub admin_connections_open: IntGauge,
    /// Connections and HTTP/2 streams that came to nothing, by class.
    pub turned_away: IntCounterVec,
    /// Bytes of bodies held in memory now.
    pub buffered_bytes: IntGauge,
    /// Upstream errors by service and class: `connect`, `tls`, `timeout`, `cut`, `other`.
    pub upstream_errors: IntCounterVec,
    /// Clients that left before their answer was whole.
    pub client_gone: IntCounter,
    /// Records under the newest checkpoint that a place has, by place.
    pub checkpoint_place_size: IntGaugeVec,
    /// Seconds for which a place has not had the newest checkpoint, by place; 0 when it has.
    pub checkpoint_place_behind_seconds: IntGaugeVec,
    /// Lines of the log that could not be written.
    pub log_lines_lost: IntCounter,
    /// Those of the trail.
    pub trail: Arc<keyward_trail::metrics::Metrics>,
    /// 1 for the bundle in force, by its hash.
    pub bundle: IntGaugeVec,
    /// Durable records that the receiver of a push has not confirmed yet, by push.
    pub push_lag: IntGaugeVec,
    /// Lines confirmed by their receiver, by push.
    pub push_lines: IntCounterVec,
    /// Tries that were not confirmed, by push.
    pub push_failures: IntCounterVec,
    /// When a batch was last confirmed, in seconds since 1970, by push.
    pub push_success: IntGaugeVec,
}

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When two families have one name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("keyward".to_owned()), None)?;
        let of = Families(&registry);
        let metrics = Self {
            requests: of.counter("requests_total", "Calls judged, by service, action, verdict and reason.", &["service", "action", "decision", "reason"])?,
            outcomes: of.counter("outcomes_total", "Outcomes of forwarded calls, by service, action and outcome.", &["service", "action", "outcome"])?,
            refusals: of.counter("refusals_total", "Calls refused, by reason code.", &["reason"])?,
            refusals_counted: of.counter(
                "refusals_counted_total",
                "Refusals that are counted together in one record a minute, by reason code.",
                &["reason"],
            )?,
            health_checks: of.single("health_checks_total", "Health checks that were answered on the ports of calls.")?,
            would_deny: of.counter("shadow_would_deny_total", "Calls that a shadow policy would have denied, by policy.", &["policy"])?,
            shadow_errors: of.counter("shadow_errors_total", "Calls for which a shadow policy could not be evaluated, by policy.", &["policy"])?,
            policies: of.gauges("policies", "Policies in force, by mode.", &["mode"])?,
            policy_changes: of.counter("policy_changes_total", "Policies that reloads have brought, taken and changed.", &["change"])?,
            open_exchanges: of.gauge("open_exchanges", "Exchanges that are open now.")?,
            connections_open: of.gauge("connections_open", "Connections that clients have open now.")?,
            admin_connections_open: of.gauge("admin_connections_open", "Connections to the admin listener that are open now.")?,
            turned_away: of.counter("turned_away_total", "Connections and HTTP/2 streams that came to nothing, by class.", &["class"])?,
            buffered_bytes: of.gauge("buffered_bytes", "Bytes that calls, their bodies and their answers hold of limits.buffered_bytes_max now.")?,
            upstream_errors: of.counter("upstream_errors_total", "Errors of upstreams, by service and class.", &["service", "class"])?,
            client_gone: of.single("client_gone_total", "Clients that left before their answer was whole.")?,
            checkpoint_place_size: of.gauges("checkpoint_place_size", "Records under the newest checkpoint that a place off the host has.", &["place"])?,
            checkpoint_place_behind_seconds: of.gauges(
                "checkpoint_place_behind_seconds",
                "Seconds for which a place off the host has not had the newest checkpoint; 0 when it has.",
                &["place"],
            )?,
            log_lines_lost: of.single("log_lines_lost_total", "Lines of the log that were not taken in time, or could not be written.")?,
            trail: Arc::new(keyward_trail::metrics::Metrics::register(&registry)?),
            stage_seconds: of.histograms("stage_seconds", "Seconds spent in each stage of an exchange.", &[SECONDS, WAITS].concat(), &["stage"])?,
            bundle: of.gauges("bundle_info", "The policy bundle in force, by its hash; always 1.", &["hash"])?,
            push_lag: of.gauges("push_lag_records", "Durable records that the receiver of a push has not confirmed yet, by push.", &["push"])?,
            push_lines: of.counter("push_lines_total", "Lines confirmed by their receiver, by push.", &["push"])?,
            push_failures: of.counter("push_failures_total", "Tries that were not confirmed, by push.", &["push"])?,
            push_success: of.gauges("push_last_success_timestamp_seconds", "When a batch was last confirmed, by push.", &["push"])?,
            registry: registry.clone(),
        };
        for reason in Reason::ALL.iter().filter(|reason| reason.status() >= 400) {
            metrics.refusals.with_label_values(&[reason.code()]).inc_by(0);
        }
        for stage in STAGES {
            metrics.stage_seconds.with_label_values(&[stage]);
        }
        #[cfg(target_os = "linux")]
        prometheus::register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .ok();
        Ok(metrics)
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(prometheus::gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Behind [`SECONDS`]: as long as a cloud, or a client, may take at all.
const WAITS: &[f64] = &[20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_registers_and_renders() {
        let metrics = Metrics::new().unwrap();
        metrics
            .requests
            .with_label_values(&[
                "huawei.ims",
                "huawei.ims.CopyImageInRegion",
                "allow",
                "permitted",
            ])
            .inc();
        let text = metrics.render().unwrap();
        assert!(
            text.contains("keyward_requests_total{action=\"huawei.ims.CopyImageInRegion\",decision=\"allow\",reason=\"permitted\",service=\"huawei.ims\"} 1"),
            "{text}"
        );
        assert!(text.contains("keyward_journal_healthy 0"));
    }
}
