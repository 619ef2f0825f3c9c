//! Bounds of plain numbers: one with which no gateway could start, or none take a call, is a
//! mistake.

use super::form::Form;
use super::wrong;
use keyward_core::written::Written;

/// More threads than any machine has use for; the system may refuse to make more.
const THREADS_MAX: u64 = 1024;

/// Longer than any manager waits for an end.
const DRAIN_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Tells every key that is out of bounds, and what it takes.
pub(super) fn check(form: &Form, told: &mut Written<'_>) {
    let (limits, upstreams) = (&form.limits, &form.upstreams);
    let numbers = [
        ("gateway.threads", form.gateway.threads as u64, THREADS_MAX),
        ("audit.commit_deadline_ms", form.audit.commit_deadline_ms, u64::MAX),
        ("evidence.every_seconds", form.evidence.every_seconds, u64::MAX),
        ("retention.every_seconds", form.retention.every_seconds, u64::MAX),
        ("limits.body_bytes_max", limits.body_bytes_max as u64, u64::MAX),
        ("limits.body_seconds", limits.body_seconds, u64::MAX),
        ("limits.idle_seconds", limits.idle_seconds, u64::MAX),
        ("limits.head_seconds", limits.head_seconds, u64::MAX),
        ("limits.answer_seconds", limits.answer_seconds, u64::MAX),
        ("limits.connections_max", limits.connections_max as u64, u64::MAX),
        ("limits.connections_per_source_max", limits.connections_per_source_max as u64, u64::MAX),
        ("limits.buffered_bytes_max", limits.buffered_bytes_max as u64, u64::MAX),
        ("upstreams.connect_ms", upstreams.connect_ms, u64::MAX),
        ("upstreams.read_ms", upstreams.read_ms, u64::MAX),
        ("upstreams.write_ms", upstreams.write_ms, u64::MAX),
    ];
    let ends = [
        ("gateway.drain_delay_seconds", form.gateway.drain_delay_seconds),
        ("gateway.drain_seconds", form.gateway.drain_seconds),
    ];
    for (key, number, max) in numbers {
        match number {
            0 => wrong(
                told,
                key,
                "0 would let nothing through: leave it out for the default".to_owned(),
            ),
            _ if number > max => wrong(told, key, format!("{number} is too much: {max} at most")),
            _ => {}
        }
    }
    for (key, number) in ends.into_iter().filter(|(_, number)| *number > DRAIN_SECONDS_MAX) {
        wrong(told, key, format!("{number} is too much: {DRAIN_SECONDS_MAX} at most"));
    }
}
