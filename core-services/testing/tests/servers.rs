//! The servers start, stand still, die, come back with their data, and leave nothing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use core_testing::{Nats, Postgres, Redis, eventually, postgres};

/// A paused server does not answer within this; a running one always has.
const SILENCE: Duration = Duration::from_millis(300);

fn redis_says(redis: &Redis, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).ok()?;
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    write!(stream, "{command}\r\n").ok()?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line).ok()?;
    if line.starts_with('$') {
        line.clear();
        reader.read_line(&mut line).ok()?;
    }
    Some(line.trim_end().to_owned())
}

#[tokio::test]
async fn redis_keeps_its_data_over_a_kill_and_is_silent_while_paused() {
    let redis = Redis::start();
    assert_eq!(redis_says(&redis, "SET k v").as_deref(), Some("+OK"));
    redis.pause();
    assert_eq!(redis_says(&redis, "GET k"), None);
    redis.resume();
    let get = || async { redis_says(&redis, "GET k").filter(|answer| answer == "v") };
    eventually("an answer after the pause", get).await;
    redis.kill();
    assert!(TcpStream::connect(("127.0.0.1", redis.port())).is_err());
    redis.restart();
    eventually("an answer after the kill", get).await;
}

#[test]
fn nats_greets_with_jetstream_after_a_restart() {
    let nats = Nats::start();
    let greeting = || {
        let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
        let mut text = [0; 2048];
        let length = stream.read(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert!(greeting().contains("\"jetstream\":true"), "{}", greeting());
    nats.restart();
    assert!(greeting().contains("\"jetstream\":true"), "{}", greeting());
}

#[test]
fn postgresql_keeps_its_data_over_a_kill() {
    let server = Postgres::start();
    server.administer("CREATE TABLE t (v bigint); INSERT INTO t VALUES (7)");
    server.pause();
    server.kill();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart();
    assert_eq!(server.administer("SELECT v FROM t"), "7");
}

#[test]
fn a_fresh_database_is_its_owners_and_empty() {
    let (one, other) = (postgres().fresh(), postgres().fresh());
    assert_ne!(one, other);
    assert!(one.contains("//tester@"), "{one}");
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = 'tester'";
    assert_eq!(postgres().administer(superuser), "f");
}

/// The process that the next test kills; by itself it is no test.
#[test]
#[ignore = "started by `nothing_is_left_when_the_tests_are_killed`"]
fn starts_a_server_and_waits() {
    let redis = Redis::start();
    println!("port {}", redis.port());
    redis.pause();
    println!("paused");
    std::thread::park();
}

#[tokio::test]
async fn nothing_is_left_when_the_tests_are_killed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("starts_a_server_and_waits")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let port = lines
        .find_map(|line| line.split_once("port ")?.1.parse::<u16>().ok())
        .unwrap();
    assert!(lines.any(|line| line == "paused"));
    child.kill().unwrap();
    child.wait().unwrap();
    let folders = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(temporary.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    eventually("the end of the server", async || {
        let gone = TcpStream::connect(("127.0.0.1", port)).is_err() && folders().is_empty();
        gone.then_some(())
    })
    .await;
}
