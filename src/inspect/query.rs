//! The query: split once, decoded once, each parameter at most once.

use super::facts::{Facts, Unreadable};
use super::json::printable;
use super::value;
use crate::catalog::operation::Operation;
use crate::catalog::route::percent_decode;
use crate::reason::Reason;

/// More parameters than this are refused.
const PARAMETERS_MAX: usize = 64;

/// Parameters by which some servers take the method for another, in the form of [`value::loose`].
const OVERRIDES: &[&str] = &["method", "xhttpmethod", "xhttpmethodoverride", "xmethodoverride"];

/// Refuses a parameter that asks the upstream to take the method for another: a read would become a write.
///
/// # Errors
/// When there is one. Broken escapes are left to [`split`].
pub fn no_override(raw: Option<&str>) -> Result<(), Unreadable> {
    let names = raw.into_iter().flat_map(|q| q.split(['&', ';'])).map(|part| part.split('=').next().unwrap_or_default());
    let decoded = names.filter(|name| !name.eq_ignore_ascii_case("method")).filter_map(percent_decode);
    match decoded.into_iter().find(|name| OVERRIDES.contains(&value::loose(name).as_str())) {
        Some(name) => Err(refuse(Reason::MethodOverride, format!("the query parameter `{}` could change the method upstream: leave it out", printable(&name)))),
        None => Ok(()),
    }
}

/// Splits and decodes a raw query.
///
/// # Errors
/// For empty, repeated, broken or too many parameters; for a `write` also for a raw `+`, which is a space to some
/// readers, and a raw `;`, which is a separator to others.
pub fn split(raw: Option<&str>, write: bool) -> Result<Vec<(String, String)>, Unreadable> {
    if write && raw.is_some_and(|q| q.contains(['+', ';'])) {
        return Err(refuse(Reason::QueryMalformed, "the query holds `+` or `;`, which readers take differently: write %20, %2B or %3B".to_owned()));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in raw.into_iter().flat_map(|q| q.split('&')) {
        let (name, text) = part.split_once('=').unwrap_or((part, ""));
        let decode = |text: &str| {
            percent_decode(text)
                .filter(|t| !t.contains('\0'))
                .ok_or_else(|| refuse(Reason::QueryMalformed, "a query parameter has a broken escape: write % and two hexadecimal digits of UTF-8".to_owned()))
        };
        let (name, text) = (decode(name)?, decode(text)?);
        if name.is_empty() {
            return Err(refuse(Reason::QueryMalformed, "the query has a parameter without a name: leave out the needless `&` or `?`".to_owned()));
        }
        if pairs.iter().any(|(seen, _)| *seen == name) {
            return Err(refuse(Reason::QueryRepeated, format!("the query parameter `{}` stands twice: send it once", printable(&name))));
        }
        pairs.push((name, text));
    }
    if pairs.len() > PARAMETERS_MAX {
        return Err(refuse(Reason::QueryMalformed, format!("more than {PARAMETERS_MAX} query parameters")));
    }
    Ok(pairs)
}

/// Checks the parameters against the operation. A write takes only documented ones; a read may have others.
///
/// # Errors
/// For missing, undocumented or wrong parameters, and for names that a lenient reader would take for documented ones.
pub fn facts(operation: &Operation, pairs: &[(String, String)]) -> Result<Facts, Unreadable> {
    for (name, _) in pairs {
        if operation.query.iter().any(|f| f.name == *name) {
            continue;
        }
        if let Some(near) = operation.query.iter().find(|f| value::loose(&f.name) == value::loose(name)) {
            return Err(refuse(
                Reason::QueryUnknown,
                format!("the query parameter `{}` is not the documented `{}`: write it exactly so", printable(name), near.name),
            ));
        }
        if operation.is_write() {
            return Err(refuse(Reason::QueryUnknown, format!("the query parameter `{}` is not one of this operation: leave it out", printable(name))));
        }
    }
    let mut facts = Facts::new();
    for field in &operation.query {
        let fact = match pairs.iter().find(|(name, _)| *name == field.name) {
            Some((_, text)) => value::check_parameter(field, text, &format!("query.{}", field.name)).map_err(|u| refuse(Reason::QueryValue, u.detail))?,
            None if field.required => return Err(refuse(Reason::QueryMissing, format!("the query parameter `{}` is required", field.name))),
            None => value::default(field).filter(|_| !field.secret),
        };
        if let Some(fact) = fact {
            facts.insert(field.fact.clone(), fact);
        }
    }
    Ok(facts)
}

fn refuse(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parameter_changes_the_method() {
        for raw in ["_method=DELETE", "a=1&_METHOD=PUT", "%5fmethod=PUT", "X-HTTP-Method-Override=PUT", "a=1;x-method-override=PUT"] {
            assert!(no_override(Some(raw)).is_err(), "{raw}");
        }
        for raw in ["", "method=list", "a=_method", "limit=1"] {
            assert!(no_override(Some(raw)).is_ok(), "{raw}");
        }
        assert!(no_override(None).is_ok());
    }

    #[test]
    fn each_parameter_once() {
        assert_eq!(split(Some("a=1&b=%20x%2B"), true).unwrap(), [("a".into(), "1".into()), ("b".into(), " x+".into())]);
        for raw in ["a=1&a=2", "a=1&%61=2"] {
            assert_eq!(split(Some(raw), false).unwrap_err().reason, Reason::QueryRepeated, "{raw}");
        }
        for raw in ["a=1&&b=2", "", "=1", "a=%zz", "a=%00", "a=%ff"] {
            assert_eq!(split(Some(raw), false).unwrap_err().reason, Reason::QueryMalformed, "{raw}");
        }
        assert!(split(Some("a=b+c"), false).is_ok());
        assert!(split(Some("a=b+c"), true).is_err());
        assert_eq!(split(None, true).unwrap(), []);
    }
}
