//! The query: split once, decoded once, each parameter at most once.

use super::facts::{Facts, Unreadable};
use super::name::{alike, lookalike, overrides};
use super::place::FieldPath;
use super::refuse;
use super::value;
use crate::catalog::operation::Operation;
use crate::catalog::route::percent_decode;
use crate::catalog::schema::{Field, Shape};
use crate::names::{self, Steering};
use crate::request::printable;
use keyward_core::reason::Reason;

/// More parameters than this are refused.
const PARAMETERS_MAX: usize = 64;

/// Headers that say who asks and on what. Some servers take them from the query too, where they
/// would name another caller than the one that was judged.
const HEADERS: &[&str] = &[
    "authorization",
    "x-acs-security-token",
    "x-auth-token",
    "x-domain-id",
    "x-project-id",
    "x-sdk-date",
    "x-security-token",
    "x-subject-token",
    "x-yunxiao-token",
];

/// Refuses a parameter that no document has and that could turn the call upstream, by the words in
/// its name: a read would become a write, or of another thing.
///
/// # Errors
/// When there is one. Broken escapes are left to [`split`].
pub fn no_override(raw: Option<&str>, documented: &[Field]) -> Result<(), Unreadable> {
    let names = raw
        .into_iter()
        .flat_map(|q| q.split(['&', ';']))
        .map(|part| part.split('=').next().unwrap_or_default());
    for name in names
        .filter_map(percent_decode)
        .filter(|name| !documented.iter().any(|field| field.name == *name))
    {
        let shown = printable(&name);
        let reason = match names::steers(&name) {
            _ if overrides(&name) => Reason::MethodOverride,
            Some(Steering::Method) => Reason::MethodOverride,
            Some(Steering::Path | Steering::Host) => Reason::PathOverride,
            Some(Steering::Project | Steering::Call) => Reason::QueryUnknown,
            // Frameworks take their own parameters so; a filter by a private attribute has two of
            // them in front.
            None if name.starts_with('_') && !name.starts_with("__") => Reason::QueryUnknown,
            None if name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-")) => {
                Reason::QueryUnknown
            }
            None => continue,
        };
        return Err(refuse(
            reason,
            format!(
                "the query parameter `{shown}` could change upstream what is called, or how: leave it out"
            ),
        ));
    }
    Ok(())
}

/// Splits and decodes a raw query.
///
/// # Errors
/// For empty, repeated, broken or too many parameters, for names that are not plain, and for a raw
/// `;`, which is a separator to some readers; for a `write` also for a raw `+`, which is a space to
/// some.
pub fn split(raw: Option<&str>, write: bool) -> Result<Vec<(String, String)>, Unreadable> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let malformed = |detail: &str| Err(refuse(Reason::QueryMalformed, detail.to_owned()));
    if raw.contains(';') {
        return malformed("the query holds `;`, at which some readers split it: write %3B");
    }
    if write && raw.contains('+') {
        return malformed(
            "the query holds `+`, which is a blank to some readers: write %20 or %2B",
        );
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in raw.split('&') {
        let (name, text) = part.split_once('=').unwrap_or((part, ""));
        if escapes_plain(name) {
            return malformed(
                "the name of a query parameter escapes letters that need no escape: write it as it is",
            );
        }
        let (Some(name), Some(text)) = (percent_decode(name), percent_decode(text)) else {
            return malformed(
                "a query parameter has a broken escape: write % and two hexadecimal digits, of UTF-8",
            );
        };
        if name.is_empty() {
            return malformed(
                "the query has a parameter without a name: leave out the needless `&` or `?`",
            );
        }
        if !name.bytes().all(|b| (0x20..0x7f).contains(&b))
            || text.chars().any(char::is_control)
            || super::text::unplain(&text).is_some()
        {
            return malformed(
                "a query parameter holds a character that readers cut at or drop: leave it out",
            );
        }
        if pairs.iter().any(|(seen, _)| *seen == name || alike(seen, &name)) {
            return Err(refuse(
                Reason::QueryRepeated,
                format!(
                    "the query parameter `{}` stands twice, perhaps in two spellings: send it once",
                    printable(&name)
                ),
            ));
        }
        if pairs.len() == PARAMETERS_MAX {
            return malformed(&format!(
                "the query has more than {PARAMETERS_MAX} parameters: send fewer"
            ));
        }
        pairs.push((name, text));
    }
    Ok(pairs)
}

/// Whether a raw name holds an escape of a letter, a digit or `-._~`: it hides the name from
/// whoever matches before decoding.
fn escapes_plain(raw: &str) -> bool {
    raw.split('%').skip(1).any(|after| {
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    })
}

/// Checks the parameters against the operation. A write takes only documented ones; a read may have
/// others.
///
/// # Errors
/// For missing, undocumented or wrong parameters, for fields of the body, and for names that a
/// lenient reader would take for documented ones.
pub fn facts(operation: &Operation, pairs: &[(String, String)]) -> Result<Facts, Unreadable> {
    for (name, _) in
        pairs.iter().filter(|(name, _)| !operation.query.iter().any(|f| f.name == *name))
    {
        undocumented(operation, name)?;
    }
    let mut facts = Facts::new();
    for field in &operation.query {
        let fact = match pairs.iter().find(|(name, _)| *name == field.name) {
            Some((_, text)) => value::check_parameter(
                field,
                text,
                FieldPath::Field(&FieldPath::Root("query"), &field.name),
            )
            .map_err(|u| refuse(Reason::QueryValue, u.detail))?,
            None if field.required => {
                return Err(refuse(
                    Reason::QueryMissing,
                    format!("the query parameter `{}` is required", field.name),
                ));
            }
            None => value::default(field).filter(|_| !field.secret),
        };
        if let Some(fact) = fact {
            facts.insert(field.fact.clone(), fact);
        }
    }
    Ok(facts)
}

fn undocumented(operation: &Operation, name: &str) -> Result<(), Unreadable> {
    let shown = printable(name);
    if let Some(near) = lookalike(operation.query.iter().map(|f| f.name.as_str()), name) {
        return Err(refuse(
            Reason::QueryUnknown,
            format!(
                "the query parameter `{shown}` can be taken for the documented `{near}`: write it exactly so"
            ),
        ));
    }
    if let Some(Shape::Object { fields, .. }) = operation.body.as_ref().map(|b| &b.shape)
        && let Some(field) = lookalike(fields.iter().map(|f| f.name.as_str()), name)
    {
        return Err(refuse(
            Reason::QueryBodyField,
            format!(
                "the query parameter `{shown}` can be taken for the body's `{field}`: send it in the body"
            ),
        ));
    }
    if let Some(header) = HEADERS.iter().find(|header| alike(header, name)) {
        return Err(refuse(
            Reason::QueryUnknown,
            format!(
                "the query parameter `{shown}` can be taken for the header {header}: send the header"
            ),
        ));
    }
    if operation.is_write() {
        return Err(refuse(
            Reason::QueryUnknown,
            format!(
                "the query parameter `{shown}` is not one of this operation, says keyward's document of {}: leave it out",
                operation.service
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parameter_changes_the_method() {
        let reason = |raw: &str| no_override(Some(raw), &[]).err().map(|fault| fault.reason);
        for raw in [
            "_method=DELETE",
            "a=1&_METHOD=PUT",
            "%5fmethod=PUT",
            "X-HTTP-Method-Override=PUT",
            "a=1;x-method-override=PUT",
            "method=DELETE",
            "_HttpMethod=PUT",
            "httpMethod=PUT",
        ] {
            assert_eq!(reason(raw), Some(Reason::MethodOverride), "{raw}");
        }
        for (raw, wanted) in [
            ("X-Rewrite-URL=/a", Reason::PathOverride),
            ("host=b", Reason::PathOverride),
            ("path=/a", Reason::PathOverride),
            ("Action=Delete", Reason::QueryUnknown),
            ("callback=f", Reason::QueryUnknown),
            ("_format=xml", Reason::QueryUnknown),
            ("X-Whatever=1", Reason::QueryUnknown),
            ("tenant_id=b", Reason::QueryUnknown),
        ] {
            assert_eq!(reason(raw), Some(wanted), "{raw}");
        }
        for raw in [
            "",
            "a=_method",
            "limit=1",
            "__os_bit=64",
            "enterprise_project_id=0",
            "sort_key=name",
            "visibility=private",
        ] {
            assert_eq!(reason(raw), None, "{raw}");
        }
        assert!(no_override(None, &[]).is_ok());
    }

    #[test]
    fn each_parameter_once() {
        assert_eq!(
            split(Some("a=1&b=%20x%2B"), true).unwrap(),
            [("a".into(), "1".into()), ("b".into(), " x+".into())]
        );
        for raw in ["a=1&a=2", "a=1&A=2", "a_b=1&aB=2", "a&a"] {
            assert_eq!(split(Some(raw), false).unwrap_err().reason, Reason::QueryRepeated, "{raw}");
        }
        for raw in [
            "a=1&&b=2",
            "",
            "=1",
            "&",
            "a=1&",
            "a=%zz",
            "a=%2",
            "a=%+1",
            "a=%00",
            "a=%0d%0a",
            "a=%e2%80%a8",
            "a=%ff",
            "a=%c0%af",
            "%61=1",
            "a%5Fb=1",
            "%EF%BD%81=1",
            "a%00=1",
            "a=1;b=2",
        ] {
            assert_eq!(
                split(Some(raw), false).unwrap_err().reason,
                Reason::QueryMalformed,
                "{raw}"
            );
        }
        assert!(split(Some("a=b+c"), false).is_ok());
        assert!(split(Some("a=b+c"), true).is_err());
        assert_eq!(
            split(Some("a%5B0%5D=%61&b"), true).unwrap(),
            [("a[0]".into(), "a".into()), ("b".into(), String::new())]
        );
        let many = |n: usize| (0..n).map(|i| format!("a{i}=1")).collect::<Vec<_>>().join("&");
        assert!(split(Some(&many(PARAMETERS_MAX)), false).is_ok());
        assert_eq!(
            split(Some(&many(PARAMETERS_MAX + 1)), false).unwrap_err().reason,
            Reason::QueryMalformed
        );
        assert_eq!(split(None, true).unwrap(), []);
    }
}
