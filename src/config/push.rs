//! `[[push]]` as meant.

use super::{clash, form, wrong};
use crate::push::{SCHEMES, Settings};
use keyward_core::written::Written;
use keyward_delivery::client::Url;
use keyward_delivery::client::credential::{self, Credential};
use keyward_trail::export::format::ExportFormat;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Longer than a receiver that works needs to write down what it has read.
const RESEND_SECONDS: u64 = 10;

/// Every push that is right; tells what is wrong with the others.
pub(super) fn read(base: &Path, pushes: Vec<form::Push>, told: &mut Written<'_>) -> Vec<Settings> {
    let mut names = BTreeSet::new();
    pushes
        .into_iter()
        .enumerate()
        .filter_map(|(i, push)| one(base, push, &format!("push.{i}"), &mut names, told))
        .collect()
}

fn one(
    base: &Path,
    push: form::Push,
    at: &str,
    names: &mut BTreeSet<String>,
    told: &mut Written<'_>,
) -> Option<Settings> {
    let mut wrongs = Vec::new();
    let plain = !push.name.is_empty()
        && push.name.len() <= 64
        && push.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain {
        wrongs.push((
            "name",
            format!(
                "`{}` names a file and a metric: use a to z, 0 to 9 and `-`, at most 64 of them",
                push.name
            ),
        ));
    } else if !names.insert(push.name.clone()) {
        wrongs.push((
            "name",
            format!("`{}` is the name of two pushes, which would share a cursor", push.name),
        ));
    }
    let webhook = push.url.starts_with("https://");
    let to = Url::parse(&push.url, SCHEMES).filter(|to| webhook || to.path == "/");
    if to.is_none() {
        let why = format!(
            "`{}` must be tls://NAME[:PORT], for syslog, or https://NAME[:PORT][/PATH], without a login",
            push.url
        );
        wrongs.push(("url", why));
    }
    let form = ExportFormat::parse(&push.form).filter(|form| *form != ExportFormat::Csv);
    if form.is_none() {
        wrongs.push((
            "form",
            format!("`{}` cannot be pushed: use `ndjson`, `exchange`, `ocsf` or `cadf`", push.form),
        ));
    }
    for (key, why) in wrongs.drain(..) {
        wrong(told, &format!("{at}.{key}"), why);
    }
    let to = to?;
    // What goes with what hangs on the kind of receiver, which is known from here on.
    let identity = match (push.certificate_file, push.key_file) {
        (Some(certificate), Some(key)) => Some((base.join(certificate), base.join(key))),
        (None, None) => None,
        _ => {
            wrongs.push((
                "key_file",
                "a client certificate needs both `certificate_file` and `key_file`".to_owned(),
            ));
            None
        }
    };
    let token_file = push.token_file.map(|file| base.join(file));
    let mut credential = None;
    if webhook || (token_file.is_none() && push.headers.is_empty()) {
        let written = credential::Written {
            token_file,
            token_header: push.token_header,
            token_scheme: push.token_scheme,
            headers: push.headers,
        };
        credential = Credential::read(written).map_err(|more| wrongs.extend(more)).ok();
    } else {
        let key = if token_file.is_some() { "token_file" } else { "headers" };
        wrongs.push((
            key,
            "syslog knows no token and no headers: use a client certificate".to_owned(),
        ));
    }
    if webhook && push.accept_bare_close {
        wrongs.push(("accept_bare_close", "a webhook confirms by its status".to_owned()));
    }
    if webhook && push.resend_seconds.is_some() {
        wrongs.push((
            "resend_seconds",
            "a webhook confirms by its status: nothing of it is sent again".to_owned(),
        ));
    }
    for (key, why) in wrongs {
        clash(told, at, &format!("{at}.{key}"), why);
    }
    let resend = if webhook { 0 } else { push.resend_seconds.unwrap_or(RESEND_SECONDS) };
    Some(Settings {
        name: push.name,
        to,
        form: form?,
        ca_file: push.ca_file.map(|file| base.join(file)),
        identity,
        credential: credential?,
        accept_bare_close: push.accept_bare_close,
        resend: Duration::from_secs(resend),
    })
}
