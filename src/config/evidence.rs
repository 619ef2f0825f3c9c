//! `[evidence]`: as written, and as meant.

use super::{clash, form, wrong};
use crate::evidence::{OffHost, Settings, WitnessAt};
use keyward_core::written::Written;
use keyward_delivery::client::Url;
use keyward_delivery::client::credential::{self, Credential};
use keyward_tlog::key::{CREDENTIAL, WitnessKey};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HTTP: &[(&str, u16)] = &[("https", 443), ("http", 80)];
const SYSLOG: &[(&str, u16)] = &[("tls", 6514), ("tcp", 601), ("udp", 514)];

/// The section as meant, without what is wrong with it.
pub(super) fn settings(
    form: &form::Evidence,
    base: &Path,
    audit_dir: &Path,
    told: &mut Written<'_>,
) -> Settings {
    let key_file =
        form.key_file.as_ref().map_or_else(|| default_key_file(audit_dir), |file| base.join(file));
    if key_file.starts_with(audit_dir) {
        let why = format!(
            "`{}` lies in the trail's own folder: whoever copies the trail would have its key too",
            key_file.display()
        );
        wrong(told, "evidence.key_file", why);
    }
    let every = |seconds: u64| Duration::from_secs(seconds.max(1));
    let off_host = OffHost {
        every: every(form.off_host_every_seconds),
        directory: form.directory.as_ref().map(|dir| base.join(dir)),
        webhook: form.webhook.as_ref().and_then(|text| url("evidence.webhook", text, HTTP, told)),
        webhook_credential: credential(form, base, told),
        syslog: form.syslog.as_ref().and_then(|text| url("evidence.syslog", text, SYSLOG, told)),
        witnesses: form
            .witness
            .iter()
            .enumerate()
            .filter_map(|(i, form)| witness(form, &format!("evidence.witness.{i}"), told))
            .collect(),
        ca_file: form.ca_file.as_ref().map(|file| base.join(file)),
    };
    Settings {
        key_file,
        origin: form.origin.clone(),
        every: every(form.every_seconds),
        accept: None,
        off_host,
    }
}

/// Where the signing key lies when nothing says where: beside the trail's folder, not in it, so
/// that a copy of the trail does not carry it; or where systemd has put it.
fn default_key_file(audit_dir: &Path) -> PathBuf {
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| PathBuf::from(dir).join(CREDENTIAL));
    let beside = || audit_dir.parent().unwrap_or(Path::new(".")).join("evidence.key");
    credential.filter(|path| path.exists()).unwrap_or_else(beside)
}

fn url(key: &str, text: &str, schemes: &[(&str, u16)], told: &mut Written<'_>) -> Option<Url> {
    let url = Url::parse(text, schemes);
    if url.is_none() {
        let wanted =
            schemes.iter().map(|(scheme, _)| format!("{scheme}://")).collect::<Vec<_>>().join(", ");
        wrong(told, key, format!("`{text}` is no URL for this: it begins with one of {wanted}"));
    }
    url
}

/// What lets the webhook take checkpoints.
fn credential(form: &form::Evidence, base: &Path, told: &mut Written<'_>) -> Credential {
    let written = credential::Written {
        token_file: form.webhook_token_file.as_ref().map(|file| base.join(file)),
        token_header: form.webhook_token_header.clone(),
        token_scheme: form.webhook_token_scheme.clone(),
        headers: form.webhook_headers.clone(),
    };
    Credential::read(written).unwrap_or_else(|wrongs| {
        wrongs.into_iter().for_each(|(key, why)| {
            clash(told, "evidence", &format!("evidence.webhook_{key}"), why)
        });
        Credential::default()
    })
}

fn witness(form: &form::Witness, at: &str, told: &mut Written<'_>) -> Option<WitnessAt> {
    let key = WitnessKey::parse(&form.key)
        .map_err(|error| wrong(told, &format!("{at}.key"), error.to_string()));
    let url = url(&format!("{at}.url"), &form.url, HTTP, told);
    Some(WitnessAt {
        url: url?,
        key: key.ok()?,
        every: Duration::from_secs(form.every_seconds.max(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let text = format!("[evidence]\n{text}\n");
        let mut told = Written::parse("k.toml", &text).unwrap();
        let form: form::Form = told.read();
        let settings = settings(
            &form.evidence,
            Path::new("/etc/keyward"),
            Path::new("/var/lib/keyward/audit"),
            &mut told,
        );
        match told.into_mistakes().as_slice() {
            [] => Ok(settings),
            [one] => Err(one.to_string()),
            several => panic!("{several:?}"),
        }
    }

    #[test]
    fn the_key_lies_apart_from_the_trail() {
        assert_eq!(read("").unwrap().key_file, Path::new("/var/lib/keyward/evidence.key"));
        assert_eq!(read("key_file = 'k'").unwrap().key_file, Path::new("/etc/keyward/k"));
        let said = read("key_file = '/var/lib/keyward/audit/k'").unwrap_err();
        assert!(
            said.starts_with("k.toml:2:1: evidence.key_file: ")
                && said.contains("the trail's own folder"),
            "{said}"
        );
    }

    #[test]
    fn places_are_checked_before_anything_starts() {
        assert_eq!(
            read("syslog = 'tls://logs.example'").unwrap().off_host.syslog.unwrap().port,
            6514
        );
        for (text, wanted) in [
            ("syslog = 'https://logs.example'", "evidence.syslog"),
            ("webhook = 'logs.example/x'", "evidence.webhook"),
            (
                "webhook_token_file = 't'\nwebhook_token_header = 'Content-Length'",
                "evidence.webhook_token_header",
            ),
            (
                "witness = [{url = 'https://w.example', key = 'w.example+00000000+AAAA'}]",
                "evidence.witness.key",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(&format!(": {wanted}: ")), "{said}");
        }
    }
}
