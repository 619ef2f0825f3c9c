//! Auditors beside the gate, and beside each other: nobody takes all the places, and none takes the
//! gate's time.

use crate::support::{Client, Gateway, PATIENCE, Request, Site, Upstream, eventually, json_of};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The end of an answer in chunks.
const END: &[u8] = b"\r\n0\r\n\r\n";
const EXPORT: &str = "/api/v1/export?form=exchange";

/// A site with a trail that no socket's buffers hold.
fn site() -> (Upstream, Site, Gateway) {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut client = gateway.client();
    for n in 0..250 {
        assert_eq!(
            client
                .call(&Request::new("POST", &format!("/v1/blobs/{n}")).json(json_of(65_000)))
                .status,
            200
        );
    }
    (upstream, site, gateway)
}

/// A question from an address of this machine; little of its answer fits on the way.
fn ask(gateway: &Gateway, from: [u8; 4], path: &str) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    connect(&socket, &gateway.admin).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(
        &mut stream,
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .unwrap();
    stream
}

/// The status of an answer, of which nothing more is read.
fn status(stream: &mut TcpStream) -> u16 {
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    std::str::from_utf8(&line).unwrap()[9..].parse().unwrap()
}

const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

#[test]
fn who_reads_nothing_makes_room_and_no_source_has_all_the_places() {
    let (_upstream, _site, gateway) = site();
    let mut first: Vec<_> = (0..6).map(|_| ask(&gateway, ONE, EXPORT)).collect();
    assert!(first.iter_mut().all(|export| status(export) == 200));
    let began = Instant::now();
    assert_eq!(
        status(&mut ask(&gateway, ONE, EXPORT)),
        503,
        "six are as many as one source may have"
    );
    let mut others: Vec<_> = (0..6).map(|_| ask(&gateway, OTHER, EXPORT)).collect();
    assert!(others.iter_mut().all(|export| status(export) == 200), "another source has its own");
    let mut late = None;
    eventually("one that nobody reads makes room", || {
        late = Some(ask(&gateway, ONE, EXPORT));
        status(late.as_mut().unwrap()) == 200
    });
    assert!(began.elapsed() >= Duration::from_secs(4), "an honest reader has time");
    let mut whole = Vec::new();
    late.unwrap().read_to_end(&mut whole).unwrap();
    assert!(
        whole.len() > 250 * 65_000 && whole.ends_with(END),
        "{} bytes: who reads has all of it",
        whole.len()
    );
    // The gate has not noticed any of it.
    let started = Instant::now();
    assert_eq!(gateway.client().call(&Request::new("GET", "/v1/blobs/a")).status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_backup_that_nobody_reads_keeps_nobody_from_making_one() {
    let (_upstream, _site, gateway) = site();
    let mut stuck = ask(&gateway, ONE, "/api/v1/backup");
    assert_eq!(status(&mut stuck), 200);
    assert_eq!(status(&mut ask(&gateway, OTHER, "/api/v1/backup")), 503);
    eventually("it makes room", || status(&mut ask(&gateway, OTHER, "/api/v1/backup")) == 200);
}

#[test]
fn questions_are_answered_on_threads_of_low_priority_and_exports_do_not_fill_the_trail() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    assert_eq!(gateway.json("/api/v1/counts")["total"], 0);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid()))
        .unwrap()
        .map(|task| task.unwrap().path());
    let nice = |task: std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        head.contains("(keyward-asked")
            .then(|| rest.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap())
    };
    let asked: Vec<_> = tasks.filter_map(nice).collect();
    assert!(!asked.is_empty() && asked.iter().all(|nice| *nice == 19), "{asked:?}");
    let mut client = Client::new(gateway.admin);
    let mut statuses = Vec::new();
    for _ in 0..120 {
        client.send(b"GET /api/v1/export?cursor=end HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = client.answer();
        statuses.push(answer.status);
        assert_eq!(answer.status == 429, !answer.header("retry-after").is_empty());
    }
    assert!(
        statuses[..100].iter().all(|status| *status == 200) && statuses[119] == 429,
        "{statuses:?}"
    );
}

/// How long it takes until a connection that takes nothing of an answer is cut, while others beside
/// it are read.
fn cut_after(gateway: &Gateway, mut others: Vec<TcpStream>) -> Duration {
    let mut stuck = ask(gateway, OTHER, EXPORT);
    assert_eq!(status(&mut stuck), 200);
    // And the one that asks.
    let open = || gateway.metric("keyward_admin_connections_open") - 1;
    let all = others.len() as u64 + 1;
    eventually("all are there", || open() == all);
    let began = Instant::now();
    while open() == all {
        assert!(began.elapsed() < Duration::from_secs(100), "it is not cut");
        others.iter_mut().for_each(|other| other.read_exact(&mut vec![0; 30_000]).unwrap());
        std::thread::sleep(Duration::from_millis(200));
    }
    let after = began.elapsed();
    let mut rest = Vec::new();
    assert!(
        stuck.read_to_end(&mut rest).is_err() || !rest.ends_with(END),
        "{} bytes: its end is not that of an answer",
        rest.len()
    );
    for mut other in others {
        rest.clear();
        other.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(END), "who reads has all of it");
    }
    after
}

#[test]
fn who_stops_reading_is_cut_after_a_minute_and_who_reads_slowly_is_not() {
    let (_upstream, site, gateway) = site();
    gateway.stop();
    // As long as the setting says, ...
    let gateway = site.serve_with(&["limits.idle_seconds=5"]);
    let after = cut_after(&gateway, Vec::new());
    assert!((Duration::from_secs(4)..Duration::from_secs(20)).contains(&after), "{after:?}");
    gateway.stop();
    // ... and no longer than a minute, whatever it says.
    let gateway = site.serve_with(&["limits.idle_seconds=600"]);
    let mut slow = ask(&gateway, ONE, EXPORT);
    assert_eq!(status(&mut slow), 200);
    let after = cut_after(&gateway, vec![slow]);
    assert!((Duration::from_secs(55)..Duration::from_secs(80)).contains(&after), "{after:?}");
    gateway.stop();
}
