//! `[evidence]`: as written, and as meant.

use super::form;
use crate::client::Url;
use crate::client::credential::{Credential, Written};
use crate::evidence::key::{CREDENTIAL, WitnessKey};
use crate::evidence::{OffHost, Settings, WitnessAt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HTTP: &[(&str, u16)] = &[("https", 443), ("http", 80)];
const SYSLOG: &[(&str, u16)] = &[("tls", 6514), ("tcp", 601), ("udp", 514)];

/// A key, and what is wrong with its value.
type Wrong = (&'static str, String);

/// The section as meant.
pub fn settings(form: &form::Evidence, base: &Path, audit_dir: &Path) -> Result<Settings, Wrong> {
    let key_file = form.key_file.as_ref().map_or_else(|| default_key_file(audit_dir), |file| base.join(file));
    if key_file.starts_with(audit_dir) {
        return Err(("evidence.key_file", format!("`{}` lies in the trail's own folder: whoever copies the trail would have its key too", key_file.display())));
    }
    let every = |seconds: u64| Duration::from_secs(seconds.max(1));
    let off_host = OffHost {
        every: every(form.off_host_every_seconds),
        directory: form.directory.as_ref().map(|dir| base.join(dir)),
        webhook: form.webhook.as_ref().map(|text| url("evidence.webhook", text, HTTP)).transpose()?,
        webhook_credential: credential(form, base)?,
        syslog: form.syslog.as_ref().map(|text| url("evidence.syslog", text, SYSLOG)).transpose()?,
        witnesses: form.witness.iter().map(witness).collect::<Result<_, _>>()?,
        ca_file: form.ca_file.as_ref().map(|file| base.join(file)),
    };
    Ok(Settings { key_file, origin: form.origin.clone(), every: every(form.every_seconds), accept: None, off_host })
}

/// Where the signing key lies when nothing says where: beside the trail's folder, not in it, so that a copy of the trail
/// does not carry it; or where systemd has put it.
fn default_key_file(audit_dir: &Path) -> PathBuf {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| PathBuf::from(dir).join(CREDENTIAL));
    let beside = || audit_dir.parent().unwrap_or(Path::new(".")).join("evidence.key");
    credential.filter(|path| path.exists()).unwrap_or_else(beside)
}

fn url(key: &'static str, text: &str, schemes: &[(&str, u16)]) -> Result<Url, Wrong> {
    let wanted = || schemes.iter().map(|(scheme, _)| format!("{scheme}://")).collect::<Vec<_>>().join(", ");
    Url::parse(text, schemes).ok_or_else(|| (key, format!("`{text}` is no URL for this: it begins with one of {}", wanted())))
}

/// What lets the webhook take checkpoints.
fn credential(form: &form::Evidence, base: &Path) -> Result<Credential, Wrong> {
    let written = Written {
        token_file: form.webhook_token_file.as_ref().map(|file| base.join(file)),
        token_header: form.webhook_token_header.clone(),
        token_scheme: form.webhook_token_scheme.clone(),
        headers: form.webhook_headers.clone(),
    };
    let key = |key| match key {
        "token_header" => "evidence.webhook_token_header",
        "token_scheme" => "evidence.webhook_token_scheme",
        _ => "evidence.webhook_headers",
    };
    Credential::read(written).map_err(|(name, why)| (key(name), why))
}

fn witness(form: &form::Witness) -> Result<WitnessAt, Wrong> {
    let key = WitnessKey::parse(&form.key).map_err(|error| ("evidence.witness.key", error.to_string()))?;
    Ok(WitnessAt { url: url("evidence.witness.url", &form.url, HTTP)?, key, every: Duration::from_secs(form.every_seconds.max(1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Wrong> {
        settings(&toml::from_str(text).unwrap(), Path::new("/etc/keyward"), Path::new("/var/lib/keyward/audit"))
    }

    #[test]
    fn the_key_lies_apart_from_the_trail() {
        assert_eq!(read("").unwrap().key_file, Path::new("/var/lib/keyward/evidence.key"));
        assert_eq!(read("key_file = 'k'").unwrap().key_file, Path::new("/etc/keyward/k"));
        let (key, why) = read("key_file = '/var/lib/keyward/audit/k'").unwrap_err();
        assert!(key == "evidence.key_file" && why.contains("the trail's own folder"), "{why}");
    }

    #[test]
    fn places_are_checked_before_anything_starts() {
        assert_eq!(read("syslog = 'tls://logs.example'").unwrap().off_host.syslog.unwrap().port, 6514);
        for (text, wanted) in [
            ("syslog = 'https://logs.example'", "evidence.syslog"),
            ("webhook = 'logs.example/x'", "evidence.webhook"),
            ("webhook_token_file = 't'\nwebhook_token_header = 'Content-Length'", "evidence.webhook_token_header"),
            ("witness = [{url = 'https://w.example', key = 'w.example+00000000+AAAA'}]", "evidence.witness.key"),
        ] {
            assert_eq!(read(text).unwrap_err().0, wanted);
        }
    }
}
