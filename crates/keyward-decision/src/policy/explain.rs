//! Why a policy decided as it did: its clauses, with the values of this call. For the record, not
//! for the caller.

use cedar_policy::pst::{BinaryOp, Clause as PstClause, Expr};
use cedar_policy::{
    Entities, EvalResult, Expression, Policy, PrincipalConstraint, Request, ResourceConstraint,
    eval_expression,
};
use std::sync::Arc;

/// One policy, taken apart once at load.
#[derive(Debug)]
pub struct Explainer {
    scope: Vec<Part>,
    clauses: Vec<Clause>,
}

#[derive(Debug)]
struct Clause {
    keyword: &'static str,
    /// What stands between the `&&`.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    text: String,
    expression: Expression,
    /// The attributes that it reads.
    reads: Vec<(String, Expression)>,
}

impl Explainer {
    /// Takes a policy apart.
    ///
    /// # Errors
    /// When Cedar cannot read back what it wrote.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => None,
            PrincipalConstraint::In(group) => Some(format!("principal in {group}")),
            PrincipalConstraint::Eq(one) => Some(format!("principal == {one}")),
            PrincipalConstraint::Is(kind) => Some(format!("principal is {kind}")),
            PrincipalConstraint::IsIn(kind, group) => {
                Some(format!("principal is {kind} in {group}"))
            }
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => None,
            ResourceConstraint::In(holder) => Some(format!("resource in {holder}")),
            ResourceConstraint::Eq(one) => Some(format!("resource == {one}")),
            ResourceConstraint::Is(kind) => Some(format!("resource is {kind}")),
            ResourceConstraint::IsIn(kind, holder) => {
                Some(format!("resource is {kind} in {holder}"))
            }
        };
        let scope = principal
            .into_iter()
            .chain(resource)
            .map(|text| Part::new(text, Vec::new()))
            .collect::<Result<_, _>>()?;
        let pst = policy.to_pst().map_err(|e| format!("cannot be explained: {e}"))?;
        let clauses = pst.body().clauses().iter().map(Clause::new).collect::<Result<_, _>>()?;
        Ok(Self { scope, clauses })
    }

    /// Why the policy applies: every `when` is true, every `unless` has a part that is false.
    pub fn applies(&self, request: &Request, entities: &Entities) -> Vec<String> {
        self.clauses.iter().flat_map(|clause| clause.explain(request, entities)).collect()
    }

    /// Whether the policy looks at a public key.
    pub fn reads_keys(&self) -> bool {
        let of_key = |path: &str| {
            [".algorithm", ".bits", ".exponent"].iter().any(|name| path.ends_with(name))
        };
        self.clauses
            .iter()
            .flat_map(|clause| &clause.parts)
            .flat_map(|part| &part.reads)
            .any(|(path, _)| of_key(path))
    }

    /// Why the policy does not apply: the parts of its scope that are false, or else its
    /// conditions.
    pub fn mismatches(&self, request: &Request, entities: &Entities) -> Vec<String> {
        let scope: Vec<String> = self
            .scope
            .iter()
            .filter(|part| !part.holds(request, entities))
            .map(|part| format!("{} is false", part.text))
            .collect();
        if scope.is_empty() { self.applies(request, entities) } else { scope }
    }
}

impl Clause {
    fn new(clause: &PstClause) -> Result<Self, String> {
        let (keyword, condition) = match clause {
            PstClause::When(condition) => ("when", condition),
            PstClause::Unless(condition) => ("unless", condition),
        };
        let mut conjuncts = Vec::new();
        split(condition, &mut conjuncts);
        Ok(Self { keyword, parts: conjuncts.into_iter().map(Part::of).collect::<Result<_, _>>()? })
    }

    /// The parts that are true and were met before one is false, then that one alone: later parts
    /// may fail, the false one guards them.
    fn explain(&self, request: &Request, entities: &Entities) -> Vec<String> {
        let false_part = self.parts.iter().find(|part| !part.holds(request, entities));
        match false_part {
            Some(part) => vec![format!(
                "{}: {} is false{}",
                self.keyword,
                part.text,
                part.values(request, entities)
            )],
            None => self
                .parts
                .iter()
                .map(|part| {
                    format!(
                        "{}: {} is true{}",
                        self.keyword,
                        part.text,
                        part.values(request, entities)
                    )
                })
                .collect(),
        }
    }
}

impl Part {
    fn new(text: String, reads: Vec<(String, Expression)>) -> Result<Self, String> {
        let expression = parse(&text)?;
        Ok(Self { text, expression, reads })
    }

    fn of(expr: &Arc<Expr>) -> Result<Self, String> {
        let mut paths = attribute_paths(expr);
        paths.sort();
        paths.dedup();
        let reads = paths
            .into_iter()
            .map(|path| Ok((path.clone(), parse(&path)?)))
            .collect::<Result<_, String>>()?;
        Self::new(expr.to_string(), reads)
    }

    fn holds(&self, request: &Request, entities: &Entities) -> bool {
        matches!(eval_expression(request, entities, &self.expression), Ok(EvalResult::Bool(true)))
    }

    fn values(&self, request: &Request, entities: &Entities) -> String {
        let value = |(path, expression): &(String, Expression)| {
            Some(format!("{path} = {}", eval_expression(request, entities, expression).ok()?))
        };
        let values: Vec<String> = self.reads.iter().filter_map(value).collect();
        if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) }
    }
}

fn parse(text: &str) -> Result<Expression, String> {
    text.parse().map_err(|e| format!("cannot be explained: `{text}`: {e}"))
}

fn split<'a>(expr: &'a Arc<Expr>, parts: &mut Vec<&'a Arc<Expr>>) {
    match expr.as_ref() {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            split(left, parts);
            split(right, parts);
        }
        _ => parts.push(expr),
    }
}

/// The attributes that an expression reads, as text: `context.body.keyScope`.
fn attribute_paths(expr: &Expr) -> Vec<String> {
    let read = |expr: &Expr| match expr {
        Expr::GetAttr { .. } if is_path(expr) => Some(vec![expr.to_string()]),
        // What `has` asks is whether, not what.
        Expr::HasAttr { .. } => Some(Vec::new()),
        _ => None,
    };
    expr.reduce(
        &read,
        &|mut a: Vec<String>, mut b| {
            a.append(&mut b);
            a
        },
        Vec::new(),
    )
}

fn is_path(expr: &Expr) -> bool {
    match expr {
        Expr::Var(_) => true,
        Expr::GetAttr { expr, .. } => is_path(expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_condition_is_read_back() {
        let conditions = [
            r#"context.body["os-change"].name == "a\"b\n\u{1F600}" && context.body has "os-change""#,
            r#"context.body.title like "a\**" || !(context.body.n - -1 > 3 * 2)"#,
            r#"if context.a then context.b.c else principal.d.e == 1"#,
            r#"[1, 2].containsAll([context.n]) && ["x"].containsAny(context.tags) && context.tags.isEmpty()"#,
            r#"{"a b": {c: 1}} == context.r && principal is K::User in K::Group::"g" && resource in [K::Project::"p"]"#,
            r#"ip("10.0.0.0/8").isIpv4() && datetime("2026-01-01").offset(duration("-1d")).toDate() < context.t"#,
            r#"decimal("1.5").lessThan(context.d) && context has a.b.c && principal.hasTag("t") && principal.getTag("t") == 1"#,
        ];
        for condition in conditions {
            let policy = Policy::parse(None, format!("forbid (principal is K::User in K::Group::\"a\", action, resource) when {{ {condition} }};")).unwrap();
            Explainer::new(&policy).unwrap_or_else(|why| panic!("{why}"));
        }
    }
}
