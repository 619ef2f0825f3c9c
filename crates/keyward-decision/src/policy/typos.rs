//! What Cedar's validator lets pass because it can never count: a field that no call has behind
//! `has`, a comparison that is never true, in one branch of an `||`, an `if`, a `!`. The policy as
//! a whole still does something, and nobody notices that a part of it does nothing.
//!
//! Each such part is put alone under the policy's own scope, and Cedar is asked whether that policy
//! is impossible.

use cedar_policy::{
    Policy, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A part of a policy that can never be true.
#[derive(Debug, PartialEq, Eq)]
pub struct Typo {
    /// What stands there, to find it in the text: a field's name or a whole comparison.
    pub at: String,
    /// What is wrong.
    pub message: String,
    /// What to do, where Cedar knows something near.
    pub help: Option<String>,
}

/// Asks Cedar about the parts of policies.
pub struct Search {
    validator: Validator,
}

impl Search {
    /// Against this schema.
    pub fn new(schema: &Schema) -> Self {
        Self { validator: Validator::new(schema.clone()) }
    }

    /// The parts of a policy that can never be true.
    ///
    /// # Errors
    /// When Cedar cannot read back what it wrote.
    pub fn of(&self, policy: &Policy) -> Result<Vec<Typo>, String> {
        let whole = policy.to_json().map_err(|e| format!("cannot be looked through: {e}"))?;
        let mut found =
            Found { search: self, whole: &whole, known: HashMap::new(), typos: Vec::new() };
        for condition in whole.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            found.walk(condition.get("body").unwrap_or(&Value::Null))?;
        }
        Ok(found.typos)
    }

    /// What Cedar says of a policy with the scope of `whole` and one condition.
    fn ask<T>(
        &self,
        whole: &Value,
        condition: Value,
        read: impl Fn(&cedar_policy::ValidationResult) -> T,
    ) -> Result<T, String> {
        let mut alone = whole.clone();
        if let Some(conditions) = alone.get_mut("conditions") {
            *conditions = json!([{"kind": "when", "body": condition}]);
        }
        let failed = |e: &dyn std::fmt::Display| format!("cannot be looked through: {e}");
        let alone = Policy::from_json(None, alone).map_err(|e| failed(&e))?;
        let set = PolicySet::from_policies([alone]).map_err(|e| failed(&e))?;
        Ok(read(&self.validator.validate(&set, ValidationMode::Strict)))
    }
}

struct Found<'a> {
    search: &'a Search,
    whole: &'a Value,
    /// What was asked already: the same fields are read again and again.
    known: HashMap<String, bool>,
    typos: Vec<Typo>,
}

impl Found<'_> {
    /// Looks through an expression, what is inside first. True when something was found: what is
    /// around it is no news then.
    fn walk(&mut self, expression: &Value) -> Result<bool, String> {
        let mut told = false;
        match expression {
            Value::Array(several) => {
                for one in several {
                    told |= self.walk(one)?;
                }
            }
            Value::Object(node) => {
                for below in node.values() {
                    told |= self.walk(below)?;
                }
            }
            _ => {}
        }
        let Some((operator, operands)) = operation(expression).filter(|_| !told) else {
            return Ok(told);
        };
        if let (Some(left), Some(Value::Array(fields))) =
            (operands.get("left"), operands.get("attr"))
        {
            return self.walk_down(left, fields);
        }
        let asked = match operator {
            // A field that is read must be one that a call can have.
            "." => json!({"has": operands}),
            "has" | "is" | "in" | "==" => expression.clone(),
            _ => return Ok(false),
        };
        if !self.impossible(asked)? {
            return Ok(false);
        }
        let typo = match operands.get("attr").and_then(Value::as_str) {
            Some(field) => self.field(operands, field)?,
            None => {
                let text = self.text(expression);
                Typo {
                    message: format!(
                        "`{text}` is never true for the calls that this policy covers"
                    ),
                    at: text,
                    help: None,
                }
            }
        };
        if !self.typos.contains(&typo) {
            self.typos.push(typo);
        }
        Ok(true)
    }

    fn impossible(&mut self, part: Value) -> Result<bool, String> {
        let key = part.to_string();
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let impossible = |answer: &cedar_policy::ValidationResult| {
            answer
                .validation_warnings()
                .any(|w| matches!(w, ValidationWarning::ImpossiblePolicy(_)))
        };
        let answer = self.search.ask(self.whole, guarded(part), impossible)?;
        self.known.insert(key, answer);
        Ok(answer)
    }

    /// `has a.b.c`, a field at a time.
    fn walk_down(&mut self, left: &Value, fields: &[Value]) -> Result<bool, String> {
        let mut left = left.clone();
        for field in fields {
            let operands = json!({"left": left, "attr": field});
            if self.walk(&json!({"has": operands}))? {
                return Ok(true);
            }
            left = json!({".": operands});
        }
        Ok(false)
    }

    fn field(&self, operands: &Value, field: &str) -> Result<Typo, String> {
        let read = json!({".": operands});
        // Cedar suggests a name where the field is read.
        let near = |answer: &cedar_policy::ValidationResult| {
            answer
                .validation_errors()
                .find(|e| matches!(e, ValidationError::UnsafeAttributeAccess(_)))
                .and_then(|e| e.help().map(|help| help.to_string()))
        };
        let compared = json!({"==": {"left": read, "right": read}});
        let guards = guards(operands.get("left").unwrap_or(&Value::Null));
        let help = self.search.ask(self.whole, all(guards, compared), near)?;
        let message =
            format!("`{}` is no field of the calls that this policy covers", self.text(&read));
        Ok(Typo { at: field.to_owned(), message, help })
    }

    /// As Cedar writes it.
    fn text(&self, expression: &Value) -> String {
        let alone = json!({"effect": "permit", "principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"},
            "conditions": [{"kind": "when", "body": expression}]});
        let text =
            Policy::from_json(None, alone).map(|policy| policy.to_string()).unwrap_or_default();
        let inner = text
            .split_once("when {")
            .and_then(|(_, rest)| rest.rsplit_once('}'))
            .map(|(inner, _)| inner.trim().to_owned());
        let inner = inner.unwrap_or_else(|| expression.to_string());
        // Cedar writes parentheses around it.
        let bare = inner
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .filter(|bare| !bare.contains(['(', ')']));
        bare.map_or_else(|| inner.clone(), str::to_owned)
    }
}

/// The operator and the operands of an expression that has them by name.
fn operation(expression: &Value) -> Option<(&str, &Value)> {
    let (operator, operands) =
        expression.as_object().filter(|node| node.len() == 1)?.iter().next()?;
    operands.get("left").map(|_| (operator.as_str(), operands))
}

/// An expression behind the tests that let Cedar read its fields.
fn guarded(expression: Value) -> Value {
    let guards = operation(&expression).map_or_else(Vec::new, |(_, operands)| guards(operands));
    all(guards, expression)
}

/// `has` for each field that is read in an expression, what is inside first.
fn guards(expression: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = match expression {
        Value::Array(several) => several.iter().flat_map(guards).collect(),
        Value::Object(node) => node.values().flat_map(guards).collect(),
        _ => Vec::new(),
    };
    if let Some((".", operands)) = operation(expression) {
        found.push(json!({"has": operands}));
    }
    found
}

fn all(guards: Vec<Value>, last: Value) -> Value {
    guards.into_iter().rev().fold(last, |rest, guard| json!({"&&": {"left": guard, "right": rest}}))
}
