//! What a call does, in the four words that all audit forms share.

use keyward_record::reading::Call;

/// What a call does to what it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Read,
    Update,
    Delete,
    /// None of these, or nobody knows.
    Other,
}

/// How operations begin, beside `Batch` and the names of OpenStack's services.
const WORDS: &[(&str, Verb)] = &[
    ("CreateOrUpdate", Verb::Update),
    ("Create", Verb::Create),
    ("Copy", Verb::Create),
    ("Import", Verb::Create),
    ("Register", Verb::Create),
    ("Add", Verb::Create),
    ("Get", Verb::Read),
    ("List", Verb::Read),
    ("Show", Verb::Read),
    ("Export", Verb::Read),
    ("Update", Verb::Update),
    ("Change", Verb::Update),
    ("Reset", Verb::Update),
    ("Reinstall", Verb::Update),
    ("Associate", Verb::Update),
    ("Disassociate", Verb::Update),
    ("Enable", Verb::Update),
    ("Disable", Verb::Update),
    ("Delete", Verb::Delete),
    ("Clear", Verb::Delete),
    ("Run", Verb::Other),
];

impl Verb {
    /// By the operation's first word; else by the groups that its document puts it in; else by the
    /// method.
    pub fn of(call: &Call) -> Self {
        let operation = call.operation.unwrap_or_default();
        let operation = ["Batch", "Nova", "Glance"]
            .iter()
            .find_map(|prefix| operation.strip_prefix(prefix))
            .unwrap_or(operation);
        if let Some((_, verb)) = WORDS.iter().find(|(word, _)| operation.starts_with(word)) {
            return *verb;
        }
        let within = |group| call.groups.as_ref().is_some_and(|groups| groups.contains(&group));
        match call.method {
            _ if within("read") || within("discovery") => Self::Read,
            _ if within("delete") => Self::Delete,
            Some("GET" | "HEAD" | "OPTIONS") => Self::Read,
            Some("POST") => Self::Create,
            Some("PUT" | "PATCH") => Self::Update,
            Some("DELETE") => Self::Delete,
            _ => Self::Other,
        }
    }
}
