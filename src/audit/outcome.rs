//! What became of a forwarded call. HTTP 200 is not success: the answer's body is read.

use crate::catalog::Target;
use crate::catalog::operation::OutcomeSpec;
use crate::catalog::source::{Source, select};
use serde_json::Value;

/// The outcome of a forwarded call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cloud did it.
    Succeeded,
    /// The cloud took it on and does it later.
    Accepted,
    /// Some of its items went well, some did not.
    PartlyFailed,
    /// The cloud refused it or could not do it; perhaps inside a 200.
    Failed,
    /// Nothing was sent: the upstream could not be reached.
    NotSent,
    /// It was sent, or may have been, and nobody knows what became of it.
    Unknown,
}

impl Outcome {
    /// As it stands in records and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Accepted => "accepted",
            Self::PartlyFailed => "partly-failed",
            Self::Failed => "failed",
            Self::NotSent => "not-sent",
            Self::Unknown => "unknown",
        }
    }
}

/// Reads the outcome of a whole answer, by its status and its body as JSON (when it is that).
pub fn read(target: &Target, status: u16, body: Option<&Value>) -> Outcome {
    if !(200..300).contains(&status) {
        return Outcome::Failed;
    }
    match (target, body) {
        (Target::Operation(operation, _), Some(body)) => by_body(&operation.outcome, body),
        _ if status == 202 => Outcome::Accepted,
        _ => Outcome::Succeeded,
    }
}

fn by_body(spec: &OutcomeSpec, body: &Value) -> Outcome {
    let values = |source: &Option<Source>| match source {
        Some(Source::Body(steps)) => select(body, steps).into_iter().filter(|v| !v.is_null() && *v != "").count(),
        _ => 0,
    };
    if let Some((Source::Body(steps), wanted)) = &spec.failed_if
        && select(body, steps).contains(&wanted)
    {
        return Outcome::Failed;
    }
    let (accepted, succeeded, failed) = (values(&spec.accepted), values(&spec.succeeded), values(&spec.failed));
    match (accepted + succeeded, failed) {
        (0, 0) | (_, 0) if accepted == 0 => Outcome::Succeeded,
        (_, 0) => Outcome::Accepted,
        (0, _) => Outcome::Failed,
        _ => Outcome::PartlyFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_success_status_is_not_success() {
        let spec = OutcomeSpec {
            accepted: Some("body.jobs[].job_id".parse().unwrap()),
            failed: Some("body.jobs[].error_code".parse().unwrap()),
            failed_if: Some(("body.success".parse().unwrap(), json!(false))),
            ..OutcomeSpec::default()
        };
        for (body, wanted) in [
            (json!({"jobs": [{"job_id": "1"}, {"job_id": "2"}]}), Outcome::Accepted),
            (json!({"jobs": [{"job_id": "1"}, {"error_code": "CPS.1"}]}), Outcome::PartlyFailed),
            (json!({"jobs": [{"error_code": "CPS.1"}]}), Outcome::Failed),
            (json!({"jobs": [{"job_id": "1", "error_code": ""}]}), Outcome::Accepted),
            (json!({"success": false}), Outcome::Failed),
            (json!({}), Outcome::Succeeded),
        ] {
            assert_eq!(by_body(&spec, &body), wanted, "{body}");
        }
        assert_eq!(by_body(&OutcomeSpec::default(), &json!({"x": 1})), Outcome::Succeeded);
    }
}
