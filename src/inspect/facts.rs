//! Facts: what a call says, typed, as policies see it. Secrets are not among them.

use crate::clock::Timestamp;
use std::collections::BTreeMap;

/// One typed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Text.
    Text(String),
    /// A Boolean.
    Flag(bool),
    /// An integer.
    Number(i64),
    /// A point in time.
    Time(Timestamp),
    /// One of a closed set.
    Choice {
        /// The set's name: `KeyScope`.
        kind: String,
        /// The value: `READ`.
        value: String,
    },
    /// A parsed public key.
    Key(PublicKey),
    /// Elements of an array, in order.
    List(Vec<Fact>),
    /// Fields of an object.
    Record(Facts),
}

/// Named facts.
pub type Facts = BTreeMap<String, Fact>;

/// What an OpenSSH public key is, read from its blob and not from its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// `ed25519`, `rsa`, `ecdsa`, `dsa`, `sk-ed25519`, `sk-ecdsa` or `unknown`.
    pub algorithm: &'static str,
    /// The length of its modulus or curve, in bits; 0 when unknown.
    pub bits: i64,
}

/// The algorithms that a [`PublicKey`] may have: a closed set for the policies.
pub const KEY_ALGORITHMS: &[&str] = &["ed25519", "rsa", "ecdsa", "dsa", "sk-ed25519", "sk-ecdsa", "unknown"];

/// All that a call says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFacts {
    /// Path parameters, decoded.
    pub path: Facts,
    /// Query parameters, decoded, vendor defaults filled in.
    pub query: Facts,
    /// The body's fields, vendor defaults filled in. Empty when the body is an array.
    pub body: Facts,
    /// What is acted on: at least one, unless the operation acts on nothing (discovery).
    pub items: Vec<Item>,
}

/// One thing acted on: one decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The attributes that the catalogue takes from the call.
    pub fields: Facts,
    /// The thing.
    pub resource: Option<Resource>,
}

/// A thing acted on, as a Cedar entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `Image`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// The entity that holds it, if the call names it: type and id.
    pub parent: Option<(String, String)>,
}

/// Why a call's facts cannot be read. The call is then denied for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// One of the closed list.
    pub reason: crate::reason::Reason,
    /// What was found, where, and what to do. For the caller; holds no values of secret fields.
    pub detail: String,
}
