//! The process' log: lines to standard error, from a thread of its own.
//!
//! Standard error may be closed, a full disk, or a pipe that nobody reads: then lines are lost, and
//! counted. The next line that gets through says how many there were. Nobody who logs waits for
//! whoever reads.

use keyward_core::terminal::clean_lines;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait to be written. What comes then is lost.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// A line that is longer is cut.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// For how long a gateway that ends waits for its last lines to be taken.
pub const BRIEFLY: Duration = Duration::from_millis(500);
/// The same for a command: who reads what it says may take their time.
pub const PATIENTLY: Duration = Duration::from_secs(60);

static LOG: LazyLock<Arc<Log>> = LazyLock::new(|| Log::start(io::stderr));

/// The log of this process, as where the subscriber writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToLog;

/// Lines that were lost so far.
pub fn lost() -> u64 {
    LOG.lost.load(Ordering::Relaxed)
}

/// Waits until what was logged is written, but no longer than this.
pub fn flush(patience: Duration) {
    LOG.flush(patience);
}

/// Says something to whoever runs the program, in the order of the log's lines.
pub fn say(text: std::fmt::Arguments<'_>) {
    // An error may quote what somebody else has written.
    LOG.put((clean_lines(&text.to_string()) + "\n").into_bytes());
}

/// Writes what a panic says as one line of the log, in place of the standard library's way, which
/// waits for the reader.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("a panic");
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread, place, "a mistake in the program: {what}");
    }));
}

struct Log {
    state: Mutex<State>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is being written.
    writing: bool,
    /// No thread writes: there was none to be had. Then whoever logs does, for no gateway serves
    /// that has none.
    threadless: bool,
}

impl Log {
    /// Starts the thread that writes.
    fn start<W: Write>(out: impl Fn() -> W + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let own = Arc::clone(&log);
        let started =
            std::thread::Builder::new().name("keyward-log".to_owned()).spawn(move || own.run(&out));
        log.state().threadless = started.is_err();
        log
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: Vec<u8>) {
        let mut state = self.state();
        if state.threadless || state.bytes + line.len() > WAITING_BYTES_MAX {
            let written = state.threadless && write(&mut io::stderr(), &line).is_ok();
            drop(state);
            self.lost.fetch_add(u64::from(!written), Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.waiting.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    fn run<W: Write>(&self, out: &impl Fn() -> W) {
        let mut told = 0;
        let mut cut = false;
        loop {
            let line = self.next();
            let lost = self.lost.load(Ordering::Relaxed);
            let mut piece = Vec::new();
            if cut {
                // Half of a line stands there.
                piece.push(b'\n');
            }
            if lost > told {
                piece.extend_from_slice(says(lost - told, &line).as_bytes());
            }
            piece.extend_from_slice(&line);
            let written = write(&mut out(), &piece);
            cut = written.as_ref().is_err_and(|at| *at > 0);
            match written {
                Ok(()) => told = lost,
                Err(_) => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            }
            self.state().writing = false;
            self.changed.notify_all();
        }
    }

    /// The next line, when there is one.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.waiting.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while (state.writing || !state.waiting.is_empty()) && !state.threadless {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// That lines are missing here, in the form of the line behind it.
fn says(lost: u64, line: &[u8]) -> String {
    let what = format!(
        "{lost} lines of this log were lost: they were not taken in time, or could not be written"
    );
    if line.starts_with(b"{") {
        let time = keyward_core::clock::Timestamp::now().rfc3339();
        return serde_json::json!({"timestamp": time, "level": "WARN", "fields": {"message": what, "lost": lost}, "target": "keyward::log"}).to_string() + "\n";
    }
    format!("{} WARN {what}\n", keyward_core::clock::Timestamp::now().rfc3339())
}

/// Writes all of it.
///
/// # Errors
/// How much had been written when it failed.
fn write(out: &mut impl Write, piece: &[u8]) -> Result<(), usize> {
    let mut at = 0;
    while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(at),
            Ok(written) => at += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            // The pipe was made so by somebody who shares it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10))
            }
            Err(_) => return Err(at),
        }
    }
    Ok(())
}

/// One line that is being made.
#[derive(Debug, Default)]
pub struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut self.0);
        if line.len() > LINE_BYTES_MAX {
            line.truncate(LINE_BYTES_MAX);
            line.extend_from_slice("…\n".as_bytes());
        }
        if !line.is_empty() {
            LOG.put(line);
        }
    }
}

impl MakeWriter<'_> for ToLog {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written, and whether somebody takes it: it holds the writer up, or fails.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<(Vec<u8>, Option<io::ErrorKind>)>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if let Some(kind) = state.1 {
                return Err(kind.into());
            }
            state.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Reader {
        fn set(&self, fails: Option<io::ErrorKind>) {
            self.0.lock().unwrap().1 = fails;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    fn log() -> (Reader, Arc<Log>) {
        let reader = Reader::default();
        let out = reader.clone();
        (reader, Log::start(move || out.clone()))
    }

    fn put(log: &Log, text: &str) {
        log.put(format!("{text}\n").into_bytes());
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_once() {
        let (reader, log) = log();
        put(&log, "first");
        log.flush(Duration::from_secs(5));
        reader.set(Some(io::ErrorKind::StorageFull));
        (0..3).for_each(|_| put(&log, "lost"));
        log.flush(Duration::from_secs(5));
        reader.set(None);
        put(&log, "second");
        put(&log, "third");
        log.flush(Duration::from_secs(5));
        let text = reader.text();
        assert!(text.starts_with("first\n") && text.ends_with("\nsecond\nthird\n"), "{text}");
        assert_eq!(
            (text.matches("3 lines of this log were lost").count(), text.matches("lost\n").count()),
            (1, 0),
            "{text}"
        );
        reader.set(Some(io::ErrorKind::BrokenPipe));
        put(&log, "{\"lost\":1}");
        log.flush(Duration::from_secs(5));
        reader.set(None);
        put(&log, "{\"json\":1}");
        log.flush(Duration::from_secs(5));
        let text = reader.text();
        let told: serde_json::Value =
            serde_json::from_str(text.lines().rev().nth(1).unwrap()).unwrap();
        assert_eq!(told["fields"]["lost"], 1, "{text}");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stops() {
        let (reader, log) = log();
        // It takes nothing, and says nothing.
        let held = reader.0.lock().unwrap();
        let begun = Instant::now();
        let line = "x".repeat(1000);
        (0..5000).for_each(|_| put(&log, &line));
        log.flush(Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let lost = log.lost.load(Ordering::Relaxed);
        assert!((3900..5000).contains(&lost), "{lost}");
        drop(held);
        log.flush(Duration::from_secs(5));
        put(&log, "goes on");
        log.flush(Duration::from_secs(5));
        // At once, or in parts when the writer had begun to tell before all were lost.
        let text = reader.text();
        let told = text.lines().filter_map(|line| line.split_once(" lines of this log were lost"));
        let told = told.filter_map(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
        assert_eq!(told.sum::<u64>(), lost);
    }
}
