//! A bundle: policies, schema and patterns, checked together and swapped together. Nothing half
//! right is loaded.

use super::decision::Effect;
use super::error::PolicyError;
use super::explain::Explainer;
use super::files::Texts;
use super::patterns::{Bound, Patterns};
use super::schema::{self, Model};
use super::types::Attributes;
use super::typos::{Search, Typo};
use crate::caller::Directory;
use crate::catalog::Catalog;
use cedar_policy::{
    ActionConstraint, Authorizer, Entities, Entity, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Schema, ValidationError, ValidationMode, Validator,
};
use keyward_core::texts::PolicyTexts;
use keyward_core::written::line_and_column;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Annotations that mean something. Cedar takes any: a misspelt `@mode` would silently enforce.
const ANNOTATIONS: &[&str] = &["id", "owner", "message", "mode", "severity"];

/// Everything that a decision needs. Immutable; a new one replaces it whole.
#[derive(Debug)]
pub struct Bundle {
    /// `sha256:…` over its source: stands in every record.
    pub hash: String,
    /// What it was made of.
    pub source: PolicyTexts,
    pub(super) authorizer: Authorizer,
    pub(super) schema: Schema,
    pub(super) actions: HashMap<String, Action>,
    pub(super) types: BTreeMap<String, EntityTypeName>,
    pub(super) patterns: Patterns,
    pub(super) rules: BTreeMap<PolicyId, Rule>,
}

/// What is ready for one action before the first call comes.
#[derive(Debug)]
pub(super) struct Action {
    pub uid: EntityUid,
    pub resource: String,
    /// The sections of the context.
    pub context: Attributes,
    pub bound: Bound,
    /// The enforced policies whose scope covers the action: Cedar itself has no index.
    pub enforced: PolicySet,
    pub shadow: PolicySet,
    /// The action and its groups. INVARIANT: without them `action in …` is silently false, and a
    /// forbid on a group does not fire.
    pub entities: Entities,
}

/// One policy with what is told of it.
#[derive(Debug)]
pub(super) struct Rule {
    pub listing: Listing,
    pub explainer: Explainer,
    policy: Policy,
}

/// One policy, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// `@id`.
    pub id: String,
    /// `@owner`; empty when nobody is named.
    pub owner: String,
    /// `@message`.
    pub message: String,
    /// `@severity`; empty when none is given.
    pub severity: String,
    /// `@mode`.
    pub mode: Mode,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// Where it stands.
    pub file: String,
    /// The line of its first annotation.
    pub line: usize,
    /// As written.
    pub text: String,
}

/// Whether a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It decides.
    Enforce,
    /// It is evaluated and recorded, and decides nothing.
    Shadow,
}

impl Bundle {
    /// Reads every `*.cedar` of a folder, and its `patterns.toml` if there is one. Whatever else is
    /// there is a mistake, but for what editors leave and the cases in `tests`.
    ///
    /// # Errors
    /// All that is wrong, each with file, line and column where there is one.
    pub fn load(
        dir: &Path,
        catalog: &Catalog,
        directory: &Directory,
    ) -> Result<Self, Vec<PolicyError>> {
        let (texts, faults) = Texts::read(dir);
        Self::assemble(&texts.policies, texts.patterns.as_ref(), catalog, directory, faults)
    }

    /// What is wrong with a folder's policies whatever else the catalogue and the groups have: of
    /// both a part may be known.
    pub fn mistakes(dir: &Path, catalog: &Catalog, directory: &Directory) -> Vec<PolicyError> {
        let (texts, mut errors) = Texts::read(dir);
        let (rules, faults) = read_rules(&texts.policies);
        let patterns =
            texts.patterns.as_ref().and_then(|(file, text)| Patterns::parse(file, text).err());
        errors.extend(faults.into_iter().chain(patterns.into_iter().flatten()));
        errors.extend(certain(&rules, &texts.policies, catalog, directory));
        sorted(errors)
    }

    /// A bundle from policy files and a patterns file, each as (name, text).
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn from_texts(
        files: &[(String, String)],
        patterns_file: Option<&(String, String)>,
        catalog: &Catalog,
        directory: &Directory,
    ) -> Result<Self, Vec<PolicyError>> {
        Self::assemble(files, patterns_file, catalog, directory, Vec::new())
    }

    fn assemble(
        files: &[(String, String)],
        patterns_file: Option<&(String, String)>,
        catalog: &Catalog,
        directory: &Directory,
        mut errors: Vec<PolicyError>,
    ) -> Result<Self, Vec<PolicyError>> {
        let (rules, mut faults) = read_rules(files);
        errors.append(&mut faults);
        let (patterns, model, schema) = match modelled(patterns_file, catalog, directory) {
            Ok(generated) => generated,
            Err(mut faults) => {
                faults.extend(sorted(
                    errors.into_iter().chain(certain(&rules, files, catalog, directory)).collect(),
                ));
                return Err(faults);
            }
        };
        errors.append(&mut check(&rules, &schema, files));
        if errors.is_empty() && !rules.values().any(|rule| rule.listing.mode == Mode::Enforce) {
            let file = files.first().map_or("policies", |(file, _)| file);
            errors.push(PolicyError::new(
                file,
                "there is no enforced policy: every call would be denied, and nobody could say why",
            ));
        }
        if !errors.is_empty() {
            return Err(sorted(errors));
        }
        let Model { text, actions, types } = model;
        let source = PolicyTexts {
            schema: text,
            policies: files.to_vec(),
            patterns: patterns_file.cloned(),
            groups: directory.groups.clone(),
        };
        let actions = actions.into_iter().map(|(id, model)| {
            let action = Action::new(&id, model, &schema, &rules)
                .map_err(|why| vec![PolicyError::new("generated schema", why)])?;
            Ok((id, action))
        });
        let actions = actions.collect::<Result<_, Vec<PolicyError>>>()?;
        Ok(Self {
            hash: source.hash(),
            source,
            authorizer: Authorizer::new(),
            schema,
            actions,
            types,
            patterns,
            rules,
        })
    }

    /// Every policy, by id.
    pub fn policies(&self) -> impl Iterator<Item = &Listing> {
        self.rules.values().map(|rule| &rule.listing)
    }

    /// The same bundle without the index: every action is judged by all enforced policies.
    #[cfg(test)]
    pub(super) fn unindexed(mut self) -> Self {
        let whole = policy_set(&self.rules, |rule| rule.listing.mode == Mode::Enforce).unwrap();
        self.actions.values_mut().for_each(|action| action.enforced = whole.clone());
        self
    }
}

/// The schema in Cedar's own syntax: what a policy may speak of. With the patterns of the folder,
/// if they can be read.
///
/// # Errors
/// When the catalogue contradicts itself.
pub fn schema_text(
    patterns_file: Option<&(String, String)>,
    catalog: &Catalog,
    directory: &Directory,
) -> Result<String, Vec<PolicyError>> {
    modelled(patterns_file, catalog, directory).map(|(_, model, _)| model.text)
}

fn modelled(
    patterns_file: Option<&(String, String)>,
    catalog: &Catalog,
    directory: &Directory,
) -> Result<(Patterns, Model, Schema), Vec<PolicyError>> {
    let patterns = patterns_file
        .map_or_else(|| Ok(Patterns::default()), |(file, text)| Patterns::parse(file, text))?;
    let model = schema::generate(catalog, directory, &patterns)?;
    let schema = model
        .text
        .parse::<Schema>()
        .map_err(|e| vec![PolicyError::from_cedar("generated schema", &model.text, &e)])?;
    Ok((patterns, model, schema))
}

impl Action {
    fn new(
        id: &str,
        model: schema::ActionModel,
        schema: &Schema,
        rules: &BTreeMap<PolicyId, Rule>,
    ) -> Result<Self, String> {
        let fault = |e: &dyn std::fmt::Display| format!("action `{id}`: {e}");
        let all = schema.action_entities().map_err(|e| fault(&e))?;
        let uid = all
            .iter()
            .map(Entity::uid)
            .find(|uid| uid.id().unescaped() == id)
            .ok_or_else(|| fault(&"is not in the schema"))?;
        let mine = |other: &EntityUid| *other == uid || all.is_ancestor_of(other, &uid);
        let entities = all.iter().filter(|entity| mine(&entity.uid())).cloned();
        let entities =
            Entities::empty().add_entities(entities, Some(schema)).map_err(|e| fault(&e))?;
        let covers = |rule: &Rule| match rule.policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => one == uid,
            ActionConstraint::In(some) => some.iter().any(mine),
        };
        let of_mode = |mode| policy_set(rules, |rule| rule.listing.mode == mode && covers(rule));
        let (enforced, shadow) = (of_mode(Mode::Enforce)?, of_mode(Mode::Shadow)?);
        Ok(Self {
            uid,
            resource: model.resource,
            context: model.context,
            bound: model.patterns,
            enforced,
            shadow,
            entities,
        })
    }
}

fn policy_set(
    rules: &BTreeMap<PolicyId, Rule>,
    chosen: impl Fn(&Rule) -> bool,
) -> Result<PolicySet, String> {
    let chosen = rules.values().filter(|rule| chosen(rule)).map(|rule| rule.policy.clone());
    PolicySet::from_policies(chosen).map_err(|e| e.to_string())
}

/// Parses every file and checks what Cedar leaves free: annotations, ids, templates.
fn read_rules(files: &[(String, String)]) -> (BTreeMap<PolicyId, Rule>, Vec<PolicyError>) {
    let mut rules: BTreeMap<PolicyId, Rule> = BTreeMap::new();
    let mut errors = Vec::new();
    for (file, text) in files {
        let set = match text.parse::<PolicySet>() {
            Ok(set) => set,
            Err(faults) => {
                errors
                    .extend(faults.iter().map(|fault| PolicyError::from_cedar(file, text, fault)));
                continue;
            }
        };
        for template in set.templates() {
            let offset = text.find(template.to_cedar().as_str()).unwrap_or(0);
            errors.push(PolicyError::at(
                file,
                text,
                offset,
                "this is a template: slots such as `?principal` are not filled here",
            ));
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| {
            policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX)
        });
        let mut searched = 0;
        for policy in policies {
            // The position of its text: Cedar does not tell that of a whole policy.
            let source = policy.to_cedar().unwrap_or_default();
            let start = text
                .get(searched..)
                .and_then(|rest| rest.find(&source))
                .map_or(searched, |found| searched + found);
            searched = start + source.len();
            let Some(rule) = read_rule(policy, file, text, start, source, &mut errors) else {
                continue;
            };
            let id = rule.policy.id().clone();
            if let Some(first) = rules.get(&id) {
                let Listing { file: other, line, .. } = &first.listing;
                errors.push(PolicyError::at(
                    file,
                    text,
                    start,
                    format!("the id `{id}` is taken by {other}:{line}"),
                ));
            } else {
                rules.insert(id, rule);
            }
        }
    }
    (rules, errors)
}

/// One policy, and what is wrong with it beside: an annotation that is wrong does not keep its
/// conditions from being checked.
fn read_rule(
    policy: &Policy,
    file: &str,
    text: &str,
    start: usize,
    source: String,
    errors: &mut Vec<PolicyError>,
) -> Option<Rule> {
    let place_of = |key: &str| start + source.find(&format!("@{key}")).unwrap_or(0);
    let annotation = |key: &str| policy.annotation(key).unwrap_or_default().trim().to_owned();
    for (key, _) in policy.annotations().filter(|(key, _)| !ANNOTATIONS.contains(key)) {
        let error = PolicyError::at(
            file,
            text,
            place_of(key),
            format!("`@{key}` is no annotation of keyward"),
        );
        errors.push(error.help(format!("the annotations are {}", ANNOTATIONS.join(", "))));
    }
    for key in ["id", "message"].into_iter().filter(|key| annotation(key).is_empty()) {
        errors.push(PolicyError::at(
            file,
            text,
            start,
            format!("the policy has no `@{key}(\"…\")`"),
        ));
    }
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    let mode = match policy.annotation("mode") {
        None | Some("enforce") => Mode::Enforce,
        Some("shadow") => Mode::Shadow,
        Some(other) => {
            errors.push(
                PolicyError::at(
                    file,
                    text,
                    place_of("mode"),
                    format!("the mode `{other}` does not exist"),
                )
                .help("enforce or shadow"),
            );
            Mode::Enforce
        }
    };
    if (mode, effect) == (Mode::Shadow, Effect::Permit) {
        let error = PolicyError::at(
            file,
            text,
            place_of("mode"),
            "a permit in shadow would show nothing: only a forbid can be tried out",
        );
        errors.push(error);
    }
    let (line, _) = line_and_column(text, start);
    let policy = policy.new_id(PolicyId::new(annotation("id")));
    let explainer = Explainer::new(&policy)
        .map_err(|why| errors.push(PolicyError::at(file, text, start, why)))
        .ok()?;
    let listing = Listing {
        id: annotation("id"),
        owner: annotation("owner"),
        message: annotation("message"),
        severity: annotation("severity"),
        mode,
        effect,
        file: file.to_owned(),
        line,
        text: source,
    };
    // Without an id nobody could say which one is meant.
    (!listing.id.is_empty()).then_some(Rule { listing, explainer, policy })
}

/// Strict validation, in which a warning is an error: a policy that can never apply is a check that
/// nobody makes, and so is a part of one.
fn check(
    rules: &BTreeMap<PolicyId, Rule>,
    schema: &Schema,
    files: &[(String, String)],
) -> Vec<PolicyError> {
    let set = match policy_set(rules, |_| true) {
        Ok(set) => set,
        Err(why) => return vec![PolicyError::new("policies", why)],
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let located = |id: &PolicyId, found: &dyn miette::Diagnostic| located(rules, files, id, found);
    // A policy with a misspelt scope applies to nothing and is impossible: what follows from
    // another error is left out.
    let (causes, consequences): (Vec<_>, Vec<_>) = result
        .validation_errors()
        .partition(|e| !matches!(e, ValidationError::InvalidActionApplication(_)));
    let mut errors: Vec<_> =
        causes.iter().map(|e| suggest_action(schema, e, located(e.policy_id(), *e))).collect();
    // What Cedar has said of a part is not said again.
    let said = |id: &PolicyId, typo: &Typo| {
        causes.iter().any(|cause| cause.policy_id() == id && cause.to_string().contains(&typo.at))
    };
    let mut parts = Vec::new();
    for (id, rule) in rules {
        parts.extend(
            typos(schema, rule, files, |typo| !said(id, typo)).into_iter().map(|error| (id, error)),
        );
    }
    let caused = |id: &PolicyId| {
        causes.iter().any(|cause| cause.policy_id() == id)
            || parts.iter().any(|(part, _)| *part == id)
    };
    errors.extend(
        consequences
            .into_iter()
            .filter(|e| !caused(e.policy_id()))
            .map(|e| located(e.policy_id(), e)),
    );
    errors.extend(
        result
            .validation_warnings()
            .filter(|w| !caused(w.policy_id()))
            .map(|w| located(w.policy_id(), w)),
    );
    errors.extend(parts.into_iter().map(|(_, error)| error));
    errors
}

/// What is wrong with policies by a part of the catalogue and of the groups, and would be by all of
/// it: what a call that is known does not have. Patterns are left out, for they may be what is
/// wrong.
fn certain(
    rules: &BTreeMap<PolicyId, Rule>,
    files: &[(String, String)],
    catalog: &Catalog,
    directory: &Directory,
) -> Vec<PolicyError> {
    let (Ok((_, _, schema)), Ok(set)) =
        (modelled(None, catalog, directory), policy_set(rules, |_| true))
    else {
        return Vec::new();
    };
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    // With an action or a type that is not known, it is not known of which calls the policy speaks.
    let is_unknown = |error: &&ValidationError| {
        matches!(
            error,
            ValidationError::UnrecognizedEntityType(_) | ValidationError::UnrecognizedActionId(_)
        )
    };
    let unknown: Vec<_> =
        result.validation_errors().filter(is_unknown).map(ValidationError::policy_id).collect();
    let is_certain = |error: &&ValidationError| {
        let of_call = matches!(
            error,
            ValidationError::UnsafeAttributeAccess(_)
                | ValidationError::UnsafeOptionalAttributeAccess(_)
                | ValidationError::UnexpectedType(_)
                | ValidationError::IncompatibleTypes(_)
                | ValidationError::UndefinedFunction(_)
                | ValidationError::WrongNumberArguments(_)
                | ValidationError::FunctionArgumentValidation(_)
        );
        of_call && !unknown.contains(&error.policy_id()) && !error.to_string().contains("`match")
    };
    result
        .validation_errors()
        .filter(is_certain)
        .map(|error| located(rules, files, error.policy_id(), error))
        .collect()
}

/// By place, each once.
fn sorted(mut errors: Vec<PolicyError>) -> Vec<PolicyError> {
    errors.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    errors.dedup();
    errors
}

/// What Cedar says of a policy, where it stands.
fn located(
    rules: &BTreeMap<PolicyId, Rule>,
    files: &[(String, String)],
    id: &PolicyId,
    found: &dyn miette::Diagnostic,
) -> PolicyError {
    let file = rules.get(id).map_or("policies", |rule| rule.listing.file.as_str());
    let text = files.iter().find(|(name, _)| name == file).map_or("", |(_, text)| text);
    let error = PolicyError::from_cedar(file, text, found);
    PolicyError {
        place: error.place.or_else(|| rules.get(id).map(|rule| (rule.listing.line, 1))),
        ..error
    }
}

/// Parts of a policy that can never be true, each with its place.
fn typos(
    schema: &Schema,
    rule: &Rule,
    files: &[(String, String)],
    news: impl Fn(&Typo) -> bool,
) -> Vec<PolicyError> {
    let Listing { file, line, text: source, .. } = &rule.listing;
    let error = |place, typo: Typo| PolicyError {
        place: Some(place),
        help: typo.help,
        ..PolicyError::new(file, format!("{} (policy `{}`)", typo.message, rule.listing.id))
    };
    let text = files.iter().find(|(name, _)| name == file).map_or("", |(_, text)| text);
    // The last place is in a condition: the scope and the annotations stand before.
    let place = |typo: &Typo| {
        Some(line_and_column(text, text.find(source.as_str())? + source.rfind(&typo.at)?))
    };
    match Search::new(schema).of(&rule.policy) {
        Ok(found) => found
            .into_iter()
            .filter(news)
            .map(|typo| error(place(&typo).unwrap_or((*line, 1)), typo))
            .collect(),
        Err(why) => vec![PolicyError { place: Some((*line, 1)), ..PolicyError::new(file, why) }],
    }
}

/// Cedar's suggestion for a misspelt action compares an id with whole names, and so favours the
/// shortest name.
fn suggest_action(schema: &Schema, found: &ValidationError, error: PolicyError) -> PolicyError {
    let wanted = error
        .message
        .split('"')
        .nth(1)
        .filter(|_| matches!(found, ValidationError::UnrecognizedActionId(_)));
    let Some(wanted) = wanted else { return error };
    let alike = |id: &str| {
        let forward = id.chars().zip(wanted.chars()).take_while(|(a, b)| a == b);
        let backward = id.chars().rev().zip(wanted.chars().rev()).take_while(|(a, b)| a == b);
        forward.count() + backward.count()
    };
    let nearest = schema
        .actions()
        .max_by_key(|action| alike(action.id().unescaped()))
        .map(|action| format!("did you mean `{action}`?"));
    PolicyError { help: nearest.or(error.help), ..error }
}
