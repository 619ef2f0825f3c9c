//! `make bench`: the gateway with durable records beside bare pingora, in one run, on this machine.
//!
//! Everything is on loopback: an upstream that answers at once, a pingora proxy that only forwards,
//! and `keyward serve` with the shipped catalogue and policies. The same allowed call (a Codeup SSH
//! key, READ) goes to each in turn, at several concurrencies, round by round, so that a noisy
//! machine is noisy for both. Ratios mean something, single figures little.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a mistake here should end the run"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const SECONDS: u64 = 4;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\n{\"id\":1,\"title\":\"bench\",\"keyScope\":\"READ\"} ";

fn main() {
    match std::env::var("KEYWARD_BENCH_ROLE").as_deref() {
        Ok("upstream") => upstream(&port()),
        Ok("bare") => bare(&port()),
        _ => compare(),
    }
}

fn port() -> String {
    std::env::var("KEYWARD_BENCH_LISTEN").expect("an address")
}

/// Answers every request at once; reads heads and Content-Length bodies, nothing else.
fn upstream(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_nodelay(true).ok();
        std::thread::spawn(move || {
            let (mut buffer, mut held) = (vec![0; 64 * 1024], Vec::new());
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                held.extend_from_slice(&buffer[..n]);
                while let Some(end) = whole(&held) {
                    held.drain(..end);
                    if stream.write_all(ANSWER).is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// Where the first message of the buffer ends, if it is whole.
fn whole(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
    let length = text
        .split("content-length:")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok())
        .unwrap_or(0);
    (held.len() >= head + length).then_some(head + length)
}

struct Forward(SocketAddr);

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut (),
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// pingora that only forwards: the floor.
fn bare(address: &str) {
    let target = std::env::var("KEYWARD_BENCH_UPSTREAM").unwrap().parse().unwrap();
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward(target));
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever();
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn role(role: &str, listen: SocketAddr, upstream: SocketAddr) -> Running {
    let child = Command::new(std::env::current_exe().unwrap())
        .env("KEYWARD_BENCH_ROLE", role)
        .env("KEYWARD_BENCH_LISTEN", listen.to_string())
        .env("KEYWARD_BENCH_UPSTREAM", upstream.to_string())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_open(listen);
    Running(child)
}

fn until_open(address: SocketAddr) {
    for _ in 0..400 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("nothing listens on {address}");
}

const TOKEN: &str = "pt-benchmark-token-0001";

/// `keyward serve` with the shipped catalogue and policies, in a folder of its own on this disk.
fn keyward(dir: &Path, listen: SocketAddr, upstream: SocketAddr) -> Running {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let key = keyward_core::secret::DigestKey::open_or_create(&dir.join("digest.key")).unwrap();
    let callers = format!(
        "groups = ['platform-admins', 'key-admins', 'image-admins', 'phone-ops', 'codeup-developers', 'auditors']\n[callers.bench]\nkind = 'robot'\ngroups = ['codeup-developers']\ntokens = ['{}']\n",
        key.digest(TOKEN.as_bytes())
    );
    std::fs::write(dir.join("callers.toml"), callers).unwrap();
    let config = format!(
        "listener = [{{ address = '{listen}' }}]\nadmin = {{ address = '{}' }}\ncatalog = {{ dir = '{}' }}\npolicies = {{ dir = '{}' }}\naudit = {{ dir = 'audit', digest_key_file = 'digest.key' }}\nupstream = [{{ hosts = ['openapi-rdc.aliyuncs.com'], url = 'http://{upstream}' }}]\n",
        free(),
        root.join("config/apis").display(),
        root.join("policies").display()
    );
    std::fs::write(dir.join("keyward.toml"), config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(["serve", "--config"])
        .arg(dir.join("keyward.toml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_open(listen);
    Running(child)
}

fn request() -> Vec<u8> {
    let expires = keyward_core::clock::Timestamp(
        keyward_core::clock::Timestamp::now().0 / 1_000_000_000 * 1_000_000_000
            + 30 * 86_400_000_000_000,
    )
    .rfc3339();
    let body = format!(
        "{{\"title\":\"bench\",\"key\":\"{}\",\"keyScope\":\"READ\",\"expireTime\":\"{expires}\"}}",
        keyward::demo::calls::ED25519
    );
    format!(
        "POST /oapi/v1/codeup/organizations/60de7a6852743a5162b5f957/keys HTTP/1.1\r\nHost: openapi-rdc.aliyuncs.com\r\nContent-Type: application/json\r\nx-yunxiao-token: {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Latencies in microseconds of every answered request, from `connections` closed loops.
fn load(address: SocketAddr, connections: usize, request: &[u8]) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut latencies, mut buffer, mut held) =
                (Vec::new(), vec![0; 16 * 1024], Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                stream.write_all(request).unwrap();
                let end = loop {
                    if let Some(end) = whole(&held) {
                        break end;
                    }
                    let n = stream.read(&mut buffer).unwrap();
                    assert!(n > 0, "the connection broke");
                    held.extend_from_slice(&buffer[..n]);
                };
                assert!(held.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&held));
                held.drain(..end);
                latencies.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
            }
            latencies
        };
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(Duration::from_secs(SECONDS));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    })
}

struct Measured {
    per_second: f64,
    p50: u64,
    p99: u64,
}

fn measure(address: SocketAddr, connections: usize, request: &[u8]) -> Measured {
    let mut latencies = load(address, connections, request);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Measured { per_second: latencies.len() as f64 / SECONDS as f64, p50: at(0.5), p99: at(0.99) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (up, plain, guarded) = (free(), free(), free());
    let _upstream = role("upstream", up, up);
    let _bare = role("bare", plain, up);
    let gateway = keyward(&dir, guarded, up);
    let request = request();
    for address in [plain, guarded] {
        load(address, 8, &request);
    }
    println!(
        "POST of {} bytes, {ROUNDS} rounds of {SECONDS} s each, medians; every answer of keyward has two records on disk\n",
        request.len()
    );
    println!(
        "{:>11}  {:>23}  {:>27}  {:>8}",
        "connections", "bare pingora", "keyward, durable", "ratio"
    );
    println!(
        "{:>11}  {:>9} {:>6} {:>6}  {:>9} {:>8} {:>8}",
        "", "req/s", "p50 us", "p99 us", "req/s", "p50 us", "p99 us"
    );
    for connections in [1, 16, 64, 256] {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            a.push(measure(plain, connections, &request));
            b.push(measure(guarded, connections, &request));
        }
        let ratio = median(a.iter().zip(&b).map(|(a, b)| b.per_second / a.per_second).collect());
        let of = |m: &[Measured], f: fn(&Measured) -> f64| median(m.iter().map(f).collect());
        let row = |m: &[Measured]| {
            (of(m, |m| m.per_second), of(m, |m| m.p50 as f64), of(m, |m| m.p99 as f64))
        };
        let ((r, p, q), (s, t, u)) = (row(&a), row(&b));
        println!(
            "{connections:>11}  {r:>9.0} {p:>6.0} {q:>6.0}  {s:>9.0} {t:>8.0} {u:>8.0}  {ratio:>8.2}"
        );
    }
    drop(gateway);
    std::fs::remove_dir_all(&dir).ok();
}
