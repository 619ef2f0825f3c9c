//! Facts: what a call says, typed, as policies see it. Secrets are not among them.

use super::place::FieldPath;
use super::rsa::{Finding, RsaKey};
use keyward_core::clock::Moment;
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
    Time(Moment),
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
    /// The exponent of an RSA key, 2^63 - 1 for all that are longer; 0 of others.
    pub exponent: i64,
    /// Why it is unknown, and what to do; empty when it is known. Holds nothing of the key.
    pub why: &'static str,
    /// An RSA key that is unknown until its numbers are checked.
    unproved: Option<Box<RsaKey>>,
}

impl PublicKey {
    /// A key of an algorithm without an exponent.
    pub fn known(algorithm: &'static str, bits: i64) -> Self {
        Self { algorithm, bits, exponent: 0, why: "", unproved: None }
    }

    /// What is no key, for this reason.
    pub fn unknown(why: &'static str) -> Self {
        Self { algorithm: "unknown", bits: 0, exponent: 0, why, unproved: None }
    }

    /// An RSA key whose numbers are not checked yet.
    pub fn unproved(key: RsaKey) -> Self {
        Self { unproved: Some(Box::new(key)), ..Self::unknown("its RSA modulus was not checked") }
    }

    /// Takes the finding on an unproved key.
    fn prove(&mut self, finding: Finding) {
        let Some(key) = self.unproved.take() else { return };
        *self = match finding {
            Ok(()) => Self {
                algorithm: "rsa",
                bits: key.bits(),
                exponent: key.exponent,
                why: "",
                unproved: None,
            },
            Err(why) => Self::unknown(why),
        };
    }
}

/// The algorithms that a [`PublicKey`] may have: a closed set for the policies.
pub const KEY_ALGORITHMS: &[&str] =
    &["ed25519", "rsa", "ecdsa", "dsa", "sk-ed25519", "sk-ecdsa", "unknown"];

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

impl CallFacts {
    /// The RSA keys whose numbers are not checked yet.
    pub fn unproved(&mut self) -> Vec<RsaKey> {
        let mut found = Vec::new();
        self.each_unproved(&mut |key| found.extend(key.unproved.as_deref().cloned()));
        found
    }

    /// Takes the findings on [`Self::unproved`], in its order. A key without one stays unknown.
    pub fn prove(&mut self, findings: &[Finding]) {
        let mut findings = findings.iter();
        self.each_unproved(&mut |key| {
            if let Some(finding) = findings.next() {
                key.prove(*finding);
            }
        });
    }

    fn each_unproved(&mut self, with: &mut impl FnMut(&mut PublicKey)) {
        for facts in [&mut self.path, &mut self.query, &mut self.body]
            .into_iter()
            .chain(self.items.iter_mut().map(|item| &mut item.fields))
        {
            facts.values_mut().for_each(|fact| fact.each_unproved(with));
        }
    }

    /// Why keys of this call are unknown, each with its place.
    pub fn unknown_keys(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (name, facts) in [("path", &self.path), ("query", &self.query), ("body", &self.body)] {
            facts.iter().for_each(|(field, fact)| {
                fact.tell_unknown(FieldPath::Field(&FieldPath::Root(name), field), &mut told)
            });
        }
        for (index, item) in self.items.iter().enumerate() {
            let place = FieldPath::Root(&format!("item {index}"));
            item.fields.iter().for_each(|(field, fact)| {
                fact.tell_unknown(FieldPath::Field(&place, field), &mut told)
            });
        }
        told
    }
}

impl Fact {
    fn each_unproved(&mut self, with: &mut impl FnMut(&mut PublicKey)) {
        match self {
            Self::Key(key) if key.unproved.is_some() => with(key),
            Self::List(list) => list.iter_mut().for_each(|fact| fact.each_unproved(with)),
            Self::Record(facts) => facts.values_mut().for_each(|fact| fact.each_unproved(with)),
            _ => {}
        }
    }

    fn tell_unknown(&self, place: FieldPath, told: &mut Vec<String>) {
        match self {
            Self::Key(key) if !key.why.is_empty() => {
                told.push(format!("`{place}` is not taken for a key: {}.", key.why))
            }
            Self::List(list) => list
                .iter()
                .enumerate()
                .for_each(|(i, fact)| fact.tell_unknown(FieldPath::Element(&place, i), told)),
            Self::Record(facts) => facts
                .iter()
                .for_each(|(name, fact)| fact.tell_unknown(FieldPath::Field(&place, name), told)),
            _ => {}
        }
    }
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
    pub reason: keyward_core::reason::Reason,
    /// What was found, where, and what to do. For the caller; holds no values of secret fields.
    pub detail: String,
}
