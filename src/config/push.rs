//! `[[push]]` as meant.

use super::form;
use crate::audit::form::RecordForm;
use crate::client::Url;
use crate::client::credential::{Credential, Written};
use crate::push::{SCHEMES, Settings};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Longer than a receiver that works needs to write down what it has read.
const RESEND_SECONDS: u64 = 10;

/// Checks every push. An error names the key.
pub(super) fn read(base: &Path, pushes: Vec<form::Push>) -> Result<Vec<Settings>, (String, String)> {
    let mut names = BTreeSet::new();
    let wrong = |key: &str, why: String| (format!("push.{key}"), why);
    let mut read = Vec::new();
    for push in pushes {
        let plain = !push.name.is_empty() && push.name.len() <= 64 && push.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain {
            return Err(wrong("name", format!("`{}` names a file and a metric: use a to z, 0 to 9 and `-`, at most 64 of them", push.name)));
        }
        if !names.insert(push.name.clone()) {
            return Err(wrong("name", format!("`{}` is the name of two pushes, which would share a cursor", push.name)));
        }
        let webhook = push.url.starts_with("https://");
        let Some(to) = Url::parse(&push.url, SCHEMES).filter(|to| webhook || to.path == "/") else {
            let why = format!("`{}` must be tls://NAME[:PORT], for syslog, or https://NAME[:PORT][/PATH], without a login", push.url);
            return Err(wrong("url", why));
        };
        let form = match RecordForm::parse(&push.form) {
            Some(form) if form != RecordForm::Csv => form,
            _ => return Err(wrong("form", format!("`{}` cannot be pushed: use `ndjson`, `exchange`, `ocsf` or `cadf`", push.form))),
        };
        let identity = match (push.certificate_file, push.key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((base.join(certificate), base.join(key))),
            _ => return Err(wrong("key_file", "a client certificate needs both `certificate_file` and `key_file`".to_owned())),
        };
        if !webhook && (push.token_file.is_some() || !push.headers.is_empty()) {
            let key = if push.token_file.is_some() { "token_file" } else { "headers" };
            return Err(wrong(key, "syslog knows no token and no headers: use a client certificate".to_owned()));
        }
        let token_file = push.token_file.map(|file| base.join(file));
        let written = Written { token_file, token_header: push.token_header, token_scheme: push.token_scheme, headers: push.headers };
        let credential = Credential::read(written).map_err(|(key, why)| wrong(key, why))?;
        if webhook && push.accept_bare_close {
            return Err(wrong("accept_bare_close", "a webhook confirms by its status".to_owned()));
        }
        if webhook && push.resend_seconds.is_some() {
            return Err(wrong("resend_seconds", "a webhook confirms by its status: nothing of it is sent again".to_owned()));
        }
        let resend = if webhook { 0 } else { push.resend_seconds.unwrap_or(RESEND_SECONDS) };
        read.push(Settings {
            name: push.name,
            to,
            form,
            ca_file: push.ca_file.map(|file| base.join(file)),
            identity,
            credential,
            accept_bare_close: push.accept_bare_close,
            resend: Duration::from_secs(resend),
        });
    }
    Ok(read)
}
