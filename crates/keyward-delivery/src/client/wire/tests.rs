//! Real sockets and real TLS: each way in which a receiver can end a connection, and what is made
//! of it.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

type Server = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

fn server_config(ca_file: &Path) -> Arc<rustls::ServerConfig> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(ca_file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Arc::new(
        rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap(),
    )
}

/// Sends `bytes` to a receiver and ends the connection. What came of it.
fn ended(bytes: usize, bare: bool, receive: fn(Server)) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let config = server_config(&ca_file);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url {
        scheme: "tls".to_owned(),
        host: "localhost".to_owned(),
        port: listener.local_addr().unwrap().port(),
        path: "/".to_owned(),
    };
    let receiver = std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        receive(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut wire = Wire::connect(&url, Some(&Tls::new(Some(&ca_file))?)).await?;
        wire.send(&vec![b'x'; bytes]).await?;
        wire.end(bare).await
    });
    receiver.join().unwrap();
    outcome.map_err(|error| format!("{error:#}"))
}

fn read_all(stream: &mut Server) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

fn say_end(stream: &mut Server) {
    stream.conn.send_close_notify();
    stream.flush().unwrap();
}

#[test]
fn an_orderly_end_counts_and_a_bare_one_only_where_it_is_said_to() {
    let orderly = |mut stream: Server| {
        read_all(&mut stream);
        say_end(&mut stream);
    };
    let bare = |mut stream: Server| read_all(&mut stream);
    for bytes in [1, 300_000] {
        assert_eq!(ended(bytes, false, orderly), Ok(()));
        assert_eq!(ended(bytes, true, bare), Ok(()));
        assert!(ended(bytes, false, bare).unwrap_err().contains("accept_bare_close"));
    }
}

#[test]
fn a_receiver_that_waits_for_the_end_of_tcp_has_read_all_too() {
    let patient = |mut stream: Server| {
        read_all(&mut stream);
        std::io::copy(&mut stream.sock, &mut std::io::sink()).unwrap();
        say_end(&mut stream);
    };
    assert_eq!(ended(300_000, false, patient), Ok(()));
}

#[test]
fn a_word_that_comes_before_all_was_read_is_no_confirmation() {
    // As a receiver that is told to stop: it reads a part of what is there, says so, and is gone.
    fn part(stream: &mut Server) {
        stream.read_exact(&mut [0; 1000]).unwrap();
        // All of it has arrived, and lies in the system's buffer.
        std::thread::sleep(Duration::from_millis(200));
    }
    let orderly = |mut stream: Server| {
        part(&mut stream);
        say_end(&mut stream);
    };
    let bare = |mut stream: Server| part(&mut stream);
    let half = |mut stream: Server| {
        part(&mut stream);
        say_end(&mut stream);
        stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    };
    let at_once = |mut stream: Server| {
        stream.read_exact(&mut [0; 1]).unwrap();
        say_end(&mut stream);
    };
    for bytes in [60_000, 200_000] {
        for receive in [orderly, bare, half, at_once] {
            for accept in [false, true] {
                let told = ended(bytes, accept, receive).expect_err("it had not read all");
                assert!(
                    told.contains("ended the connection")
                        || told.contains("broke")
                        || told.contains("without TLS"),
                    "{told}"
                );
            }
        }
    }
}
