//! Question in, decision out. Whatever is not clearly permitted is denied, with its reason.
//!
//! Cedar skips a policy that it cannot evaluate, so that a failing `forbid` would let the call
//! through. Here any evaluation error denies, whatever Cedar decided, and so does everything that
//! does not fit the schema.

use super::bundle::{Action, Bundle};
use super::decision::{Deciding, Decision, Effect, Failed, Verdict};
use super::question::Question;
use super::schema::{ANONYMOUS, SERVICE};
use super::types::{self, Type};
use crate::caller::{Caller, CallerKind};
use crate::catalog::Target;
use crate::catalog::operation::{Operation, Passthrough};
use crate::inspect::facts::{CallFacts, Facts, Item, Resource};
use cedar_policy::{
    AuthorizationError, Context, Entities, Entity, EntityId, EntityUid, PolicyId, PolicySet,
    Request, Response, RestrictedExpression,
};
use keyward_core::error_chain::error_chain;
use keyward_core::reason::Reason;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Items whose decision is explained: the first ones show what is wrong with a batch.
const EXPLAINED_ITEMS_MAX: usize = 16;

/// What was found for one call, item by item.
#[derive(Default)]
struct Findings {
    deciding: Vec<Deciding>,
    shadow: Vec<Deciding>,
    errors: Vec<String>,
    shadow_errors: Vec<Failed>,
    /// What the caller is told of the errors.
    told: Vec<String>,
    explanation: Vec<String>,
    /// How many items Cedar allowed without an error.
    allowed: usize,
    /// How many it denied.
    denied: usize,
    /// Items that nothing permits.
    unpermitted: Vec<usize>,
}

impl Findings {
    fn misfit(&mut self, why: &str) {
        let message = format!("The call does not fit the policies' schema: {why}.");
        self.errors.push(message.clone());
        self.told.push(message);
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Asking<'a> {
    /// The action's id.
    action: &'a str,
    service: &'a str,
    /// Whether it acts on something else than the service.
    acts: bool,
    /// The type of what holds that, if something does.
    holder: Option<&'a str>,
}

impl<'a> Asking<'a> {
    fn operation(of: &'a Operation) -> Self {
        let holder = of
            .resource
            .as_ref()
            .and_then(|resource| resource.parent.as_ref())
            .map(|(kind, _)| kind.as_str());
        Self { action: &of.action, service: &of.service, acts: of.resource.is_some(), holder }
    }

    fn passing(of: &'a Passthrough) -> Self {
        Self { action: &of.action, service: &of.service, acts: false, holder: None }
    }
}

/// One item as Cedar sees it.
pub(super) struct Asked {
    request: Request,
    entities: Entities,
}

impl Bundle {
    /// Decides one call. All its items must be allowed.
    pub fn decide(&self, question: &Question) -> Decision {
        // A panic in the evaluator must end one call and not the gateway, and must not let that
        // call through.
        unless_panic(|| self.judge(question)).unwrap_or_else(|| {
            self.deny(Reason::PolicyError, "the policies could not be evaluated")
        })
    }

    fn judge(&self, question: &Question) -> Decision {
        // What cannot be read comes first: an ambiguous path is more to the point than that it
        // matches nothing.
        let facts = match &question.facts {
            Ok(facts) => facts,
            Err(unreadable) => return self.deny(unreadable.reason, &unreadable.detail),
        };
        match &question.target {
            Target::Operation(operation, _) => {
                self.judge_call(question, Asking::operation(operation), facts)
            }
            Target::Passthrough(passing) => self.judge_passing(question, passing, facts),
            Target::Unknown(unknown) => self.deny(unknown.reason, unknown.reason.meaning()),
        }
    }

    /// What passes is not read, so somebody known must answer for it, whatever the policies say.
    fn judge_passing(
        &self,
        question: &Question,
        passing: &Passthrough,
        facts: &CallFacts,
    ) -> Decision {
        if question.caller.identity.is_none() {
            let (reason, message) = not_permitted(&question.caller, &passing.action);
            return self.deny(reason, &message);
        }
        let decision = self.judge_call(question, Asking::passing(passing), facts);
        match decision.verdict {
            Verdict::Allow => {
                Decision { reason: Reason::Passthrough, message: passing.why.clone(), ..decision }
            }
            Verdict::Deny => decision,
        }
    }

    fn judge_call(&self, question: &Question, asking: Asking, facts: &CallFacts) -> Decision {
        let Some(action) = self.actions.get(asking.action) else {
            return self.deny(
                Reason::PolicyError,
                &format!("the policies were loaded without `{}`", asking.action),
            );
        };
        let nothing = [Item::default()];
        let items =
            if !asking.acts && facts.items.is_empty() { &nothing } else { facts.items.as_slice() };
        // All of no items would be allowed.
        if items.is_empty() {
            return self.deny(Reason::PolicyError, "the call names nothing that it acts on");
        }
        let mut findings = Findings::default();
        match self.shared_context(question, action, facts, items.len()) {
            Ok(shared) => {
                for (index, item) in items.iter().enumerate() {
                    match self.ask(question, asking, action, facts, item, &shared) {
                        Ok(asked) => self.evaluate(action, &asked, index, &mut findings),
                        Err(why) => findings.misfit(&format!("item {index}: {why}")),
                    }
                }
            }
            Err(why) => findings.misfit(&why),
        }
        self.conclude(question, asking, items.len(), findings)
    }

    /// The sections of the context that all items share.
    fn shared_context(
        &self,
        question: &Question,
        action: &Action,
        facts: &CallFacts,
        items: usize,
    ) -> Result<Context, String> {
        let assurance = self.types.get("Assurance").ok_or("no type `Assurance`")?;
        let caller = [
            ("source", RestrictedExpression::new_ip(question.source.to_canonical().to_string())),
            ("now", types::datetime(question.now)),
            ("assurance", types::entity(assurance, question.caller.assurance.code())),
        ];
        let caller = types::record(caller.map(|(name, value)| (name.to_owned(), value)), "caller")?;
        let items =
            RestrictedExpression::new_long(i64::try_from(items).map_err(|e| e.to_string())?);
        let batch = types::record([("items".to_owned(), items)], "batch")?;
        let pairs = [
            ("caller".to_owned(), caller),
            ("batch".to_owned(), batch),
            section(action, "path", &facts.path)?,
            section(action, "query", &facts.query)?,
            section(action, "body", &facts.body)?,
        ];
        Context::from_pairs(pairs).map_err(|e| e.to_string())
    }

    fn ask(
        &self,
        question: &Question,
        asking: Asking,
        action: &Action,
        facts: &CallFacts,
        item: &Item,
        shared: &Context,
    ) -> Result<Asked, String> {
        let matches = self.patterns.matches(&action.bound, facts, item);
        let matches = matches
            .into_iter()
            .map(|(name, matched)| (name.to_owned(), RestrictedExpression::new_bool(matched)));
        let own = [
            section(action, "item", &item.fields)?,
            ("match".to_owned(), types::record(matches, "match")?),
        ];
        let own = Context::from_pairs(own).map_err(|e| e.to_string())?;
        let context = shared.clone().merge(own).map_err(|e| e.to_string())?;

        let (principal, groups) = self.principal(&question.caller)?;
        let (resource, holder) = match (&item.resource, asking.acts) {
            (Some(resource), true) => self.resource(resource, asking.holder)?,
            (None, false) => (self.uid(SERVICE, asking.service)?, None),
            (None, true) => return Err("it names nothing that it acts on".to_owned()),
            (Some(_), false) => {
                return Err(format!("it acts on something, but `{}` on nothing", asking.action));
            }
        };
        if resource.type_name().basename() != action.resource {
            return Err(format!(
                "it acts on {resource}, but `{}` on {}",
                asking.action, action.resource
            ));
        }
        let request = Request::new(
            principal.clone(),
            action.uid.clone(),
            resource.clone(),
            context,
            Some(&self.schema),
        );
        let request = request.map_err(|e| error_chain(&e))?;
        let mut entities = vec![
            Entity::new_no_attrs(principal, groups),
            Entity::new_no_attrs(resource, holder.iter().cloned().collect()),
        ];
        entities.extend(holder.map(Entity::with_uid));
        // INVARIANT: always with the schema, and on top of the action's own entities: see
        // `Action::entities`.
        let entities = action
            .entities
            .clone()
            .add_entities(entities, Some(&self.schema))
            .map_err(|e| error_chain(&e))?;
        Ok(Asked { request, entities })
    }

    fn principal(&self, caller: &Caller) -> Result<(EntityUid, HashSet<EntityUid>), String> {
        let Some(identity) = &caller.identity else {
            return Ok((self.uid("Anonymous", ANONYMOUS)?, HashSet::new()));
        };
        let kind = match identity.kind {
            CallerKind::User => "User",
            CallerKind::Robot => "Robot",
        };
        let groups = identity
            .groups
            .iter()
            .map(|group| self.uid("Group", group))
            .collect::<Result<_, _>>()?;
        Ok((self.uid(kind, &identity.name)?, groups))
    }

    /// What is acted on, and what holds it. A call that does not say what holds it acts on what the
    /// nameless one holds, so that a rule can ask for it: no rule over a named one covers the
    /// call.
    fn resource(
        &self,
        resource: &Resource,
        holder: Option<&str>,
    ) -> Result<(EntityUid, Option<EntityUid>), String> {
        let named = resource.parent.as_ref().map(|(kind, id)| (kind.as_str(), id.as_str()));
        let holder = named
            .or(holder.map(|kind| (kind, "")))
            .map(|(kind, id)| self.uid(kind, id))
            .transpose()?;
        Ok((self.uid(&resource.kind, &resource.id)?, holder))
    }

    fn uid(&self, kind: &str, id: &str) -> Result<EntityUid, String> {
        let name = self.types.get(kind).ok_or_else(|| format!("there is no type `{kind}`"))?;
        Ok(EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id)))
    }

    fn evaluate(&self, action: &Action, asked: &Asked, item: usize, findings: &mut Findings) {
        let answer = self.respond(&action.enforced, asked);
        for error in answer.diagnostics().errors() {
            let AuthorizationError::PolicyEvaluationError(inner) = error;
            findings.errors.push(format!("item {item}: {error}"));
            findings
                .told
                .push(format!("The policy could not be evaluated. [{}]", inner.policy_id()));
        }
        let deciding: Vec<Deciding> = self.deciding(&answer, item).collect();
        // Not Cedar's word alone: it decides as if a policy that failed were not there.
        let failed = answer.diagnostics().errors().next().is_some();
        let denied = answer.decision() == cedar_policy::Decision::Deny;
        findings.denied += usize::from(denied);
        if denied && findings.denied <= EXPLAINED_ITEMS_MAX {
            findings.explanation.extend(self.explain(action, asked, &deciding, item));
        }
        if denied && deciding.is_empty() {
            findings.unpermitted.push(item);
        }
        findings.allowed += usize::from(!denied && !failed);
        findings.deciding.extend(deciding);
        if !action.shadow.is_empty() {
            let answer = self.respond(&action.shadow, asked);
            findings.shadow.extend(self.deciding(&answer, item));
            for error in answer.diagnostics().errors() {
                let AuthorizationError::PolicyEvaluationError(inner) = error;
                findings.shadow_errors.push(Failed {
                    policy: inner.policy_id().to_string(),
                    error: format!("item {item}: {error}"),
                });
            }
        }
    }

    pub(super) fn respond(&self, policies: &PolicySet, asked: &Asked) -> Response {
        self.authorizer.is_authorized(&asked.request, policies, &asked.entities)
    }

    fn deciding<'a>(
        &'a self,
        answer: &'a Response,
        item: usize,
    ) -> impl Iterator<Item = Deciding> + 'a {
        let mut ids: Vec<&PolicyId> = answer.diagnostics().reason().collect();
        ids.sort();
        ids.into_iter().filter_map(|id| self.rules.get(id)).map(move |rule| {
            let listing = &rule.listing;
            Deciding {
                policy: listing.id.clone(),
                message: listing.message.clone(),
                effect: listing.effect,
                item,
            }
        })
    }

    /// The deciding forbids' clauses, or the permit that came nearest.
    fn explain(
        &self,
        action: &Action,
        asked: &Asked,
        deciding: &[Deciding],
        item: usize,
    ) -> Vec<String> {
        let Asked { request, entities } = asked;
        let line =
            |policy: &str, why: &[String]| format!("item {item}: {policy}: {}", why.join("; "));
        if deciding.is_empty() {
            let permits = action
                .enforced
                .policies()
                .filter_map(|policy| self.rules.get(policy.id()))
                .filter(|rule| rule.listing.effect == Effect::Permit);
            let mut missed: Vec<_> = permits
                .map(|rule| (rule.explainer.mismatches(request, entities), &rule.listing.id))
                .collect();
            missed.sort_by(|a, b| (a.0.len(), a.1).cmp(&(b.0.len(), b.1)));
            return match missed.first() {
                Some((why, id)) => vec![line(&format!("nearest grant {id}"), why)],
                None => vec![format!("item {item}: there is no grant for this action")],
            };
        }
        let rules = deciding.iter().filter_map(|one| self.rules.get(&PolicyId::new(&one.policy)));
        rules
            .map(|rule| line(&rule.listing.id, &rule.explainer.applies(request, entities)))
            .collect()
    }

    fn conclude(
        &self,
        question: &Question,
        asking: Asking,
        items: usize,
        mut findings: Findings,
    ) -> Decision {
        let forbids: Vec<&Deciding> =
            findings.deciding.iter().filter(|one| one.effect == Effect::Forbid).collect();
        let (verdict, reason, message) = if findings.allowed == items {
            (Verdict::Allow, Reason::Permitted, String::new())
        } else if !findings.errors.is_empty() {
            findings.told.dedup();
            (Verdict::Deny, Reason::PolicyError, findings.told.join(" "))
        } else if !forbids.is_empty() {
            (
                Verdict::Deny,
                Reason::Forbidden,
                messages(&forbids, items) + &self.unknown_keys(&forbids, question),
            )
        } else {
            let (reason, message) = not_permitted(&question.caller, asking.action);
            (Verdict::Deny, reason, format!("{message}{}", concerned(&findings.unpermitted, items)))
        };
        let Findings { deciding, shadow, errors, shadow_errors, explanation, .. } = findings;
        Decision {
            deciding,
            shadow,
            errors,
            shadow_errors,
            explanation,
            ..self.decision(verdict, reason, message)
        }
    }

    /// Why the first keys are unknown, if a policy forbids the call for its keys; and how many more
    /// are.
    fn unknown_keys(&self, forbids: &[&Deciding], question: &Question) -> String {
        let mut rules =
            forbids.iter().filter_map(|one| self.rules.get(&PolicyId::new(&one.policy)));
        let Some(facts) =
            question.facts.as_ref().ok().filter(|_| rules.any(|rule| rule.explainer.reads_keys()))
        else {
            return String::new();
        };
        let unknown = facts.unknown_keys();
        let shown: String = unknown.iter().take(3).map(|sentence| format!(" {sentence}")).collect();
        let more = unknown.len().saturating_sub(3);
        if more == 0 { shown } else { format!("{shown} Nor are {more} more.") }
    }

    fn deny(&self, reason: Reason, message: &str) -> Decision {
        self.decision(Verdict::Deny, reason, message.to_owned())
    }

    fn decision(&self, verdict: Verdict, reason: Reason, message: String) -> Decision {
        let bundle = self.hash.clone();
        Decision {
            verdict,
            reason,
            message,
            deciding: Vec::new(),
            shadow: Vec::new(),
            errors: Vec::new(),
            shadow_errors: Vec::new(),
            explanation: Vec::new(),
            bundle,
        }
    }
}

fn unless_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// A section of the context, by the action's own types.
fn section(
    action: &Action,
    name: &str,
    facts: &Facts,
) -> Result<(String, RestrictedExpression), String> {
    let Some(Type::Record(attributes)) = action.context.get(name).map(|attribute| &attribute.of)
    else {
        return Err(format!("no section `{name}`"));
    };
    Ok((name.to_owned(), types::record(types::convert(attributes, facts, name)?, name)?))
}

/// Each policy's message and id once, with the items that it concerns when it does not concern all.
fn messages(forbids: &[&Deciding], items: usize) -> String {
    let mut parts: Vec<(&Deciding, Vec<usize>)> = Vec::new();
    for forbid in forbids {
        match parts.iter_mut().find(|(known, _)| known.policy == forbid.policy) {
            Some((_, concerned)) => concerned.push(forbid.item),
            None => parts.push((forbid, vec![forbid.item])),
        }
    }
    let parts = parts.iter().map(|(forbid, of)| {
        format!("{} [{}]{}", forbid.message, forbid.policy, concerned(of, items))
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn concerned(of: &[usize], items: usize) -> String {
    if of.len() == items {
        return String::new();
    }
    let list = of.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    format!(" (item{} {list})", if of.len() == 1 { "" } else { "s" })
}

fn not_permitted(caller: &Caller, action: &str) -> (Reason, String) {
    match &caller.identity {
        Some(identity) => {
            (Reason::NotPermitted, format!("No policy permits {action} to `{}`.", identity.name))
        }
        None if caller.why.is_empty() => (
            Reason::CallerUnknown,
            format!("No policy permits {action} to callers who are not known."),
        ),
        None => (
            Reason::CallerUnknown,
            format!("No policy permits {action} to callers who are not known: {}", caller.why),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_answer() {
        assert_eq!(unless_panic(|| 1), Some(1));
        assert_eq!(unless_panic(|| -> u8 { panic!("in the evaluator") }), None);
    }
}
