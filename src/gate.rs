//! The gate: the one road that every call takes. Unknown operation, anonymous caller and unreadable
//! body are values that are denied with a reason and recorded like the rest; only the journal can
//! fail.

use crate::flood::Floods;
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::record::compose::{Answer, Composer, Judged, Timings};
use crate::record::redact::Shown;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use keyward_core::clock::{AuditId, Timestamp};
use keyward_core::reason::Reason;
use keyward_core::secret::DigestKey;
use keyward_decision::caller::Directory;
use keyward_decision::catalog::operation::ErrorShape;
use keyward_decision::catalog::{Catalog, Target};
use keyward_decision::inspect;
use keyward_decision::policy::{Bundle, Decision, Question, Verdict};
use keyward_decision::request::{BodyFault, BodySource, RequestHead};
use keyward_record::call::Outcome;
use keyward_record::unknown_outcome;
use keyward_trail::journal::{Journal, JournalError, Receipt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the gate works with.
pub struct Gate {
    /// What is known of the clouds.
    pub catalog: Arc<Catalog>,
    /// Who is known and what is allowed; swapped whole.
    pub rules: ArcSwap<RuleSet>,
    /// The key of keyed digests.
    pub key: DigestKey,
    /// Where records become durable.
    pub journal: Arc<Journal>,
    /// What composes records.
    pub composer: Composer,
    /// What counts.
    pub metrics: Arc<Metrics>,
    /// Bodies longer than this are refused, in bytes.
    pub body_bytes_max: usize,
    /// How often callers may ask.
    pub rates: Rates,
    /// Which refusals are counted instead of recorded one by one.
    pub floods: Floods,
}

/// The callers and the policies in force. One call is judged by one of these from its beginning to
/// its end.
pub struct RuleSet {
    /// Who is known.
    pub directory: Directory,
    /// What is allowed.
    pub policies: Bundle,
}

/// A refused call: what the caller is told.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The exchange.
    pub id: AuditId,
    /// Why.
    pub reason: Reason,
    /// In the policies' words.
    pub message: String,
    /// How the called service words its errors, if the call names a service.
    pub errors: Option<ErrorShape>,
    /// False when bytes of the request may still be on the wire.
    pub read_whole: bool,
    /// When asking again may help.
    pub retry_after: Option<Duration>,
}

/// Leave to forward one call, once. Only the gate makes one, and only from a receipt of the
/// journal: whoever holds a permit knows that the call's record is on disk. Dropped without
/// [`Permit::close`], it records that the outcome is unknown.
pub struct Permit {
    /// Held as the proof that it is.
    _receipt: Receipt,
    gate: Arc<Gate>,
    id: AuditId,
    target: Target,
    body: Bytes,
    shown: Shown,
    open: bool,
}

impl Gate {
    /// Judges one call: the request's whole road.
    ///
    /// # Errors
    /// The refusal, which is on record unless its reason is `journal-unavailable`: alone, or
    /// counted in a flood of equal ones.
    pub async fn admit(
        self: &Arc<Self>,
        head: RequestHead,
        body: &mut impl BodySource,
    ) -> Result<Permit, Refusal> {
        let mut stages = Stages::start(&self.metrics);
        let rules = self.rules.load_full();
        let target = self.catalog.target(&head);
        let caller = rules.directory.identify(&head, &self.key, &self.catalog, &target);
        let exceeded = self.rates.count(&caller, head.client.ip()).err();
        let retry_after = exceeded.map(|exceeded| exceeded.wait);
        body.attribute_to(caller.name());
        stages.end("head");
        let (inspected, facts) = match exceeded.filter(|_| head.fault.is_none()) {
            Some(exceeded) => inspect::unread(Reason::RateLimited, exceeded.detail()),
            None => inspect::read(&target, &head, body, self.body_bytes_max).await,
        };
        let (read_whole, source, now) = (inspected.read_whole, head.client.ip(), Timestamp::now());
        stages.end("body");
        let question = Question { target, caller, facts, source, now };
        let decision = rules.policies.decide(&question);
        stages.end("decide");
        if let Some(id) = self.floods.count(&question, &decision, || self.journal.health().is_ok())
        {
            self.count(&question, &decision);
            return Err(self.refused(id, &question, decision, read_whole, retry_after));
        }
        let judged =
            Judged { head: &head, inspected: &inspected, question: &question, decision: &decision };
        let (record, shown) = self.composer.request(judged, &stages.timings);
        // A crash before this line leaves nothing, and nothing was sent. A crash behind it leaves a
        // request without an outcome: the next start closes it as unknown.
        let appended = self.journal.append(record).await;
        let receipt = appended.map_err(|e| self.unrecorded(&head, &question, read_whole, &e))?;
        stages.end("record");
        self.count(&question, &decision);
        match decision.verdict {
            Verdict::Allow => Ok(Permit {
                _receipt: receipt,
                gate: Arc::clone(self),
                id: head.id,
                target: question.target,
                body: inspected.body,
                shown,
                open: true,
            }),
            Verdict::Deny => {
                Err(self.refused(head.id, &question, decision, read_whole, retry_after))
            }
        }
    }

    /// What the caller of a denied call is told.
    fn refused(
        &self,
        id: AuditId,
        question: &Question,
        decision: Decision,
        read_whole: bool,
        retry_after: Option<Duration>,
    ) -> Refusal {
        let errors = self.error_shape(&question.target);
        let Decision { reason, message, .. } = decision;
        Refusal { id, reason, message, errors, read_whole, retry_after }
    }

    /// Records a request that never became a call, because its head could not be read whole or at
    /// all.
    pub async fn turn_away(self: &Arc<Self>, head: RequestHead) -> Refusal {
        let (id, fault) = (head.id, head.fault.clone());
        match self.admit(head, &mut Nothing).await {
            Err(refusal) => refusal,
            // A head with a fault is never admitted; a permit that is dropped is on record as one.
            Ok(_) => {
                let reason = fault.map_or(Reason::HeadUnreadable, |fault| fault.reason);
                Refusal {
                    id,
                    reason,
                    message: String::new(),
                    errors: None,
                    read_whole: false,
                    retry_after: None,
                }
            }
        }
    }

    /// No record, no call.
    fn unrecorded(
        &self,
        head: &RequestHead,
        question: &Question,
        read_whole: bool,
        error: &JournalError,
    ) -> Refusal {
        tracing::error!(id = %head.id, %error, "the call is refused because its record could not be made durable");
        let reason = Reason::JournalUnavailable;
        self.metrics
            .requests
            .with_label_values(&[
                question.target.service(),
                question.target.action(),
                "deny",
                reason.code(),
            ])
            .inc();
        self.metrics.refusals.with_label_values(&[reason.code()]).inc();
        Refusal {
            id: head.id,
            reason,
            message:
                "the audit record could not be written, so nothing was forwarded; try again later"
                    .to_owned(),
            errors: self.error_shape(&question.target),
            read_whole,
            retry_after: None,
        }
    }

    fn error_shape(&self, target: &Target) -> Option<ErrorShape> {
        self.catalog.service(target.service()).map(|service| service.errors)
    }

    fn count(&self, question: &Question, decision: &Decision) {
        let verdict = if decision.verdict == Verdict::Allow { "allow" } else { "deny" };
        let labels =
            [question.target.service(), question.target.action(), verdict, decision.reason.code()];
        self.metrics.requests.with_label_values(&labels).inc();
        if decision.verdict == Verdict::Deny {
            self.metrics.refusals.with_label_values(&[decision.reason.code()]).inc();
        }
        for shadow in &decision.shadow {
            self.metrics.would_deny.with_label_values(&[shadow.policy.as_str()]).inc();
        }
        for failed in &decision.shadow_errors {
            self.metrics.shadow_errors.with_label_values(&[failed.policy.as_str()]).inc();
        }
    }
}

impl Permit {
    /// The exact bytes to send.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The exchange.
    pub fn id(&self) -> AuditId {
        self.id
    }

    /// What the call means.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How the called service words its errors.
    pub fn errors(&self) -> Option<ErrorShape> {
        self.gate.error_shape(&self.target)
    }

    /// Records what became of the call. The caller may have the end of the answer only after this
    /// has returned.
    ///
    /// # Errors
    /// When the record could not be made durable: the end of the answer must be withheld.
    pub async fn close(mut self, answer: Answer) -> Result<Outcome, JournalError> {
        self.open = false;
        let gate = Arc::clone(&self.gate);
        let started = Instant::now();
        if let Some(micros) = answer.timings.get("upstream") {
            gate.metrics
                .stage_seconds
                .with_label_values(&["upstream"])
                .observe(Duration::from_micros(*micros).as_secs_f64());
        }
        let (record, outcome) =
            gate.composer.answer(self.id, &self.target, &mut self.shown, answer);
        gate.journal.append(record).await?;
        gate.metrics
            .stage_seconds
            .with_label_values(&["answer_record"])
            .observe(started.elapsed().as_secs_f64());
        gate.metrics
            .outcomes
            .with_label_values(&[self.target.service(), self.target.action(), outcome.code()])
            .inc();
        if outcome == Outcome::Unknown {
            gate.metrics.trail.unknown_outcomes.inc();
        }
        Ok(outcome)
    }
}

impl Drop for Permit {
    /// The exchange was dropped under way: a panic in a hook, or the runtime's end. Never blocks.
    fn drop(&mut self) {
        if self.open {
            self.gate.metrics.trail.unknown_outcomes.inc();
            self.gate.journal.append_detached(unknown_outcome(
                self.id,
                "the exchange broke off inside the gateway after its request was recorded",
            ));
        }
    }
}

/// The body of a request whose head is not whole.
struct Nothing;

#[async_trait]
impl BodySource for Nothing {
    async fn read(&mut self, _limit_bytes: usize) -> Result<Bytes, BodyFault> {
        Err(BodyFault::Cut("there is no whole head".to_owned()))
    }
}

/// Stages of one call, timed one behind the other.
struct Stages<'a> {
    metrics: &'a Metrics,
    since: Instant,
    timings: Timings,
}

impl<'a> Stages<'a> {
    fn start(metrics: &'a Metrics) -> Self {
        Self { metrics, since: Instant::now(), timings: Timings::new() }
    }

    fn end(&mut self, stage: &'static str) {
        let elapsed = self.since.elapsed();
        self.since = Instant::now();
        self.metrics.stage_seconds.with_label_values(&[stage]).observe(elapsed.as_secs_f64());
        self.timings.insert(stage, u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::redact::Redactor;
    use http::{HeaderMap, Method};
    use keyward_record::Kind;
    use keyward_trail::journal::Settings;
    use keyward_trail::store::Store;
    use keyward_trail::wal::SledStore;
    use std::path::Path;

    const DOCUMENT: &str = r"
openapi: 3.1.0
info: {title: Test, version: '1'}
x-keyward-service: test.svc
x-keyward-error-shape: flat
servers: [{url: 'https://svc.test'}]
paths:
  /things/{name}:
    delete:
      operationId: DropThing
      x-keyward-groups: [write]
      x-keyward-resource: {type: Thing, id: path.name}
      parameters: [{name: name, in: path, required: true, schema: {type: string, x-keyward-free-name: true}}]
      responses: {'200': {description: ok}}
";

    const POLICIES: &str =
        r#"@id("all") @owner("tests") @message("All may.") permit (principal, action, resource);"#;

    struct NoBody;

    #[async_trait]
    impl BodySource for NoBody {
        async fn read(&mut self, _limit_bytes: usize) -> Result<Bytes, BodyFault> {
            Ok(Bytes::new())
        }
    }

    fn gate(dir: &Path) -> Arc<Gate> {
        let catalog = Catalog::from_texts(&[("svc.yaml".to_owned(), DOCUMENT.to_owned())]).unwrap();
        let directory = Directory::of_groups(&[]);
        let policies = Bundle::from_texts(
            &[("x.cedar".to_owned(), POLICIES.to_owned())],
            None,
            &catalog,
            &directory,
        )
        .unwrap();
        let (metrics, key) = (Arc::new(Metrics::new().unwrap()), DigestKey::new([1; 32]));
        let settings = Settings { free_bytes_min: 1, ..Settings::new(dir) };
        let bounds = crate::flood::Bounds { equal: None, all: None };
        Arc::new(Gate {
            composer: Composer {
                redactor: Redactor::new(key.clone()).unwrap(),
                body_bytes_max: 1000,
                catalog: catalog.digest.clone(),
            },
            catalog: Arc::new(catalog),
            rules: ArcSwap::from_pointee(RuleSet { directory, policies }),
            key,
            journal: Arc::new(Journal::open(settings, Arc::clone(&metrics.trail)).unwrap().0),
            floods: Floods::new(bounds, Arc::clone(&metrics)),
            metrics,
            body_bytes_max: 1000,
            rates: Rates::new(crate::rate::Bounds { caller: None, source: None }),
        })
    }

    async fn admit(gate: &Arc<Gate>) -> Permit {
        let head = RequestHead {
            id: AuditId::new(),
            ..RequestHead::plain(Method::DELETE, "/things/a", "svc.test", HeaderMap::new())
        };
        gate.admit(head, &mut NoBody).await.map_err(|refusal| refusal.message).unwrap()
    }

    /// The kinds of all records, and the text of the last.
    fn trail(dir: &Path) -> (Vec<Kind>, String) {
        let (store, _) = SledStore::open(dir).unwrap();
        let entries: Vec<_> =
            store.oldest_first(0).flat_map(|frame| frame.unwrap().entries).collect();
        (
            entries.iter().map(|entry| entry.kind).collect(),
            String::from_utf8(entries.last().unwrap().leaf.to_vec()).unwrap(),
        )
    }

    /// What a panic in a hook comes to: the exchange is dropped with its permit open.
    #[tokio::test]
    async fn a_permit_that_is_dropped_records_that_nobody_knows() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path());
        let held = Arc::clone(&gate);
        let hook = tokio::spawn(async move {
            let _permit = admit(&held).await;
            panic!("in a hook");
        });
        assert!(hook.await.unwrap_err().is_panic());
        assert_eq!(gate.metrics.trail.unknown_outcomes.get(), 1);
        gate.journal.close().unwrap();
        drop(gate);
        let (kinds, last) = trail(dir.path());
        assert_eq!(kinds, [Kind::Forwarded, Kind::Answer]);
        assert!(
            last.contains(r#""outcome":"unknown""#)
                && last.contains("broke off inside the gateway"),
            "{last}"
        );
    }

    #[tokio::test]
    async fn a_permit_is_closed_once_even_if_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path());
        let permit = admit(&gate).await;
        let answer = Answer { status: Some(200), whole: true, sent: true, ..Answer::default() };
        // Polled once, then dropped: the record is on its way, and the drop adds no second one.
        let closing = tokio::time::timeout(std::time::Duration::ZERO, permit.close(answer)).await;
        drop(closing);
        gate.journal.close().unwrap();
        drop(gate);
        let (kinds, last) = trail(dir.path());
        assert_eq!(kinds, [Kind::Forwarded, Kind::Answer]);
        assert!(last.contains(r#""outcome":"succeeded""#), "{last}");
    }
}
