//! A real rsyslog as a receiver by TLS.

use super::{Site, eventually, skipped};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// A running rsyslog, configured as it comes: with its queue in memory. Dropped, it is killed.
pub struct Rsyslog(Child);

impl Rsyslog {
    /// Whether it is installed with this driver for TLS; says so when it is not.
    pub fn is_there(test: &str, driver: &str) -> bool {
        let mut libraries = std::fs::read_dir("/usr/lib").unwrap().map_while(Result::ok);
        let there = libraries
            .any(|library| library.path().join(format!("rsyslog/lmnsd_{driver}.so")).exists());
        if !there {
            skipped(
                test,
                &format!(
                    "rsyslog with its driver `{driver}` is not installed (rsyslog, rsyslog-gnutls, rsyslog-openssl)"
                ),
            );
        }
        there
    }

    /// Makes its certificate: `rsyslog/cert.pem`.
    pub fn prepare(site: &Site) {
        std::fs::create_dir_all(site.path("rsyslog")).unwrap();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(site.path("rsyslog/cert.pem"), cert.pem()).unwrap();
        std::fs::write(site.path("rsyslog/key.pem"), signing_key.serialize_pem()).unwrap();
    }

    pub fn start(site: &Site, port: u16, driver: &str) -> Self {
        let dir = site.path("rsyslog");
        let dir = dir.to_str().unwrap();
        let config = format!(
            "global(workDirectory=\"{dir}\" maxMessageSize=\"64k\" DefaultNetstreamDriverCAFile=\"{dir}/cert.pem\"\n\
             DefaultNetstreamDriverCertFile=\"{dir}/cert.pem\" DefaultNetstreamDriverKeyFile=\"{dir}/key.pem\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"{driver}\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             template(name=\"text\" type=\"string\" string=\"%msg%\\n\")\n\
             *.* action(type=\"omfile\" file=\"{dir}/received\" template=\"text\")\n"
        );
        std::fs::write(format!("{dir}/rsyslog.conf"), config).unwrap();
        let log =
            std::fs::File::options().create(true).append(true).open(format!("{dir}/log")).unwrap();
        let mut command = Command::new("rsyslogd");
        command
            .args(["-n", "-f", &format!("{dir}/rsyslog.conf"), "-i", &format!("{dir}/pid")])
            .stdin(Stdio::null());
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// What it has written.
    pub fn received(site: &Site) -> String {
        String::from_utf8_lossy(&std::fs::read(site.path("rsyslog/received")).unwrap_or_default())
            .into_owned()
    }

    /// Ends it in order, as an operator's restart does.
    pub fn stop(mut self) {
        kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), Signal::TERM)
            .unwrap();
        eventually("rsyslog ends", || self.0.try_wait().unwrap().is_some());
        let status = self.0.wait().unwrap();
        assert!(status.success() || status.signal() == Some(15), "{status}");
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
