//! Who asks. A missing or unknown credential gives an anonymous caller plus the reason why.

/// Who asks, and how sure that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller, when the directory knows the credential.
    pub identity: Option<Identity>,
    /// How sure the identity is at the time of the decision.
    pub assurance: Assurance,
    /// The credential that was shown.
    pub credential: Credential,
    /// Why the caller is anonymous; empty otherwise.
    pub why: String,
}

/// An entry of the callers file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name: `ci-keys`.
    pub name: String,
    /// A person or a program.
    pub kind: CallerKind,
    /// The groups it belongs to.
    pub groups: Vec<String>,
}

/// People and programs are told apart in policies and in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerKind {
    /// A person.
    User,
    /// A program.
    Robot,
}

/// How sure an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// Nothing was shown, or nothing known.
    None,
    /// An access key id: a claim, until its signature is verified or the upstream accepts it.
    Claimed,
    /// A bearer token whose keyed digest is in the directory.
    Token,
}

impl Assurance {
    /// All, for the policies' closed set.
    pub const ALL: &'static [Self] = &[Self::None, Self::Claimed, Self::Token];

    /// `none`, `claimed` or `token`.
    pub fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Claimed => "claimed",
            Self::Token => "token",
        }
    }
}

/// What was shown. Holds no secret: a token is here by its keyed digest only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// `SDK-HMAC-SHA256`, `x-auth-token`, …; empty when nothing was shown.
    pub scheme: String,
    /// The access key id.
    pub key_id: Option<String>,
    /// The token's keyed digest.
    pub digest: Option<String>,
}

/// The callers and groups that the operator has named.
#[derive(Debug, Default)]
pub struct Directory {
    /// Every caller.
    pub callers: Vec<Identity>,
    /// Every group that exists; a policy that names another does not load.
    pub groups: Vec<String>,
}
