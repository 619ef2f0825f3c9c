//! The records of a call: what was asked and decided, and what came of it.
//!
//! The gateway takes secrets out of what it writes, and bounds a record's length: lists and headers
//! that are too long end with an entry that says what was left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A call, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The version of the form: 1.
    pub v: u32,
    /// The audit id, which the caller is given too.
    pub id: String,
    /// When the head was read: RFC 3339, UTC, microseconds.
    pub time: String,
    /// Who asked.
    pub caller: Caller,
    /// From where.
    pub source: Source,
    /// What the call is.
    pub call: Call,
    /// What it asks for, an entry for each thing that is changed. Empty where the call could not
    /// be read.
    pub items: Vec<Entry<Item>>,
    /// The body, which is stored beside the record.
    pub body: Body,
    /// What was decided.
    pub decision: Decision,
    /// The time that policies were shown: RFC 3339, UTC, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Microseconds by stage.
    #[serde(default)]
    pub timing_us: BTreeMap<String, u64>,
    /// What the caller's signature covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// What the first item is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// The fields that were judged, where the body is cut: by name, as policies see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
}

/// Who asked, as far as the gateway knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// The name in the callers' list; `anonymous` for callers who are not known.
    pub name: String,
    /// `user`, `robot` or `anonymous`.
    #[serde(default)]
    pub kind: String,
    /// The groups that the list gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// How sure that is: `none`, `claimed` (a key id, which the cloud checks), `token`,
    /// `certificate`.
    #[serde(default)]
    pub assurance: String,
    /// What was shown.
    #[serde(default)]
    pub credential: Credential,
    /// Why the caller is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was shown as a credential, without what is secret in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// The scheme, such as `SDK-HMAC-SHA256`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// The id of the key that signs.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The keyed digest of a token.
    #[serde(default)]
    pub digest: Option<String>,
}

/// From where a call came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The address of the client; that of an IPv4 client is written as such.
    pub address: String,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
    /// The program, as it says.
    #[serde(default)]
    pub agent: Option<String>,
    /// `X-Forwarded-For`, which nobody has checked.
    #[serde(default)]
    pub forwarded_for_claimed: Option<String>,
    /// The proxy that named the client's address, where it is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The connection's TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A connection's TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    /// The version, such as `TLSv1.3`.
    pub version: Option<String>,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// The client's certificate.
    pub certificate: Option<Certificate>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The digest of its bytes.
    pub fingerprint: String,
    /// Its names, 16 at most.
    pub names: Vec<String>,
}

/// What a call is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The service in the catalogue; `unknown` where the host belongs to none.
    pub service: String,
    /// The action that policies name; `passing` for one that is forwarded unread, `unknown` for
    /// what no operation is.
    pub action: String,
    /// The operation's name in its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The groups of actions that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// The family that passes unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passing: Option<String>,
    /// The method.
    #[serde(default)]
    pub method: String,
    /// The version of HTTP towards the caller.
    #[serde(default)]
    pub version: String,
    /// The host.
    #[serde(default)]
    pub host: String,
    /// The path as it was sent, 4,096 characters at most.
    #[serde(default)]
    pub path: String,
    /// The query as it was sent, without secrets, 8,192 characters at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Bounded<String>>,
    /// The headers by name in lower case.
    #[serde(default)]
    pub headers: Bounded<Headers>,
    /// The bytes of a head that cannot be read in one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_head: Option<RawHead>,
}

/// Headers by name in lower case, each with its values in order.
pub type Headers = BTreeMap<String, Vec<String>>;

/// The bytes of a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RawHead {
    /// How many.
    pub length: u64,
    /// Their keyed digest.
    pub digest: String,
}

/// One of the things that a call asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its fields by name, as policies see them.
    pub fields: Value,
    /// What it is about.
    #[serde(default)]
    pub resource: Option<Resource>,
}

/// A thing in a cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// Its type in the policies' schema, such as `Image`.
    pub r#type: String,
    /// Its id.
    pub id: String,
    /// What it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// What a thing is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parent {
    /// Its type in the policies' schema, such as `Project`.
    pub r#type: String,
    /// Its id.
    pub id: String,
}

/// What a record says of a body. The body stands beside the record, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Body {
    /// Its true length in bytes.
    #[serde(default)]
    pub length: u64,
    /// The digest of its true bytes: `sha256:` where nothing in it is secret, else `hmac-sha256:`
    /// under the installation's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Something in what is kept was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<bool>,
    /// Bytes that are kept beside the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// What is kept was cut at the bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    /// `sha256:` of a salt and what is kept, both of which stand beside the record: they can be
    /// erased alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// False where the body was not read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_whole: Option<bool>,
}

/// What was decided, by which rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// Whether the call may go on.
    pub verdict: Verdict,
    /// The code of the reason; the list is in the documentation of refusals.
    pub reason: String,
    /// The sentence that the caller was given.
    #[serde(default)]
    pub message: String,
    /// The policies that decided.
    #[serde(default)]
    pub policies: Vec<Entry<DeterminingPolicy>>,
    /// The shadow policies that would have decided. Older records have their ids alone.
    #[serde(default)]
    pub shadow: Vec<Entry<DeterminingPolicy>>,
    /// Why policies could not be evaluated.
    #[serde(default)]
    pub errors: Bounded<Vec<String>>,
    /// Which conditions decided, a line each.
    #[serde(default)]
    pub explanation: Bounded<Vec<String>>,
    /// The hash of the policies in force.
    #[serde(default)]
    pub bundle: String,
    /// The digest of the catalogue in force.
    #[serde(default)]
    pub catalog: String,
    /// Why shadow policies could not be evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_errors: Option<Vec<String>>,
}

/// Whether a call may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was forwarded.
    Allow,
    /// It was forwarded unread, as one of a family that passes.
    Pass,
    /// It was refused.
    #[default]
    Deny,
}

/// A policy that decided, in Cedar's sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DeterminingPolicy {
    /// With what it did to which item.
    Of {
        /// Its `@id`.
        id: String,
        /// `permit` or `forbid`. Older records do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effect: Option<String>,
        /// The item, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u64>,
        /// Its `@message`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Its `@id` alone.
    Id(String),
}

impl DeterminingPolicy {
    /// Its `@id`.
    pub fn id(&self) -> &str {
        match self {
            Self::Of { id, .. } | Self::Id(id) => id,
        }
    }
}

/// What a signature covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    /// The headers, in the signature's order.
    pub headers: Bounded<Vec<String>>,
    /// Whether the body is among it.
    pub body: bool,
}

/// What came of a call that was forwarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The version of the form: 1.
    pub v: u32,
    /// The audit id of the call.
    pub id: String,
    /// When the answer was read: RFC 3339, UTC, microseconds.
    pub time: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The answer was read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<bool>,
    /// The call was, or may have been, sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<bool>,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The cloud took the credential: its status was not 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_accepted: Option<bool>,
    /// The headers by name in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Bounded<Headers>>,
    /// The body, which is stored beside the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// Microseconds by stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing_us: Option<BTreeMap<String, u64>>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Upstream {
    /// The address; empty where there was no connection.
    pub address: String,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The cloud did it.
    Succeeded,
    /// The cloud took it on and does it later.
    Accepted,
    /// Some of its items went well, some did not.
    PartlyFailed,
    /// The cloud refused it or could not do it; perhaps inside a 200.
    Failed,
    /// Nothing was sent: the upstream could not be reached.
    NotSent,
    /// It was sent, or may have been, and nobody knows what became of it.
    Unknown,
}

impl Outcome {
    /// As it stands in records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Accepted => "accepted",
            Self::PartlyFailed => "partly-failed",
            Self::Failed => "failed",
            Self::NotSent => "not-sent",
            Self::Unknown => "unknown",
        }
    }
}

/// An element of a list that may end early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Entry<T> {
    /// What was left out behind it.
    LeftOut(LeftOut),
    /// One.
    Of(T),
}

/// A part that may be left out whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Bounded<T> {
    /// All of it, or as much as there was room for.
    Of(T),
    /// What was left out.
    LeftOut(Vec<LeftOut>),
    /// As much as there was room for, and what was left out.
    Cut(Vec<Value>),
}

impl<T> Bounded<T> {
    /// The part, where nothing says that some of it was left out.
    pub fn whole_mut(&mut self) -> Option<&mut T> {
        if let Self::Of(part) = self { Some(part) } else { None }
    }
}

impl<T: Default> Default for Bounded<T> {
    fn default() -> Self {
        Self::Of(T::default())
    }
}

/// What was left out for want of room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// How many elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// How many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_bytes: Option<u64>,
}
