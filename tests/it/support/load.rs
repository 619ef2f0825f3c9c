//! Load that outlives the gateway.

use super::{Client, Request, Site, eventually, json_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Callers that go on whatever becomes of the gateway.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(site: &Site) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = |n: usize| {
            let (stop, answered, address) =
                (Arc::clone(&stop), Arc::clone(&answered), site.address);
            std::thread::spawn(move || {
                // Bounded, whatever becomes of the test.
                for _ in 0..20_000 {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    match Client::try_new(address) {
                        Ok(mut client) => {
                            let answer = client
                                .call(&Request::new("POST", "/v1/blobs/x").json(json_of(60 + n)));
                            answered.fetch_add(u64::from(answer.status == 200), Ordering::SeqCst);
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            })
        };
        let callers = (0..4).map(caller).collect();
        Self { stop, answered, callers }
    }

    /// Waits until so many more calls were answered.
    pub fn more(&self, calls: u64) {
        let wanted = self.answered.load(Ordering::SeqCst) + calls;
        eventually("calls are answered", || self.answered.load(Ordering::SeqCst) >= wanted);
    }

    pub fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.callers.drain(..).for_each(|caller| caller.join().unwrap());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
