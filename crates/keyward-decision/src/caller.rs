//! Who asks. A missing or unknown credential gives an anonymous caller plus the reason why.

use crate::catalog::credential::Credentials;
use crate::catalog::route::percent_decode;
use crate::catalog::schema::Field;
use crate::catalog::{Catalog, Target};
use crate::names::is_credential;
use crate::request::{Authorization, RequestHead, printable};
use keyward_core::alike;
use keyward_core::secret::DigestKey;
use keyward_core::written::{Mistake, Mistakes, Written};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use toml::Spanned;

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

impl Caller {
    /// The name of a known caller.
    pub fn name(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.name.as_str())
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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
    /// A client certificate that TLS has verified, listed by fingerprint or name.
    Certificate,
}

impl Assurance {
    /// All, for the policies' closed set.
    pub const ALL: &'static [Self] = &[Self::None, Self::Claimed, Self::Token, Self::Certificate];

    /// `none`, `claimed`, `token` or `certificate`.
    pub fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Claimed => "claimed",
            Self::Token => "token",
            Self::Certificate => "certificate",
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
    access_keys: HashMap<String, usize>,
    token_digests: HashMap<String, usize>,
    certificates: HashMap<String, usize>,
}

/// One caller of the callers file, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Without it nobody is known; what is wrong with the rest is told all the same.
    kind: Option<CallerKind>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    #[serde(default)]
    access_keys: Vec<Spanned<String>>,
    #[serde(default)]
    tokens: Vec<Spanned<String>>,
    #[serde(default)]
    certificates: Vec<Spanned<String>>,
}

/// The callers file, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    callers: BTreeMap<String, Entry>,
}

impl Directory {
    /// A directory of groups without callers.
    pub fn of_groups(groups: &[&str]) -> Self {
        Self { groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Self::default() }
    }

    /// Reads the text of a callers file; `of` is its name.
    ///
    /// # Errors
    /// All that is wrong: what is not of the form, a group that is not listed, a credential of two
    /// callers.
    pub fn parse(of: &str, text: &str) -> Result<Self, Mistakes> {
        match Self::read(of, text) {
            (Some(directory), mistakes) if mistakes.is_empty() => Ok(directory),
            (_, mistakes) => Err(Mistakes(mistakes)),
        }
    }

    /// The same as far as it is right, with all that is wrong. `None` when it is not known which
    /// groups there are.
    pub fn read(of: &str, text: &str) -> (Option<Self>, Vec<Mistake>) {
        let mut told = match Written::parse(of, text) {
            Ok(told) => told,
            Err(mistake) => return (None, vec![mistake]),
        };
        let file: File = told.read();
        let mut directory = Self { groups: file.groups, ..Self::default() };
        for (name, entry) in file.callers {
            directory.enter(name, entry, &mut told);
        }
        let groups_known = told.is_sure("groups");
        (groups_known.then_some(directory), told.into_mistakes())
    }

    /// Enters a caller, and tells what is wrong with it.
    fn enter(&mut self, name: String, entry: Entry, told: &mut Written<'_>) {
        let Entry { kind, groups, access_keys, tokens, certificates } = entry;
        if kind.is_none() {
            let path = ["callers", &name];
            told.clash(
                &path,
                &path,
                format!("`kind` of `{name}` is missing: say `kind = \"user\"`, or `\"robot\"`"),
            );
        }
        if told.is_sure("groups") {
            for group in groups.iter().filter(|group| !self.groups.contains(group.get_ref())) {
                let near =
                    alike::did_you_mean(group.get_ref(), self.groups.iter().map(String::as_str));
                told.wrong_at(
                    &group.span(),
                    format!(
                        "caller `{name}` is in the group `{}`, which is not in `groups`{near}",
                        group.get_ref()
                    ),
                );
            }
        }
        // What is no digest may be the token itself: it is neither kept nor told.
        let (tokens, clear): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|token| is_digest(token.get_ref()));
        for token in clear {
            let why = "is not `hmac-sha256:` and 64 hexadecimal digits: run `keyward digest` and paste what it prints, never the token";
            told.wrong_at(&token.span(), format!("a token of `{name}` {why}"));
        }
        for certificate in
            certificates.iter().filter(|certificate| !is_certificate(certificate.get_ref()))
        {
            let why = "is none of `sha256:` and 64 hexadecimal digits, `dns:` and a name, `uri:` and a name";
            told.wrong_at(
                &certificate.span(),
                format!("the certificate `{}` of `{name}` {why}", certificate.get_ref()),
            );
        }
        let index = self.callers.len();
        let groups = groups.into_iter().map(Spanned::into_inner).collect();
        self.callers.push(Identity { name, kind: kind.unwrap_or(CallerKind::Robot), groups });
        let Self {
            callers,
            access_keys: known_keys,
            token_digests,
            certificates: known_certificates,
            ..
        } = self;
        for (map, credentials) in
            [(known_keys, access_keys), (token_digests, tokens), (known_certificates, certificates)]
        {
            give(callers, map, credentials, index, told);
        }
    }

    /// Who asks, by the credentials in a request's head. Two credentials of different callers name
    /// nobody, and one that the target's service does not verify names nobody either: anybody
    /// can show it there.
    ///
    /// A listed client certificate identifies by itself. What else the request shows is for the
    /// cloud then, unless it is another caller's.
    pub fn identify(
        &self,
        head: &RequestHead,
        key: &DigestKey,
        catalog: &Catalog,
        target: &Target,
    ) -> Caller {
        let verified = catalog.verified(target);
        self.judge(head, &shown(head, key, catalog.credentials(), verified, target), verified)
    }

    fn judge(&self, head: &RequestHead, shown: &[Credential], verified: &Credentials) -> Caller {
        let foreign = shown.iter().find(|c| !verified.verify(&c.scheme));
        match self.certified(head) {
            Ok(None) => self.by_credentials(shown, verified),
            Ok(Some((_, credential))) if foreign.is_some() => {
                let scheme = foreign.map_or("", |foreign| foreign.scheme.as_str());
                anonymous(
                    credential,
                    &format!(
                        "this service verifies no credential of the kind {scheme}: leave it out"
                    ),
                )
            }
            Ok(Some((owner, credential)))
                if shown.iter().all(|c| self.owner(c).is_none_or(|o| o == owner)) =>
            {
                Caller {
                    identity: self.callers.get(owner).cloned(),
                    assurance: Assurance::Certificate,
                    credential,
                    why: String::new(),
                }
            }
            Ok(Some((_, credential))) => {
                anonymous(credential, "the request shows credentials of more than one caller")
            }
            Err(credential) => {
                anonymous(credential, "the certificate's names belong to more than one caller")
            }
        }
    }

    /// The caller whose certificate was shown, if it is listed.
    ///
    /// # Errors
    /// When several are.
    fn certified(&self, head: &RequestHead) -> Result<Option<(usize, Credential)>, Credential> {
        let Some(certificate) = head.tls.as_ref().and_then(|tls| tls.certificate.as_ref()) else {
            return Ok(None);
        };
        let credential = Credential {
            scheme: "tls-certificate".to_owned(),
            key_id: None,
            digest: Some(certificate.fingerprint.clone()),
        };
        let names = std::iter::once(&certificate.fingerprint).chain(&certificate.names);
        let mut owners = names.filter_map(|name| self.certificates.get(name).copied());
        let Some(owner) = owners.next() else { return Ok(None) };
        if owners.all(|other| other == owner) {
            Ok(Some((owner, credential)))
        } else {
            Err(credential)
        }
    }

    fn by_credentials(&self, shown: &[Credential], verified: &Credentials) -> Caller {
        let Some(first) = shown.first().cloned() else {
            return Caller {
                identity: None,
                assurance: Assurance::None,
                credential: Credential::default(),
                why: "no credential was shown".to_owned(),
            };
        };
        if let Some(foreign) = shown.iter().find(|c| !verified.verify(&c.scheme)) {
            let why = format!(
                "this service verifies no credential of the kind {}: leave it out",
                foreign.scheme
            );
            return anonymous(foreign.clone(), &why);
        }
        let owners: Vec<Option<usize>> = shown.iter().map(|c| self.owner(c)).collect();
        let Some(Some(owner)) = owners.first().copied() else {
            return anonymous(first, "the credential is not in the callers file");
        };
        if owners.iter().any(|o| *o != Some(owner)) {
            return anonymous(first, "the request shows credentials of more than one caller");
        }
        let assurance = if shown.iter().any(|c| c.digest.is_some()) {
            Assurance::Token
        } else {
            Assurance::Claimed
        };
        Caller {
            identity: self.callers.get(owner).cloned(),
            assurance,
            credential: first,
            why: String::new(),
        }
    }

    fn owner(&self, credential: &Credential) -> Option<usize> {
        let by_key = credential.key_id.as_ref().and_then(|id| self.access_keys.get(id));
        let by_token = credential.digest.as_ref().and_then(|digest| self.token_digests.get(digest));
        by_key.or(by_token).copied()
    }
}

fn anonymous(credential: Credential, why: &str) -> Caller {
    Caller { identity: None, assurance: Assurance::None, credential, why: why.to_owned() }
}

/// Gives credentials to a caller, and tells those that another one has.
fn give(
    callers: &[Identity],
    map: &mut HashMap<String, usize>,
    credentials: Vec<Spanned<String>>,
    index: usize,
    told: &mut Written<'_>,
) {
    for credential in credentials {
        let first = *map.entry(credential.get_ref().clone()).or_insert(index);
        if first != index {
            let name = |i: usize| callers.get(i).map_or("", |caller| caller.name.as_str());
            let why = format!(
                "`{}` belongs to `{}` and to `{}`: a credential names one caller",
                credential.get_ref(),
                name(first),
                name(index)
            );
            told.wrong_at(&credential.span(), why);
        }
    }
}

fn is_certificate(text: &str) -> bool {
    match text.split_once(':') {
        Some(("sha256", hex)) => {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }
        Some(("dns", name)) => {
            !name.is_empty()
                && !name.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace())
        }
        Some(("uri", name)) => name.contains(':') && !name.contains(char::is_whitespace),
        _ => false,
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("hmac-sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Every credential in a request's head that some service verifies, and whatever else stands in
/// `Authorization`; signatures first.
///
/// A credential under a name that no document has is shown too: some service, or a gateway before
/// it, may take it for who asks.
fn shown(
    head: &RequestHead,
    key: &DigestKey,
    known: &Credentials,
    verified: &Credentials,
    target: &Target,
) -> Vec<Credential> {
    let mut found = Vec::new();
    if let Some(text) = head.header("authorization") {
        let authorization = Authorization::parse(text);
        let (scheme, secret) =
            authorization.as_ref().map_or(("unknown", text), |a| (a.scheme, a.parameters));
        let key_id = authorization.as_ref().and_then(Authorization::key_id).map(str::to_owned);
        let digest = key_id.is_none().then(|| key.digest(secret.as_bytes()));
        found.push(Credential { scheme: scheme.to_owned(), key_id, digest });
    }
    let signed = found.iter().any(|c| c.key_id.is_some());
    let (documented_headers, documented_parameters) = match target {
        Target::Operation(operation, _) => {
            (operation.headers.as_slice(), operation.query.as_slice())
        }
        _ => (&[][..], &[][..]),
    };
    let token = |name: &str, token: &str| Credential {
        scheme: name.to_owned(),
        key_id: None,
        digest: Some(key.digest(token.as_bytes())),
    };
    found.extend(known.headers.iter().filter_map(|name| Some(token(name, head.header(name)?))));
    let is_documented =
        |fields: &[Field], name: &str| fields.iter().any(|field| field.name == name);
    for name in head.headers.keys().map(http::HeaderName::as_str) {
        let taken = name == "authorization"
            || known.headers.iter().any(|known| known == name)
            || is_documented(documented_headers, name);
        if !taken && is_foreign(name, signed, verified) {
            found.push(token(printable(name).as_str(), head.header(name).unwrap_or_default()));
        }
    }
    for part in head.query().into_iter().flat_map(|q| q.split(['&', ';'])) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // The cloud decodes names as it decodes values.
        let Some(name) = percent_decode(name) else { continue };
        if known.parameters.contains(&name)
            || (is_credential(&name) && !is_documented(documented_parameters, &name))
        {
            found.extend(percent_decode(value).map(|value| token(&printable(&name), &value)));
        }
    }
    found
}

/// Families of signatures that bring headers of their own, and what these begin with.
const COMPANIONS: &[(&str, &str)] = &[("ACS3", "x-acs-"), ("SDK", "x-sdk-"), ("AWS4", "x-amz-")];

/// Whether a header that no document names is a credential, or goes with one, that the service does
/// not take so.
fn is_foreign(name: &str, signed: bool, verified: &Credentials) -> bool {
    let takes = |family: &str| verified.signatures.iter().any(|known| known == family);
    // The token of a temporary key counts with that key's signature, and alone for nothing.
    match name {
        "x-security-token" => return !(signed && (takes("SDK") || takes("V11"))),
        "x-acs-security-token" => return !(signed && takes("ACS3")),
        // How the SDK came by its key, in a word.
        "x-acs-credentials-provider" => return !takes("ACS3"),
        "x-amz-security-token" => return !(signed && takes("AWS4")),
        _ => {}
    }
    let companion = COMPANIONS.iter().find(|(_, start)| name.starts_with(start));
    companion.is_some_and(|(family, _)| !takes(family)) || is_credential(name)
}

#[cfg(test)]
mod tests;
