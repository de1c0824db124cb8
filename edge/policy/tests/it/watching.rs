//! Every kind of change is noticed; what is no change, is not.

use std::os::unix::fs::symlink;
use std::time::Duration;

use palisade_policy::{Diagnostics, Loaded};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::folder::Scratch;

/// A bound on failure, not on speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn policy(port: u16) -> String {
    format!("version: 1\nclusters:\n  - {{name: a, endpoints: [\"127.0.0.1:{port}\"]}}\n")
}

/// Ports of all endpoints, or the codes of the faults.
pub(crate) fn outcome(loaded: Result<Loaded, Diagnostics>) -> String {
    match loaded {
        Ok(loaded) => {
            let endpoints = loaded
                .policy
                .clusters
                .iter()
                .flat_map(|cluster| &cluster.endpoints);
            let mut ports: Vec<String> = endpoints
                .map(|endpoint| endpoint.port().to_string())
                .collect();
            ports.sort();
            ports.join(" ")
        }
        Err(diagnostics) => diagnostics
            .0
            .iter()
            .map(|diagnostic| diagnostic.code)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A watched folder.
struct Watched {
    scratch: Scratch,
    seen: mpsc::UnboundedReceiver<String>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watched {
    async fn start(scratch: Scratch, first: &str) -> Self {
        let (send, seen) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let dir = scratch.policies();
        let on_change = move |loaded| send.send(outcome(loaded)).unwrap();
        let task = tokio::spawn(palisade_policy::watch(dir, on_change, stopped));
        let mut watched = Self {
            scratch,
            seen,
            stop,
            task,
        };
        watched.expect(first).await;
        watched
    }

    /// The next outcomes up to the expected one. Those before may be of steps in between: a file
    /// that is half written, or a folder half filled.
    async fn expect(&mut self, expected: &str) {
        let mut between = Vec::new();
        loop {
            match timeout(PATIENCE, self.seen.recv()).await {
                Ok(Some(seen)) if seen == expected => return,
                Ok(Some(seen)) => between.push(seen),
                Ok(None) => panic!("watching ended"),
                Err(_) => panic!("{expected} was not seen, but {between:?}"),
            }
        }
    }

    /// Nothing more was seen, and the watch ends when told.
    async fn finish(mut self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        assert_eq!(self.seen.recv().await, None);
    }
}

pub(crate) fn one_file() -> Scratch {
    Scratch::with(&[("a.yaml", &policy(1))])
}

#[tokio::test]
async fn edits_in_place() {
    let mut watched = Watched::start(one_file(), "1").await;
    for port in 2..5 {
        watched.scratch.write("a.yaml", &policy(port));
        watched.expect(&port.to_string()).await;
    }
    watched.finish().await;
}

#[tokio::test]
async fn temporary_file_renamed_over() {
    let mut watched = Watched::start(one_file(), "1").await;
    for port in 2..5 {
        watched.scratch.write(".a.yaml.swp", &policy(port));
        let dir = watched.scratch.policies();
        std::fs::rename(dir.join(".a.yaml.swp"), dir.join("a.yaml")).unwrap();
        watched.expect(&port.to_string()).await;
    }
    watched.finish().await;
}

#[tokio::test]
async fn files_added_and_removed() {
    let mut watched = Watched::start(one_file(), "1").await;
    watched
        .scratch
        .write("b.yaml", &policy(2).replace("name: a", "name: b"));
    watched.expect("1 2").await;
    std::fs::remove_file(watched.scratch.policies().join("a.yaml")).unwrap();
    watched.expect("2").await;
    std::fs::remove_file(watched.scratch.policies().join("b.yaml")).unwrap();
    watched.expect("P004").await;
    watched.scratch.write("c.yml", &policy(3));
    watched.expect("3").await;
    watched.finish().await;
}

#[tokio::test]
async fn sub_folders() {
    let mut watched = Watched::start(one_file(), "1").await;
    watched
        .scratch
        .write("x/y/b.yaml", &policy(2).replace("name: a", "name: b"));
    watched.expect("1 2").await;
    watched
        .scratch
        .write("x/y/b.yaml", &policy(3).replace("name: a", "name: b"));
    watched.expect("1 3").await;
    std::fs::rename(
        watched.scratch.policies().join("x/y"),
        watched.scratch.root().join("gone"),
    )
    .unwrap();
    watched.expect("1").await;
    watched.finish().await;
}

#[tokio::test]
async fn config_map_swap() {
    let scratch = Scratch::new();
    let dir = scratch.policies();
    scratch.write("..2026_1/a.yaml", &policy(1));
    symlink("..2026_1", dir.join("..data")).unwrap();
    symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
    let mut watched = Watched::start(scratch, "1").await;
    for port in 2..5 {
        watched
            .scratch
            .write(&format!("..2026_{port}/a.yaml"), &policy(port));
        symlink(format!("..2026_{port}"), dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        std::fs::remove_dir_all(dir.join(format!("..2026_{}", port - 1))).unwrap();
        watched.expect(&port.to_string()).await;
    }
    watched.finish().await;
}

#[tokio::test]
async fn folder_replaced() {
    let mut watched = Watched::start(one_file(), "1").await;
    for port in 2..4 {
        let next = watched.scratch.root().join(format!("next{port}"));
        watched
            .scratch
            .write_beside(&format!("next{port}/a.yaml"), policy(port).as_bytes());
        std::fs::rename(
            watched.scratch.policies(),
            watched.scratch.root().join(format!("old{port}")),
        )
        .unwrap();
        std::fs::rename(next, watched.scratch.policies()).unwrap();
        watched.expect(&port.to_string()).await;
    }
    // Events reach the new folder too.
    watched.scratch.write("a.yaml", &policy(9));
    watched.expect("9").await;
    std::fs::remove_dir_all(watched.scratch.policies()).unwrap();
    watched.expect("P001").await;
    watched.scratch.write("a.yaml", &policy(10));
    watched.expect("10").await;
    watched.finish().await;
}

#[tokio::test]
async fn folder_behind_a_link() {
    let scratch = Scratch::new();
    scratch.write_beside("v1/a.yaml", policy(1).as_bytes());
    scratch.write_beside("v2/a.yaml", policy(2).as_bytes());
    std::fs::remove_dir(scratch.policies()).unwrap();
    symlink("v1", scratch.policies()).unwrap();
    let mut watched = Watched::start(scratch, "1").await;
    symlink("v2", watched.scratch.root().join("tmp")).unwrap();
    std::fs::rename(
        watched.scratch.root().join("tmp"),
        watched.scratch.policies(),
    )
    .unwrap();
    watched.expect("2").await;
    watched.finish().await;
}

#[tokio::test]
async fn files_that_policies_refer_to() {
    let text = "version: 1\nclusters:\n  - {name: a, endpoints: [\"127.0.0.1:1\"], tls: {server_name: a, ca: ../outside/ca.pem}}\n";
    let scratch = Scratch::with(&[("a.yaml", text)]);
    let pem = |name: &str| std::fs::read(scratch.root().join("certs").join(name)).unwrap();
    let (ca, other) = (pem("ca.pem"), pem("edge.pem"));
    let mut watched = Watched::start(scratch, "P050").await;
    watched.scratch.write_beside("outside/ca.pem", &ca);
    watched.expect("1").await;
    watched.scratch.write_beside("outside/ca.pem", b"no pem");
    watched.expect("P051").await;
    watched.scratch.write_beside("outside/ca.pem", &other);
    watched.expect("1").await;
    watched.finish().await;
}

#[tokio::test]
async fn what_is_no_change_is_not_reported() {
    let mut watched = Watched::start(one_file(), "1").await;
    for _ in 0..3 {
        watched.scratch.write("a.yaml", &policy(1));
        watched.scratch.write("notes.txt", "nothing");
        watched.scratch.write("tests/.a.yaml", &policy(7));
    }
    watched
        .scratch
        .write("b.yaml", &policy(2).replace("name: a", "name: b"));
    // The first that is reported is the first that changed something.
    assert_eq!(
        timeout(PATIENCE, watched.seen.recv())
            .await
            .unwrap()
            .as_deref(),
        Some("1 2")
    );
    watched.finish().await;
}

#[tokio::test]
async fn constant_edits_do_not_starve() {
    let scratch = one_file();
    let file = scratch.policies().join("noise.txt");
    let mut watched = Watched::start(scratch, "1").await;
    let (quit, quitting) = std::sync::mpsc::channel::<()>();
    let noise = std::thread::spawn(move || {
        let mut edits = 0_u64;
        while quitting.try_recv().is_err() {
            std::fs::write(&file, edits.to_string()).unwrap();
            edits += 1;
        }
        edits
    });
    for port in 2..5 {
        watched.scratch.write("a.yaml", &policy(port));
        watched.expect(&port.to_string()).await;
    }
    quit.send(()).unwrap();
    assert!(noise.join().unwrap() > 0);
    watched.finish().await;
}
