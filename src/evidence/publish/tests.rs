//! Real sockets and real files: what arrives, and what happens when nobody takes it.

use super::*;
use keyward_delivery::client::credential::{Credential, Written};
use keyward_delivery::client::{Tls, Url};
use keyward_tlog::key::SigningKey;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use tlog_tiles::Hash;

fn signed(size: u64, root: u8) -> Arc<Signed> {
    let key = SigningKey::generate("example.com/log").unwrap().0;
    Arc::new(Signed::sign(size, Hash([root; 32]), &[&key]).unwrap())
}

fn url(text: &str) -> Url {
    Url::parse(text, &[("http", 80), ("https", 443), ("udp", 514), ("tcp", 601), ("tls", 6514)])
        .unwrap()
}

/// An HTTP server that answers each request with the next of `statuses` and tells what came.
fn server(statuses: &'static [u16]) -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).unwrap();
            }
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .unwrap()
                .split("\r\n")
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream
                .get_mut()
                .write_all(
                    format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n").as_bytes(),
                )
                .unwrap();
            tell.send((head, String::from_utf8(body).unwrap())).unwrap();
        }
    });
    (port, told)
}

#[test]
fn a_folder_has_the_newest_one_of_each_hour_and_what_was_disowned() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = Directory::new(dir.path());
    assert!(Directory::known(dir.path()).unwrap().is_none());
    assert!(Directory::known(&dir.path().join("not-mounted")).is_err());
    let notes: Vec<_> = [signed(5, 1), signed(9, 2), signed(7, 3), signed(7, 4)]
        .into_iter()
        .inspect(|signed| place.publish(signed).unwrap())
        .collect();
    assert_eq!(Directory::known(dir.path()).unwrap().unwrap().note, notes[3].bytes());
    assert_eq!(std::fs::read(dir.path().join("checkpoint.disowned.9")).unwrap(), notes[1].bytes());
    assert_eq!(std::fs::read(dir.path().join("checkpoint.disowned.7")).unwrap(), notes[2].bytes());
    let hours: Vec<_> = std::fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // The hour may have changed in between.
    assert!((1..=2).contains(&hours.len()), "{hours:?}");
    assert_eq!(std::fs::read(hours.iter().min().unwrap()).unwrap(), notes[0].bytes());
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(Directory::known(dir.path()).unwrap().unwrap().place.contains("checkpoints/"));
    assert!(Directory::new(&dir.path().join("not-mounted")).publish(&notes[0]).is_err());
    assert!(!dir.path().join("not-mounted").exists());
}

#[test]
fn a_webhook_gets_the_note_and_the_token_and_must_say_yes() {
    let dir = tempfile::tempdir().unwrap();
    let (port, told) = server(&[204, 500]);
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "s3cret\n").unwrap();
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let credential =
        Credential::read(Written { token_file: Some(token_file), ..Written::default() }).unwrap();
    let mut place = Webhook {
        url: url(&format!("http://127.0.0.1:{port}/a?b=c")),
        tls: None,
        credential,
        any_success: true,
    };
    let note = signed(5, 1);
    place.publish(&note).unwrap();
    let (head, body) = told.recv().unwrap();
    assert!(
        head.starts_with("POST /a?b=c HTTP/1.1\r\n")
            && head.to_ascii_lowercase().contains("authorization: bearer s3cret\r\n"),
        "{head}"
    );
    assert_eq!(body, note.to_string());
    let error = place.publish(&note).unwrap_err();
    assert!(format!("{error:#}").contains("answered 500"), "{error:#}");
    assert!(place.publish(&note).is_err(), "nobody listens any more");
}

#[test]
fn syslog_gets_one_line_over_udp_and_counted_octets_over_tcp() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let note = signed(5, 1);
    Syslog { url: url(&format!("udp://{}", udp.local_addr().unwrap())), tls: None }
        .publish(&note)
        .unwrap();
    let mut buffer = [0; 4096];
    let length = udp.recv(&mut buffer).unwrap();
    check_syslog(&buffer[..length], &note);

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        tcp.accept().unwrap().0.read_to_end(&mut text).unwrap();
        text
    });
    Syslog { url: url(&format!("tcp://{address}")), tls: None }.publish(&note).unwrap();
    check_counted(&reader.join().unwrap(), &note);
}

fn check_counted(text: &[u8], note: &Signed) {
    let blank = text.iter().position(|b| *b == b' ').unwrap();
    let length: usize = std::str::from_utf8(&text[..blank]).unwrap().parse().unwrap();
    assert_eq!(length, text.len() - blank - 1);
    check_syslog(&text[blank + 1..], note);
}

fn check_syslog(message: &[u8], note: &Signed) {
    let text = std::str::from_utf8(message).unwrap();
    assert!(text.is_ascii() && !text.contains('\n'), "{text}");
    let fields: Vec<_> = text.splitn(8, ' ').collect();
    assert_eq!(
        (fields[0], fields[3], fields[5], fields[6]),
        ("<110>1", "keyward", "checkpoint", "-"),
        "{text}"
    );
    assert!(Timestamp::parse(fields[1]).is_some(), "{text}");
    let json: serde_json::Value = serde_json::from_str(fields[7]).unwrap();
    assert_eq!(json["checkpoint"].as_str().unwrap(), note.to_string());
}

use keyward_core::clock::Timestamp;

/// A certificate authority's file, and a server's configuration.
fn tls_server(dir: &Path) -> (std::path::PathBuf, Arc<rustls::ServerConfig>) {
    pingora_rustls::install_default_crypto_provider();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = dir.join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (file, Arc::new(config))
}

#[test]
fn over_tls_only_to_whom_it_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = tls_server(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reader = std::thread::spawn(move || {
        let mut texts = Vec::new();
        for _ in 0..2 {
            let mut stream = listener.accept().unwrap().0;
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut text = Vec::new();
            let _ = rustls::Stream::new(&mut tls, &mut stream).read_to_end(&mut text);
            texts.push(text);
        }
        texts
    });
    let note = signed(5, 1);
    let to = url(&format!("tls://localhost:{port}"));
    let (other, _) = tls_server(&{
        let path = dir.path().join("other");
        std::fs::create_dir(&path).unwrap();
        path
    });
    let error = Syslog { url: to.clone(), tls: Some(Tls::new(Some(&other)).unwrap()) }
        .publish(&note)
        .unwrap_err();
    assert!(format!("{error:#}").contains("no TLS with localhost"), "{error:#}");
    Syslog { url: to, tls: Some(Tls::new(Some(&ca_file)).unwrap()) }.publish(&note).unwrap();
    let texts = reader.join().unwrap();
    assert!(texts[0].is_empty());
    check_counted(&texts[1], &note);
}

/// A place that takes nothing until it is told to.
struct Stubborn {
    open: Arc<Mutex<bool>>,
    brought: Arc<Mutex<Vec<u64>>>,
}

impl CheckpointSink for Stubborn {
    fn name(&self) -> &str {
        "directory"
    }

    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        anyhow::ensure!(*self.open.lock().unwrap(), "closed");
        self.brought.lock().unwrap().push(signed.size());
        Ok(())
    }
}

#[test]
fn a_place_that_is_away_gets_the_newest_when_it_is_back_and_the_last_one_at_the_end() {
    let (board, metrics) = (Arc::new(Latest::default()), Arc::new(Metrics::new().unwrap()));
    let (open, brought) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
    let place = Box::new(Stubborn { open: open.clone(), brought: brought.clone() });
    let publisher = std::thread::spawn({
        let (board, metrics) = (board.clone(), metrics.clone());
        move || run(place, &board, &metrics, Duration::from_millis(10))
    });
    let failures = || metrics.trail.checkpoint_failures.with_label_values(&["directory"]).get();
    let behind = || metrics.checkpoint_place_behind_seconds.with_label_values(&["directory"]).get();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    board.show(signed(1, 1));
    until("it is tried", &|| failures() > 1);
    assert!(behind() > 0);
    // Nobody waited for it: the board goes on.
    board.show(signed(2, 2));
    board.show(signed(3, 3));
    *open.lock().unwrap() = true;
    until("the newest is brought", &|| brought.lock().unwrap().last() == Some(&3));
    until("it is not behind", &|| behind() == 0);
    board.show(signed(4, 4));
    board.advance(Lifecycle::Closed);
    publisher.join().unwrap();
    assert_eq!(brought.lock().unwrap().last(), Some(&4));
    assert!(!brought.lock().unwrap().contains(&1));
}
