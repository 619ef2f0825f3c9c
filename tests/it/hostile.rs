//! Memory under attack: what strangers, one address or one caller hold of it never stops the
//! others.

use crate::support::upstream::{answer, ok};
use crate::support::{Act, Client, Gateway, Latch, Request, Site, Upstream, eventually, json_of};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The token of a second known caller.
const OTHER: &str = "MIITESTTOKENOFANOTHERCALLER00002";
/// More calls than there is room for, in a gateway whose budget is a MiB.
const FLOOD: usize = 100;
const LIMITS: &[&str] =
    &["limits.buffered_bytes_max=1048576", "limits.body_bytes_max=65536", "limits.body_seconds=60"];

/// A site whose clients say where they come from, with two known callers.
fn site(upstream: &Upstream) -> Site {
    let site = Site::new(upstream.address);
    site.rewrite("[admin]", "forwarded_for_from = [\"127.0.0.1/32\"]\n[admin]");
    let mut callers = std::fs::read_to_string(site.path("callers.toml")).unwrap();
    let token = site.key.digest(OTHER.as_bytes());
    write!(
        callers,
        "\n[callers.other]\nkind = 'robot'\ngroups = ['testers']\ntokens = [{token:?}]\n"
    )
    .unwrap();
    std::fs::write(site.path("callers.toml"), callers).unwrap();
    site
}

/// A write of so many bytes.
fn post(source: &str, bytes: usize) -> Request {
    Request::new("POST", "/v1/blobs/a").json(json_of(bytes)).header("X-Forwarded-For", source)
}

/// Sends calls of which a byte of the body comes, and no more. Those that are refused leave their
/// places to the next.
fn flood(gateway: &Gateway, call: impl Fn(usize) -> Request) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..FLOOD).map(|_| gateway.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&[call(n).head().as_slice(), b"{"].concat());
    }
    eventually("what they may hold is held", || {
        gateway.metric("keyward_refusals_total{reason=\"buffers-full\"}") >= 1
    });
    clients
}

/// Reads and writes of somebody else pass at once.
fn assert_served(gateway: &Gateway, call: impl Fn(Request) -> Request) {
    for bytes in [20, 60_000] {
        let started = Instant::now();
        let answer = gateway.client().call(&call(post("203.0.113.99", bytes)));
        assert_eq!(answer.status, 200, "{bytes} bytes: {}", answer.message());
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    let read = Request::new("GET", "/v1/blobs/a").header("X-Forwarded-For", "203.0.113.99");
    assert_eq!(gateway.client().call(&call(read)).status, 200);
}

fn of_other(request: Request) -> Request {
    request.header("X-Auth-Token", OTHER)
}

#[test]
fn strangers_leave_room_to_known_callers() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve_with(LIMITS);
    // From one address each, so that no bound of one address helps.
    let held = flood(&gateway, |n| {
        post(&format!("198.51.100.{n}"), 1000).header("X-Auth-Token", "stranger")
    });
    assert!(gateway.metric("keyward_buffered_bytes") <= 1_048_576 / 4);
    assert_served(&gateway, |request| request);
    drop(held);
    eventually("all is given back", || gateway.metric("keyward_buffered_bytes") == 0);
    gateway.stop();
}

#[test]
fn one_address_leaves_room_to_others() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve_with(LIMITS);
    let held = flood(&gateway, |n| {
        let request = post("198.51.100.7", 1000);
        if n % 2 == 0 { request } else { of_other(request) }
    });
    assert!(gateway.metric("keyward_buffered_bytes") <= 1_048_576 / 2);
    assert_served(&gateway, |request| request);
    drop(held);
    gateway.stop();
}

#[test]
fn one_caller_leaves_room_to_others() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve_with(LIMITS);
    let held = flood(&gateway, |n| post(&format!("198.51.100.{n}"), 1000));
    assert!(gateway.metric("keyward_buffered_bytes") <= 1_048_576 / 2);
    assert_served(&gateway, of_other);
    drop(held);
    gateway.stop();
}

#[test]
fn short_bodies_cost_little() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve_with(LIMITS);
    // As many honest calls of one caller from one address as a small gateway should have under way.
    let mut slow: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    let request = post("203.0.113.1", 1000);
    for client in &mut slow {
        client.send(&request.bytes()[..request.head().len() + 1]);
    }
    // Longer than a call waits for room.
    std::thread::sleep(Duration::from_millis(1500));
    for client in &mut slow {
        client.send(&request.bytes()[request.head().len() + 1..]);
        assert_eq!(client.answer().status, 200);
    }
    gateway.stop();
}

#[test]
fn answers_are_examined_while_there_is_room() {
    let (latch, body) = (Latch::default(), json_of(200_000));
    let (until, long) = (latch.clone(), body.clone());
    let upstream = Upstream::new(move |request| {
        if !request.line().contains("long") {
            return vec![ok()];
        }
        let Act::Send(whole) = answer(200, &long) else { panic!("an answer is bytes") };
        let (first, rest) = whole.split_at(150_000);
        vec![Act::Send(first.to_vec()), Act::Until(until.clone()), Act::Send(rest.to_vec())]
    });
    let site = site(&upstream);
    let gateway = site.serve_with(LIMITS);
    let long = Request::new("GET", "/v1/blobs/long").header("X-Forwarded-For", "198.51.100.7");
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(&long.bytes());
    }
    let received = |client: &Client| client.stream.peek(&mut [0; 200_000]).unwrap() > 0;
    eventually("all have begun", || clients.iter().all(received));
    std::thread::sleep(Duration::from_millis(300));
    let held = gateway.metric("keyward_buffered_bytes");
    assert!((150_000..=1_048_576 / 2).contains(&held), "{held}");
    assert_served(&gateway, of_other);
    latch.open();
    for client in &mut clients {
        let answer = client.answer();
        assert!(answer.whole && answer.body == body, "every answer passes whole, read or not");
    }
    gateway.stop();
    let trail = site.trail();
    let answers: Vec<_> = trail
        .calls()
        .into_iter()
        .filter(|record| record.leaf["body"]["length"] == 200_000)
        .collect();
    let unread: Vec<_> = answers
        .iter()
        .filter(|record| {
            record.leaf["detail"].as_str().is_some_and(|detail| detail.contains("no room"))
        })
        .collect();
    assert_eq!(answers.len(), 10);
    assert!((1..10).contains(&unread.len()), "{}", unread.len());
    for record in unread {
        assert!(
            record.leaf["body"].get("kept").is_none() && record.leaf["whole"] == true,
            "{}",
            record.leaf
        );
    }
}

#[test]
fn strangers_in_calls_make_room_for_others() {
    let upstream = Upstream::ok();
    let site = site(&upstream);
    let gateway = site.serve_with(&["limits.connections_max=8", "limits.body_seconds=60"]);
    let slow = |request: &Request| [request.head().as_slice(), b"{"].concat();
    let mut known = gateway.client();
    known.send(&slow(&post("203.0.113.1", 20)));
    eventually("it is in its call", || gateway.metric("keyward_open_exchanges") == 1);
    let mut strangers: Vec<Client> = (0..7).map(|_| gateway.client()).collect();
    for client in &mut strangers {
        client.send(&slow(&post("198.51.100.7", 20).header("X-Auth-Token", "stranger")));
    }
    // The admin listener has no part in this.
    eventually("all are in calls", || gateway.metric("keyward_open_exchanges") == 8);
    for n in 0..10 {
        assert_eq!(gateway.client().call(&post("203.0.113.99", 20)).status, 200, "call {n}");
    }
    assert!(
        strangers.iter_mut().any(Client::is_closed),
        "it was a stranger's connection that made room"
    );
    known.send(&json_of(20)[1..]);
    assert_eq!(known.answer().status, 200, "a known caller's is left alone");
    drop(strangers);
    gateway.stop();
}
