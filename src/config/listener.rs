//! `[[listener]]` as meant.

use super::form::{self, ClientCertificates};
use super::{Listener, clash, wrong};
use crate::listen::source::Peers;
use crate::listen::tls;
use crate::proxy::health::Health;
use keyward_core::written::Written;
use std::path::Path;

/// One listener as meant, when its TLS and its health are. Told is whether it would take plain HTTP
/// from the network without being asked to in so many words.
pub(super) fn read(
    base: &Path,
    form: form::Listener,
    at: &str,
    told: &mut Written<'_>,
) -> Option<Listener> {
    let address = form.address;
    let loopback = address.ip().to_canonical().is_loopback();
    if form.tls.is_none() && !loopback && !form.plain_http_beyond_loopback {
        let why = format!(
            "{address} would take calls and their credentials in clear from the network: give it `[listener.tls]`, or say `plain_http_beyond_loopback = true`"
        );
        wrong(told, at, why);
    }
    if form.tls.is_some() && form.plain_http_beyond_loopback {
        wrong(
            told,
            at,
            format!(
                "{address} has both `[listener.tls]` and `plain_http_beyond_loopback`: it can be only one"
            ),
        );
    }
    let networks =
        |some: Vec<form::Network>| Peers(some.into_iter().map(|network| network.0).collect());
    let tls = form.tls.map(|tls| tls_settings(base, tls)).transpose();
    let health = health(form.health_path, networks(form.health_from));
    let mut sound =
        |scope: &str, key: &str, why: &str| clash(told, scope, key, format!("{address}: {why}"));
    let tls =
        tls.map_err(|(key, why)| sound(&format!("{at}.tls"), &format!("{at}.tls.{key}"), &why));
    let health = health
        .map_err(|(scope, key, why)| sound(&format!("{at}{scope}"), &format!("{at}.{key}"), &why));
    let (proxies, forwarders) =
        (networks(form.proxy_protocol_from), networks(form.forwarded_for_from));
    Some(Listener {
        address,
        service: form.service,
        tls: tls.ok()?,
        proxies,
        forwarders,
        health: health.ok()?,
    })
}

/// What a listener answers of its health.
///
/// # Errors
/// When the path is none, or is missing: what must be known for that, the key, and why.
fn health(
    path: Option<String>,
    from: Peers,
) -> Result<Option<Health>, (&'static str, &'static str, String)> {
    let plain = |path: &str| {
        path.len() > 1
            && path.starts_with('/')
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b))
    };
    match path {
        None if from.0.is_empty() => Ok(None),
        None => Err(("", "health_from", "`health_from` is there, but no `health_path`: say what is asked for, such as `/healthz`".to_owned())),
        Some(path) if plain(&path) => Ok(Some(Health { path, from })),
        Some(path) => {
            Err((".health_path", "health_path", format!("`health_path` cannot be `{path}`: write a path of letters, digits and `/-_.`, such as `/healthz`")))
        }
    }
}

/// A listener's TLS.
///
/// # Errors
/// When it says half of what it must: the key, and why.
fn tls_settings(base: &Path, form: form::Tls) -> Result<tls::Settings, (&'static str, String)> {
    if form.certificates.is_empty() {
        return Err((
            "certificates",
            "`tls.certificates` is empty: add { chain = \"…\", key = \"…\" }".to_owned(),
        ));
    }
    let clients = match (form.client_certificates, form.client_ca_file) {
        (ClientCertificates::None, None) => tls::Clients::NotAsked,
        (ClientCertificates::None, Some(_)) => {
            return Err(("client_ca_file", "`tls.client_ca_file` is there, but `tls.client_certificates` is not `optional` or `required`".to_owned()));
        }
        (_, None) => {
            return Err(("client_certificates", "`tls.client_certificates` needs `tls.client_ca_file`: the CA whose certificates count".to_owned()));
        }
        (ClientCertificates::Optional, Some(ca)) => tls::Clients::Optional(base.join(ca)),
        (ClientCertificates::Required, Some(ca)) => tls::Clients::Required(base.join(ca)),
    };
    let certificates = form
        .certificates
        .into_iter()
        .map(|c| tls::KeyPair { chain: base.join(c.chain), key: base.join(c.key) })
        .collect();
    Ok(tls::Settings { certificates, clients })
}
