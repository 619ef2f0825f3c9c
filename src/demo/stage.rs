//! The demo's stage: a working folder with the shipped catalogue and policies, and a configuration
//! for the sandbox.

use super::Options;
use super::calls::CREDENTIALS;
use crate::builtin;
use anyhow::Context;
use keyward_core::secret::DigestKey;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// What the demo works with.
pub struct Stage {
    /// The configuration file.
    pub config: PathBuf,
    dir: PathBuf,
}

impl Stage {
    /// Writes the working folder; gives the sandbox clouds' listener with it.
    ///
    /// # Errors
    /// When it cannot be written, or loopback has no free port.
    pub fn build(options: &Options) -> anyhow::Result<(Self, TcpListener)> {
        let dir = options.dir.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("keyward-demo-{}", std::process::id()))
        });
        builtin::write(&dir).with_context(|| format!("the demo's folder {}", dir.display()))?;
        let sandbox = TcpListener::bind("127.0.0.1:0")?;
        // A port on which nothing listens: the cloud that is down.
        let down = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let key = DigestKey::open_or_create(&dir.join("digest.key"))?;
        std::fs::write(dir.join("callers.toml"), callers(&key))?;
        let config = dir.join("keyward.toml");
        std::fs::write(
            &config,
            configuration(options, &sandbox.local_addr()?.to_string(), &down.to_string()),
        )?;
        Ok((Self { config, dir }, sandbox))
    }

    /// The working folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes the folder, unless the user named it.
    pub fn clear(&self, options: &Options) {
        if options.dir.is_none() {
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}

fn callers(key: &DigestKey) -> String {
    let mut text = format!("groups = {:?}\n", builtin::GROUPS);
    for (name, groups, access_key, token) in CREDENTIALS {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[callers.{name}]\nkind = \"robot\"\ngroups = {groups:?}\n");
        if !access_key.is_empty() {
            let _ = writeln!(text, "access_keys = [{access_key:?}]");
        }
        if !token.is_empty() {
            let _ = writeln!(text, "tokens = [{:?}]", key.digest(token.as_bytes()));
        }
    }
    text
}

fn configuration(options: &Options, sandbox: &str, down: &str) -> String {
    format!(
        r#"# Written by `keyward demo`.
[[listener]]
address = "{listen}"

[admin]
address = "{admin}"

[[service]]
name = "alibaba.codeup"
hosts = ["codeup.example.com"]

[policies]
dir = "policies"

[audit]
dir = "audit"
digest_key_file = "digest.key"
ballast = 0

[upstreams]
connect_ms = 2000
read_ms = 10000

# A region that is down.
[[upstream]]
hosts = ["cph.cn-south-1.myhuaweicloud.com"]
url = "http://{down}"

# Everything else is the sandbox.
[[upstream]]
hosts = ["*.*.myhuaweicloud.com", "openapi-rdc.aliyuncs.com", "devops.*.aliyuncs.com", "codeup.example.com"]
url = "http://{sandbox}"
"#,
        listen = options.listen,
        admin = options.admin,
    )
}
