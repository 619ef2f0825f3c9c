//! Names of fields and parameters: which of them a lenient binder would take for others, or for
//! instructions.
//!
//! Binders fold what they bind: Go's and Jackson's letter case, fastjson's hyphens and underscores
//! and the `is` before a Boolean, others dots and brackets. A strict parser ignores such a field,
//! and the upstream may not be strict.

use keyward_core::reason::Reason;

/// Names that some parsers take as an instruction: for a type, a reference or a prototype.
const INSTRUCTIONS: &[&str] =
    &["__class__", "__proto__", "__type", "_class", "constructor", "prototype"];

/// Names by which some servers take the method for another.
const OVERRIDES: &[&str] =
    &["_method", "x-http-method", "x-http-method-override", "x-method-override"];

/// Whether a server could take the method for another because of a field or parameter of this name.
/// `method` alone is a word like others.
pub fn overrides(name: &str) -> bool {
    !name.eq_ignore_ascii_case("method") && OVERRIDES.iter().any(|known| alike(known, name))
}

/// Why a field of this name is refused wherever it stands.
pub fn fault(name: &str) -> Option<(Reason, &'static str)> {
    if name.is_empty() || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        // Some readers fold `ſ` to `s` and full-width letters to narrow ones: documented names are
        // ASCII, so are others.
        return Some((Reason::BodyName, "is empty, or holds more than printable ASCII"));
    }
    if name.starts_with(' ') || name.ends_with(' ') {
        return Some((Reason::BodyName, "starts or ends with a blank"));
    }
    if name.starts_with(['$', '@']) || INSTRUCTIONS.contains(&name) {
        return Some((Reason::BodyName, "is an instruction to some parsers"));
    }
    overrides(name).then_some((Reason::MethodOverride, "could change the method upstream"))
}

/// A name as the most lenient of binders reads it: its letters and digits, in lower case.
fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase())
}

/// Whether a lenient binder would take both names for one.
pub fn alike(a: &str, b: &str) -> bool {
    folded(a).eq(folded(b))
}

/// A number that is the same for all names that are alike (FNV-1a). Who finds two others that share
/// it has only their own call refused.
pub fn fold_hash(name: &str) -> u64 {
    folded(name).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The documented name that a lenient binder would take this one for, or a part of this one:
/// `KeyScope`, `key_scope`, `isKeyScope`, `body.keyScope`, `keyScope[0]`.
pub fn lookalike<'f>(mut documented: impl Iterator<Item = &'f str>, name: &str) -> Option<&'f str> {
    let takes = |known: &str, part: &str| {
        !part.is_empty()
            && (alike(known, part)
                || part.get(2..).is_some_and(|rest| is_getter(part) && alike(known, rest)))
    };
    documented.find(|known| {
        takes(known, name)
            || name.split(['.', '[', ']']).any(|part| part.len() < name.len() && takes(known, part))
    })
}

fn is_getter(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binder_takes_many_names_for_one() {
        let documented = ["keyScope", "force", "title"];
        for (name, near) in [
            ("KeyScope", "keyScope"),
            ("key_scope", "keyScope"),
            ("KEY-SCOPE", "keyScope"),
            ("key scope", "keyScope"),
            ("keyscope", "keyScope"),
            ("_keyScope", "keyScope"),
            ("keyScope[]", "keyScope"),
            ("keyScope[0]", "keyScope"),
            ("body.keyScope", "keyScope"),
            ("[keyScope]", "keyScope"),
            ("keyScope.value", "keyScope"),
            ("isForce", "force"),
            ("is_force", "force"),
            ("IsForce", "force"),
            ("x.is_force", "force"),
            ("key.scope", "keyScope"),
            ("title:", "title"),
        ] {
            assert_eq!(lookalike(documented.into_iter(), name), Some(near), "{name}");
        }
        for name in
            ["scope", "keyScopes", "island", "is", "db.password", "subtitle", "reforce", "", "."]
        {
            assert_eq!(lookalike(documented.into_iter(), name), None, "{name}");
        }
    }

    #[test]
    fn names_that_are_alike_share_a_number() {
        assert_eq!(fold_hash("keyScope"), fold_hash("KEY_SCOPE"));
        assert_ne!(fold_hash("keyScope"), fold_hash("keyScopf"));
    }

    #[test]
    fn some_names_are_refused_everywhere() {
        for name in [
            "",
            "\u{ff4b}ey",
            "\u{17f}",
            "a\n",
            " a",
            "a ",
            "$ref",
            "@type",
            "$type",
            "@class",
            "__proto__",
            "constructor",
        ] {
            assert_eq!(fault(name).map(|(reason, _)| reason), Some(Reason::BodyName), "{name:?}");
        }
        for name in ["_method", "_Method", "X-HTTP-Method-Override"] {
            assert_eq!(
                fault(name).map(|(reason, _)| reason),
                Some(Reason::MethodOverride),
                "{name:?}"
            );
        }
        for name in [
            "a",
            "keyScope",
            "os:scheduler_hints",
            "db.password",
            "__os_version",
            "method",
            "a b",
            "class",
        ] {
            assert_eq!(fault(name), None, "{name:?}");
        }
    }
}
