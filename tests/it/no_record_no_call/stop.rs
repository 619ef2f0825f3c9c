//! SIGTERM: no new calls, and what is in flight is finished, answered and recorded, or said to be
//! unknown.

use crate::support::upstream::ok;
use crate::support::{Act, Client, Latch, Request, Site, Upstream, eventually};
use std::time::{Duration, Instant};

fn call(n: usize) -> Request {
    Request::new("DELETE", &format!("/v1/blobs/{n}"))
}

#[test]
fn calls_in_flight_are_finished_and_no_new_ones_are_taken() {
    const CALLS: usize = 6;
    let latch = Latch::default();
    let upstream = Upstream::always(&[Act::Until(latch.clone()), ok()]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let mut idle = gateway.client();
    let mut clients: Vec<_> = (0..CALLS).map(|_| gateway.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&call(n).bytes());
    }
    eventually("all calls are at the upstream", || upstream.requests().len() == CALLS);
    gateway.terminate();
    eventually("no new connection is taken", || {
        Client::try_new(gateway.address).map_or(true, |mut client| client.is_closed())
    });
    assert!(idle.call(&call(99)).status == 0, "an idle connection is closed");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gateway.ready(), (503, "stopping\n".to_owned()), "the admin stays to the end");
    assert_eq!(gateway.metric("keyward_open_exchanges"), CALLS as u64);
    latch.open();
    let ids: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.whole, answer.header("connection")),
                (200, true, "close")
            );
            assert!(client.is_closed());
            answer.id().to_owned()
        })
        .collect();
    assert_eq!(gateway.wait().code(), Some(0));
    let trail = site.trail();
    ids.iter().for_each(|id| assert_eq!(trail.answer(id).text("/outcome"), "succeeded"));
    assert_eq!((upstream.requests().len(), trail.calls().len()), (CALLS, 2 * CALLS));
    assert_eq!(trail.0.last().unwrap().text("/event"), "stopped");
}

#[test]
fn under_load_every_call_is_either_done_and_told_or_never_begun() {
    let upstream = Upstream::always(&[Act::Wait(Duration::from_millis(20)), ok()]);
    let site = Site::new(upstream.address);
    let gateway = site.serve();
    let clients: Vec<_> = (0..6)
        .map(|worker| {
            let mut client = gateway.client();
            std::thread::spawn(move || {
                let mut done = 0;
                loop {
                    let answer = client.call(&call(worker * 1000 + done));
                    match (answer.status, answer.whole) {
                        (200, true) => done += 1,
                        (0, false) => return done,
                        _ => panic!("{answer:?}"),
                    }
                }
            })
        })
        .collect();
    eventually("calls are under way", || upstream.requests().len() > 30);
    gateway.terminate();
    let done: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(gateway.wait().code(), Some(0));
    let trail = site.trail();
    let recorded = trail.0.iter().filter(|r| r.text("/outcome") == "succeeded").count();
    assert_eq!(
        (upstream.requests().len(), recorded),
        (done, done),
        "sent, recorded and told are the same calls"
    );
}

#[test]
fn a_hanging_upstream_ends_the_wait_at_the_deadline() {
    let upstream = Upstream::always(&[Act::Hang]);
    let site = Site::new(upstream.address);
    let gateway = site.serve_with(&["gateway.drain_seconds=1"]);
    let mut client = gateway.client();
    client.send(&call(1).bytes());
    eventually("the upstream has the call", || upstream.requests().len() == 1);
    let started = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(1), "not all could be finished");
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(6)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(client.answer().status, 0);
    site.logs("the drain's deadline has passed");
    site.serve().stop();
    let trail = site.trail();
    let (outcome, detail) = trail.only_outcome();
    assert_eq!(outcome, "unknown");
    assert!(detail.contains("the gateway stopped before"), "{detail}");
}
