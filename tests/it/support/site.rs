//! An installation in a temporary folder: configuration, catalogue, policies, callers and keys.

use super::{Gateway, Trail};
use keyward_core::secret::DigestKey;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// The token of the one caller that every site knows.
pub const TOKEN: &str = "MIITESTTOKENOFTHEONLYCALLER00001";
/// The access key id of the same caller.
pub const ACCESS_KEY: &str = "AKTESTCALLER";

/// An installation. Its gateway can be started, ended and started again.
pub struct Site {
    dir: tempfile::TempDir,
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// Where its admin listens.
    pub admin: SocketAddr,
    /// The trail's folder.
    pub audit: PathBuf,
    /// The key of its digests.
    pub key: DigestKey,
}

impl Site {
    /// A site with the test service behind it.
    pub fn new(upstream: SocketAddr) -> Self {
        let site = Self::empty();
        let apis = site.dir.path().join("apis");
        let policies = site.dir.path().join("policies");
        std::fs::create_dir_all(&apis).unwrap();
        std::fs::create_dir_all(&policies).unwrap();
        std::fs::write(apis.join("blobs.yaml"), include_str!("blobs.yaml")).unwrap();
        std::fs::write(policies.join("blobs.cedar"), include_str!("blobs.cedar")).unwrap();
        site.configure(&apis, &policies, &["testers"], r#"["blobs.example.com"]"#, upstream);
        site
    }

    /// A site with the catalogue and the policies that ship, whose caller may do all that no rule
    /// forbids.
    pub fn shipped(upstream: SocketAddr) -> Self {
        let site = Self::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let hosts = r#"["*.*.myhuaweicloud.com", "openapi-rdc.aliyuncs.com", "devops.*.aliyuncs.com", "codeup.example.com"]"#;
        site.configure(
            &root.join("config/apis"),
            &root.join("policies"),
            &["platform-admins", "key-admins"],
            hosts,
            upstream,
        );
        site
    }

    /// A site with the catalogue that ships, and no rule: what a cloud may answer reaches the
    /// caller.
    pub fn without_rules(upstream: SocketAddr) -> Self {
        let site = Self::empty();
        let policies = site.path("policies");
        std::fs::create_dir_all(&policies).unwrap();
        let policy =
            "@id(\"all\")\n@message(\"All may.\")\npermit (principal, action, resource);\n";
        std::fs::write(policies.join("all.cedar"), policy).unwrap();
        let hosts = r#"["*.*.myhuaweicloud.com", "openapi-rdc.aliyuncs.com", "devops.*.aliyuncs.com", "codeup.example.com"]"#;
        site.configure(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("config/apis"),
            &policies,
            &["platform-admins"],
            hosts,
            upstream,
        );
        site
    }

    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = "0123456789abcdef".repeat(4);
        std::fs::write(dir.path().join("digest.key"), &key).unwrap();
        std::fs::set_permissions(
            dir.path().join("digest.key"),
            std::fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        let key = DigestKey::open(&dir.path().join("digest.key")).unwrap();
        Self {
            address: free_address(),
            admin: free_address(),
            audit: dir.path().join("audit"),
            key,
            dir,
        }
    }

    fn configure(
        &self,
        apis: &Path,
        policies: &Path,
        groups: &[&str],
        hosts: &str,
        upstream: SocketAddr,
    ) {
        let mut callers = r#"groups = ["testers", "platform-admins", "key-admins", "image-admins", "phone-ops", "codeup-developers", "auditors"]"#.to_owned();
        let token = self.key.digest(TOKEN.as_bytes());
        write!(callers, "\n[callers.tester]\nkind = 'robot'\ngroups = {groups:?}\naccess_keys = [{ACCESS_KEY:?}]\ntokens = [{token:?}]\n").unwrap();
        std::fs::write(self.path("callers.toml"), callers).unwrap();
        let (address, admin) = (self.address, self.admin);
        let (apis, policies) = (apis.display(), policies.display());
        // Nothing listens on port 1: the service that is down.
        let text = format!(
            r#"
[gateway]
threads = 2
drain_seconds = 15
[[listener]]
address = "{address}"
[admin]
address = "{admin}"
[catalog]
dir = "{apis}"
[callers]
file = "callers.toml"
[policies]
dir = "{policies}"
[audit]
dir = "audit"
digest_key_file = "digest.key"
ballast = "1MiB"
[limits]
body_bytes_max = 10485760
[upstreams]
connect_ms = 2000
read_ms = 15000
[[upstream]]
hosts = {hosts}
url = "http://{upstream}"
[[upstream]]
hosts = ["down.example.com"]
url = "http://127.0.0.1:1"
"#
        );
        std::fs::write(self.path("keyward.toml"), text).unwrap();
    }

    /// Writes something else into the configuration.
    pub fn rewrite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("keyward.toml")).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(self.path("keyward.toml"), text.replacen(from, to, 1)).unwrap();
    }

    /// Adds to the configuration.
    pub fn append(&self, text: &str) {
        let before = std::fs::read_to_string(self.path("keyward.toml")).unwrap();
        std::fs::write(self.path("keyward.toml"), before + text).unwrap();
    }

    /// A file of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the gateway and waits until it takes calls.
    pub fn serve(&self) -> Gateway {
        self.serve_with(&[])
    }

    /// The same with settings of the command line: `section.key=value`.
    pub fn serve_with(&self, sets: &[&str]) -> Gateway {
        Gateway::start(self, sets)
    }

    /// The same with other arguments of the command line.
    pub fn serve_args(&self, args: &[&str]) -> Gateway {
        Gateway::start_args(self, args)
    }

    /// The trail of the stopped gateway.
    pub fn trail(&self) -> Trail {
        Trail::read(&self.audit)
    }

    /// Waits until the log has these words: a thread of its own writes it.
    #[track_caller]
    pub fn logs(&self, words: &str) {
        super::eventually(&format!("the log has `{words}`"), || self.log().contains(words));
    }

    /// All that its gateways have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap()
    }
}

/// An address that is free now and that the system gives to nobody who does not ask for it.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // A stretch of its own for each process: until the gateway binds a port, another test would
    // find it free too.
    let start = std::process::id() * 64;
    loop {
        let port = 10_000
            + u16::try_from((start + u32::from(NEXT.fetch_add(1, Ordering::SeqCst))) % 20_000)
                .unwrap();
        if let Ok(probe) = TcpListener::bind(("127.0.0.1", port)) {
            return probe.local_addr().unwrap();
        }
    }
}
