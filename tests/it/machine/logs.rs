//! Logs: whoever reads them may go away or stop, and where they are written may be full or closed.
//! The gateway goes on, waits for nobody, and says afterwards how many lines were lost.

use crate::support::disk::SmallDisk;
use crate::support::{Gateway, Request, Site, Upstream, eventually, json_of, skipped};
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn call(gateway: &Gateway, name: &str) {
    let answer = gateway
        .client()
        .call(&Request::new("PUT", &format!("/v1/blobs/{name}")).json(json_of(1000)));
    assert_eq!(answer.status, 200, "{name}");
}

/// What makes a gateway log: reloads, while calls go on.
fn busy(site: &Site, gateway: &Gateway) {
    for n in 0..5 {
        call(gateway, &format!("n{n}"));
        gateway.reload();
        std::thread::sleep(Duration::from_millis(100));
    }
    // One that fails has a long line.
    let callers = std::fs::read(site.path("callers.toml")).unwrap();
    std::fs::write(site.path("callers.toml"), b"nonsense").unwrap();
    gateway.reload();
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(site.path("callers.toml"), callers).unwrap();
    call(gateway, "last");
}

/// Ends it in time, and looks at what is on record.
fn ends_in_order(site: &Site, gateway: Gateway, lost: bool) {
    let begun = Instant::now();
    gateway.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    crate::survival::check_verified(site);
    assert_eq!(site.trail().events().any(|event| event == "log-lines-lost"), lost);
}

fn full_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; 64 * 1024]).unwrap();
    (reader, writer)
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = Gateway::start_logging(&site, &[], writer.into());
    drop(reader);
    busy(&site, &gateway);
    eventually("it is counted", || gateway.metric("keyward_log_lines_lost_total") >= 5);
    ends_in_order(&site, gateway, true);
}

#[test]
fn a_reader_that_stops_holds_up_nothing() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (mut reader, writer) = full_pipe();
    let gateway = Gateway::start_logging(&site, &["--log-json"], writer.into());
    busy(&site, &gateway);
    std::thread::scope(|threads| {
        let text = threads.spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        ends_in_order(&site, gateway, false);
        let text = text.join().unwrap();
        // It reads again, and nothing was lost: as much as waited.
        for said in [
            "keyward serves",
            "callers and policies are in force",
            "stay in force",
            "the journal is closed",
        ] {
            assert!(text.contains(said), "{said}: {}", text.trim());
        }
        assert!(
            text.lines()
                .filter(|line| !line.is_empty())
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
            "{}",
            text.trim()
        );
    });
}

#[test]
fn a_reader_that_never_reads_does_not_keep_it_from_ending() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let (_reader, writer) = full_pipe();
    let gateway = Gateway::start_logging(&site, &[], writer.into());
    busy(&site, &gateway);
    ends_in_order(&site, gateway, false);
    // Nor from saying no.
    let (_reader, writer) = full_pipe();
    std::fs::write(site.path("callers.toml"), b"nonsense").unwrap();
    let mut refused = Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(["serve", "--config"])
        .arg(site.path("keyward.toml"))
        .stderr(writer)
        .spawn()
        .unwrap();
    eventually("it ends", || refused.try_wait().unwrap().is_some());
    assert_eq!(refused.wait().unwrap().code(), Some(1));
}

#[test]
fn a_full_log_loses_lines_and_nothing_else() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let gateway = Gateway::start_logging(
        &site,
        &[],
        File::options().write(true).open("/dev/full").unwrap().into(),
    );
    busy(&site, &gateway);
    eventually("it is counted", || gateway.metric("keyward_log_lines_lost_total") >= 5);
    ends_in_order(&site, gateway, true);
    let closed = format!(
        "exec {} serve --config {} 2>&-",
        env!("CARGO_BIN_EXE_keyward"),
        site.path("keyward.toml").display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &closed]);
    let gateway = Gateway::start_command(&site, command, Stdio::null());
    busy(&site, &gateway);
    gateway.stop();
}

#[test]
fn a_disk_of_logs_that_fills_up_is_told_of_once_there_is_room() {
    let upstream = Upstream::ok();
    let site = Site::new(upstream.address);
    let Some(disk) = SmallDisk::mount(&site.path("logs"), "size=256k") else {
        return skipped("a_disk_of_logs_that_fills_up", "no right to mount");
    };
    let log = disk.0.join("log");
    let gateway = Gateway::start_logging(
        &site,
        &[],
        File::options().create(true).append(true).open(&log).unwrap().into(),
    );
    disk.fill();
    busy(&site, &gateway);
    // The last page of the file has some room.
    eventually("it is counted", || {
        gateway.reload();
        gateway.metric("keyward_log_lines_lost_total") >= 3
    });
    std::fs::remove_file(disk.filler()).unwrap();
    gateway.reload();
    eventually("it is told", || {
        std::fs::read_to_string(&log).unwrap().contains(" lines of this log were lost")
    });
    ends_in_order(&site, gateway, true);
}

#[test]
fn commands_end_with_their_own_status_whatever_becomes_of_what_they_say() {
    let site = Site::new("127.0.0.1:1".parse().unwrap());
    std::fs::write(site.path("callers.toml"), b"nonsense").unwrap();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for command in ["check", "serve"] {
        let status = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args([command, "--config"])
            .arg(site.path("keyward.toml"))
            .stdout(full())
            .stderr(full())
            .status();
        assert_eq!(status.unwrap().code(), Some(1), "{command}");
    }
}
