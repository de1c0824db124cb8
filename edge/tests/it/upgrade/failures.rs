//! A new process that cannot serve: the old one goes on as if nobody had come.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::load::Load;
use super::{PATIENT, Site, policy};
use crate::client::{Client, Protocol};
use crate::harness::files::{Files, replace};
use crate::harness::{BINARY, Edge, upgrade_to_end};
use crate::upstream::Origin;
use crate::upstream::tunnel::EchoTunnel;

/// What a new process would say, said by the test.
struct Impostor(UnixStream);

impl Impostor {
    fn connect(edge: &Edge) -> Self {
        let path = edge.files.state().join("upgrade.sock");
        Self(UnixStream::connect(path).expect("the edge can be replaced"))
    }

    fn hello(edge: &Edge) -> Self {
        let mut impostor = Self::connect(edge);
        impostor.send(json!({ "type": "hello", "protocol": 1, "version": "test" }));
        assert_eq!(impostor.receive()["type"], "offer");
        impostor
    }

    fn send(&mut self, message: Value) {
        let text = message.to_string();
        let length = u32::try_from(text.len()).expect("a short message");
        self.0.write_all(&length.to_be_bytes()).expect("sent");
        self.0.write_all(text.as_bytes()).expect("sent");
    }

    /// Blocks; the edge is another process. Its descriptors are closed by the kernel.
    fn receive(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("a message");
        let length = usize::try_from(u32::from_be_bytes(length)).expect("a length");
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).expect("a message");
        serde_json::from_slice(&text).expect("JSON")
    }

    fn refused(&mut self) -> String {
        let answer = self.receive();
        assert_eq!(answer["type"], "refused", "{answer}");
        answer["reason"].as_str().expect("a reason").to_owned()
    }
}

async fn goes_on(edge: &Edge, why: &str) {
    let line = edge.log_line(why, |line| {
        line["error"]
            .as_str()
            .is_some_and(|error| error.contains(why))
    });
    assert_eq!(line.await["message"], "not replaced, going on");
}

async fn all_protocols_are_served(edge: &Edge) {
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
}

/// Then the edge is still whole, and can still be replaced.
async fn nothing_changed(mut site: Site, load: Load) {
    load.answers(50).await;
    let old = site.upgrade(PATIENT).await;
    load.answers(50).await;
    load.finish().await;
    all_protocols_are_served(&site.edge).await;
    assert_eq!(old.ended().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_with_broken_policies_changes_nothing() {
    let site = Site::start(PATIENT).await;
    let load = Load::start(site.edge.https);
    load.answers(20).await;
    let broken = Files::with_policies(&[("all.yaml", "version: 1\nroutes: [oops]\n")]);
    let policies = broken.policies().display().to_string();
    let ended = upgrade_to_end(&site.edge.files, &["--policies", &policies]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("all.yaml"), "{ended:?}");
    goes_on(&site.edge, "ended before it was ready").await;
    nothing_changed(site, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_hangs_is_given_up() {
    let site = Site::start(&["--upgrade-seconds", "8", "--drain-seconds", "240"]).await;
    let load = Load::start(site.edge.https);
    load.answers(20).await;
    let mut silent = Impostor::hello(&site.edge);
    goes_on(&site.edge, "not ready in time").await;
    assert!(silent.refused().contains("not ready in time"));
    let mut stuck = Impostor::hello(&site.edge);
    stuck.send(json!({ "type": "ready", "quic": true }));
    assert_eq!(stuck.receive()["type"], "go");
    goes_on(&site.edge, "did not come to serve in time").await;
    assert!(stuck.refused().contains("did not come to serve"));
    nothing_changed(site, load).await;
}

/// It has loaded everything and holds all sockets when it is told to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_comes_too_late_leaves_everything_as_it_was() {
    let site = Site::start(&["--upgrade-seconds", "0"]).await;
    for _ in 0..2 {
        let ended = upgrade_to_end(&site.edge.files, &[]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let reason = "not replaced: the new process was not ready in time";
        assert!(ended.stderr.contains(reason), "{ended:?}");
        assert!(!ended.stdout.contains("\"listening\""), "{ended:?}");
    }
    all_protocols_are_served(&site.edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_ends_before_it_serves_changes_nothing() {
    let site = Site::start(PATIENT).await;
    let load = Load::start(site.edge.https);
    load.answers(20).await;
    let mut dying = Impostor::hello(&site.edge);
    dying.send(json!({ "type": "ready", "quic": true }));
    assert_eq!(dying.receive()["type"], "go");
    drop(dying);
    goes_on(&site.edge, "ended before it served").await;
    let mut confused = Impostor::hello(&site.edge);
    confused.send(json!({ "type": "serving" }));
    assert!(confused.refused().contains("instead of being ready"));
    nothing_changed(site, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_process_at_a_time_may_replace_the_edge() {
    let site = Site::start(PATIENT).await;
    let load = Load::start(site.edge.https);
    let first = Impostor::hello(&site.edge);
    let ended = upgrade_to_end(&site.edge.files, &[]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let reason = "another process is about to replace this one";
    assert!(ended.stderr.contains(reason), "{ended:?}");
    drop(first);
    goes_on(&site.edge, "ended before it was ready").await;
    nothing_changed(site, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_refused() {
    let site = Site::start(PATIENT).await;
    let load = Load::start(site.edge.https);
    let mut newer = Impostor::connect(&site.edge);
    newer.send(json!({ "type": "hello", "protocol": 999, "version": "9.9.9", "more": true }));
    let reason = newer.refused();
    assert!(
        reason.contains("9.9.9 hands over by protocol 999"),
        "{reason}"
    );
    let mut stranger = Impostor::connect(&site.edge);
    stranger
        .0
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("sent");
    assert!(stranger.refused().contains("hello"));
    nothing_changed(site, load).await;
}

/// A process that the test did not start; ended with this.
struct Stray(Pid);

impl Stray {
    fn new(started: &Value) -> Self {
        let pid = started["pid"].as_i64().expect("a process id");
        let pid = i32::try_from(pid).expect("a process id");
        Self(Pid::from_raw(pid).expect("a process id"))
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// As a package is installed: the name stays, what it leads to changes.
struct Installed(PathBuf);

impl Installed {
    fn new(files: &Files) -> Self {
        Self(files.root().join("palisade"))
    }

    fn working(&self) {
        let beside = self.0.with_extension("new");
        symlink(BINARY, &beside).expect("a link");
        fs::rename(beside, &self.0).expect("a rename");
    }

    fn broken(&self) {
        let _ = fs::remove_file(&self.0);
        replace(&self.0, b"#!/bin/sh\nexit 7\n");
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signal_starts_what_is_installed_now() {
    let (origin, echo) = (Origin::h1().await, EchoTunnel::start().await);
    let files = Files::with_policies(&[("all.yaml", &policy(&origin, &echo))]);
    let installed = Installed::new(&files);
    installed.working();
    let mut edge = Edge::start_as(&installed.0, Arc::new(files), PATIENT).await;
    let load = Load::start(edge.https);
    load.answers(20).await;
    installed.broken();
    edge.signal(Signal::USR2);
    let ended = |line: &Value| line["message"] == "the new process ended, going on";
    let line = edge.log_line("the new binary to fail", ended).await;
    assert_eq!(line["status"], "exit status: 7");
    fs::remove_file(&installed.0).expect("a file");
    edge.signal(Signal::USR2);
    let missing = |line: &Value| line["program"].is_string() && line["level"] == "ERROR";
    edge.log_line("the new binary to be missed", missing).await;
    load.answers(50).await;

    installed.working();
    edge.signal(Signal::USR2);
    let listening = |line: &Value| line["message"] == "listening" && line["generation"] == 2;
    let line = edge.log_line("the new process", listening).await;
    let started = |line: &Value| {
        line["message"] == "started a process to replace this one" && line["pid"] != Value::Null
    };
    assert_eq!(line["https"], edge.https.to_string());
    let pids = edge.log_lines(started);
    let _stray = Stray::new(pids.last().expect("a start"));
    load.answers(50).await;
    load.finish().await;
    assert_eq!(edge.exit_code().await, Some(0));
    all_protocols_are_served(&edge).await;
}
