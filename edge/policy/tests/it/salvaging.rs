//! What becomes of files that are at fault: held, a tombstone, or refused as a whole.

use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use palisade_policy::model::{Action, Policy};
use palisade_policy::{Loaded, PolicyStore, Reloader, Settings, StartError, Status};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::folder::Scratch;
use crate::watching::PATIENCE;

const CLUSTERS: &str = "version: 1\nclusters:\n  - {name: a, endpoints: [\"127.0.0.1:1\"]}\n";

fn routes(cluster: &str) -> String {
    format!(
        "version: 1\nroutes:\n  - {{name: x, hosts: [x.example], matches: [{{path: /x}}], cluster: {cluster}}}\n"
    )
}

/// Clusters with their ports, routes with where they lead.
fn outcome(policy: &Policy) -> String {
    let mut text = String::new();
    for cluster in &policy.clusters {
        let port = cluster.endpoints.first().map(|endpoint| endpoint.port());
        write!(text, "{}:{} ", cluster.name, port.unwrap_or(0)).unwrap();
    }
    for route in policy.routes.routes() {
        let to = match &route.action {
            Action::Tombstone => "503",
            _ => "up",
        };
        write!(text, "{}={to} ", route.name).unwrap();
    }
    text.trim_end().to_owned()
}

async fn build(loaded: Loaded, _previous: Option<Arc<String>>) -> Result<String, String> {
    Ok(outcome(&loaded.policy))
}

struct Running {
    scratch: Scratch,
    store: Arc<PolicyStore<String>>,
    seen: mpsc::UnboundedReceiver<Status>,
    rollback: palisade_policy::Rollback,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

fn settings(scratch: &Scratch, strict: bool) -> Settings {
    Settings {
        dir: scratch.policies(),
        strict,
        history: Some(scratch.root().join("state")),
    }
}

async fn start(scratch: Scratch, strict: bool) -> Result<Running, StartError> {
    let reloader = Reloader::start(settings(&scratch, strict), build).await?;
    let (store, rollback) = (reloader.store(), reloader.rollback());
    let (send, seen) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let observe = move |status: &Status| drop(send.send(status.clone()));
    let task = tokio::spawn(reloader.run(observe, stopped));
    Ok(Running {
        scratch,
        store,
        seen,
        rollback,
        _stop: stop,
        _task: task,
    })
}

async fn running(files: &[(&str, &str)]) -> Running {
    match start(Scratch::with(files), false).await {
        Ok(running) => running,
        Err(error) => panic!("{error}"),
    }
}

impl Running {
    async fn until(&mut self, holds: impl Fn(&Status, &str) -> bool) -> Status {
        loop {
            let next = timeout(PATIENCE, self.seen.recv()).await;
            let Ok(Some(status)) = next else {
                panic!("no such status: {:#?}", self.store.status());
            };
            if holds(&status, &self.store.current()) {
                return status;
            }
        }
    }

    fn held(status: &Status) -> Vec<(&str, bool)> {
        let held = status.held.iter();
        held.map(|held| (held.file.as_str(), held.is_missing))
            .collect()
    }
}

fn tombstones(status: &Status) -> Vec<&str> {
    let tombstones = status.tombstones.iter();
    tombstones.map(|tombstone| &*tombstone.route).collect()
}

#[tokio::test]
async fn a_file_at_fault_is_held_and_the_others_go_live() {
    let mut running = running(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]).await;
    running.scratch.write("r.yaml", "version: 1\nrouts: []\n");
    running
        .until(|status, _| Running::held(status) == [("r.yaml", false)])
        .await;
    running
        .scratch
        .write("a.yaml", &CLUSTERS.replace(":1\"", ":2\""));
    let status = running.until(|_, now| now == "a:2 x=up").await;
    assert_eq!(Running::held(&status), [("r.yaml", false)]);
    let told = status.last_error.clone().unwrap().text;
    assert!(told.contains("r.yaml:2:1: unknown key `routs`"), "{told}");
    assert_ne!(status.hash, status.disk_hash);
    assert_eq!((status.generation, status.reloads_ok), (2, 1));
    // Mended.
    running.scratch.write("r.yaml", &routes("a"));
    let status = running.until(|status, _| status.held.is_empty()).await;
    assert_eq!(status.last_error, None);
    assert_eq!(status.hash, status.disk_hash);
}

#[tokio::test]
async fn a_vanished_file_is_held_until_nothing_refers_to_it() {
    let mut running = running(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]).await;
    std::fs::remove_file(running.scratch.policies().join("a.yaml")).unwrap();
    let status = running.until(|status, _| !status.held.is_empty()).await;
    assert_eq!(Running::held(&status), [("a.yaml", true)]);
    assert_eq!(*running.store.current(), "a:1 x=up");
    let other = CLUSTERS.replace("name: a", "name: b");
    running.scratch.write("b.yaml", &other);
    running.scratch.write("r.yaml", &routes("b"));
    let status = running.until(|_, now| now == "b:1 x=up").await;
    assert!(status.held.is_empty() && status.last_error.is_none());
}

/// The fault shows where the name is used; what is to blame is the file that had it.
#[tokio::test]
async fn who_renames_what_others_use_is_held() {
    let mut running = running(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]).await;
    let renamed = CLUSTERS.replace("name: a", "name: b");
    running.scratch.write("a.yaml", &renamed);
    let status = running.until(|status, _| !status.held.is_empty()).await;
    assert_eq!(Running::held(&status), [("a.yaml", false)]);
    assert_eq!(*running.store.current(), "a:1 x=up");
    running.scratch.write("r.yaml", &routes("b"));
    running.until(|_, now| now == "b:1 x=up").await;
}

#[tokio::test]
async fn a_new_route_at_fault_is_a_tombstone() {
    let mut running = running(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]).await;
    let new = "version: 1\nroutes:\n  - {name: y, hosts: [x.example], matches: [{path: /y}], request_timeout: soon, cluster: a}\n  - {name: z, matches: [{path: /z}], cluster: a}\n";
    running.scratch.write("s.yaml", new);
    let status = running.until(|_, now| now == "a:1 x=up y=503 z=up").await;
    assert_eq!(tombstones(&status), ["y"]);
    let [tombstone] = &status.tombstones[..] else {
        panic!("{status:?}")
    };
    assert_eq!((&*tombstone.file, tombstone.line), ("s.yaml", 3));
    let told = status.last_error.unwrap().text;
    assert!(told.contains("s.yaml:3:"), "{told}");
    // A file with a tombstone is nothing to fall back to: worse, and it stays a tombstone.
    running
        .scratch
        .write("s.yaml", &new.replace("soon", "never"));
    running
        .until(|status, _| {
            let error = status.last_error.as_ref();
            error.is_some_and(|error| error.text.contains("never"))
        })
        .await;
    assert_eq!(*running.store.current(), "a:1 x=up y=503 z=up");
    running.scratch.write("s.yaml", &new.replace("soon", "1s"));
    let status = running.until(|_, now| now == "a:1 x=up y=up z=up").await;
    assert!(status.tombstones.is_empty() && status.last_error.is_none());
}

#[tokio::test]
async fn who_refers_to_what_is_at_fault_is_a_tombstone_too() {
    let files = [
        (
            "a.yaml",
            "version: 1\nclusters:\n  - {name: a, endpoints: [nowhere]}\n  - {name: b, endpoints: [\"127.0.0.1:2\"]}\n",
        ),
        ("r.yaml", &*routes("a")),
        (
            "s.yaml",
            "version: 1\nroutes: [{name: s, matches: [{path: /s}], cluster: b}]\n",
        ),
    ];
    let running = running(&files).await;
    assert_eq!(*running.store.current(), "b:2 x=503 s=up");
    assert_eq!(tombstones(&running.store.status()), ["x"]);
}

/// What a tombstone would stand for is in doubt, or no route is at fault at all.
#[tokio::test]
async fn doubt_refuses_everything() {
    let route = |text: &str| format!("{CLUSTERS}routes:\n  - {{name: x, {text}, cluster: a}}\n");
    let inputs = [
        CLUSTERS.replace("version: 1", "version: 2"),
        CLUSTERS.replace("clusters:", "clusters: [[["),
        // The hosts, the matches, or what could have been one of them.
        route("hosts: [UP.example], matches: [{path: /x}]"),
        route("host: [x.example], matches: [{path: /x}]"),
        route("hosts: [x.example], matches: [{path: /x, metods: [GET]}]"),
        route("hosts: [x.example], matches: [{path: x}]"),
        route("hosts: [x.example], matchs: [{path: /x}]"),
        route(
            "hosts: [x.example], matches: [{path: /x}], request_timeout: soon, matches: [{path: /y}]",
        ),
        // No caller is known where nobody is asked.
        route(
            "hosts: [x.example], matches: [{path: /x, claims: {tenant: a}}], request_timeout: soon",
        ),
        // Two of one name, and two for the same requests.
        route("hosts: [x.example], matches: [{path: /x}]")
            + "  - {name: x, hosts: [x.example], matches: [{path: /y}], cluster: a}\n",
        route("hosts: [x.example], matches: [{path: /x}]")
            + "  - {name: y, hosts: [x.example], matches: [{path: /x}], cluster: a}\n",
        // One text in two definitions.
        format!(
            "{CLUSTERS}routes:\n  - {{name: x, hosts: [x.example], matches: &m [{{path: /x}}], request_timeout: &t soon, cluster: a}}\n  - {{name: y, hosts: [y.example], matches: *m, request_timeout: *t, cluster: a}}\n"
        ),
        format!("{CLUSTERS}hosts:\n  - {{name: h, hsts: maybe}}\n"),
        format!("{CLUSTERS}defaults: {{request_timeout: [soon]}}\n"),
    ];
    for text in &inputs {
        let outcome = start(Scratch::with(&[("a.yaml", text)]), false).await;
        assert!(
            matches!(outcome, Err(StartError::Policy(_))),
            "it started:\n{text}"
        );
    }
}

#[tokio::test]
async fn strict_refuses_everything() {
    let bad = routes("b");
    let files = [("a.yaml", CLUSTERS), ("r.yaml", &*bad)];
    let outcome = start(Scratch::with(&files), true).await;
    assert!(matches!(outcome, Err(StartError::Policy(_))));
    let good = Scratch::with(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]);
    let Ok(mut running) = start(good, true).await else {
        panic!("it did not start")
    };
    running.scratch.write("r.yaml", &routes("b"));
    running.until(|status, _| status.last_error.is_some()).await;
    running
        .scratch
        .write("a.yaml", &CLUSTERS.replace(":1\"", ":2\""));
    let status = running.until(|status, _| status.reloads_failed >= 2).await;
    assert_eq!((status.generation, status.held.len()), (1, 0));
    assert_eq!(*running.store.current(), "a:1 x=up");
}

#[tokio::test]
async fn hostile_folders_lose_nothing() {
    let mut running = running(&[("a.yaml", CLUSTERS), ("r.yaml", &routes("a"))]).await;
    let dir = running.scratch.policies();
    let bomb = "version: 1\na: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &('b'..='j').fold(String::new(), |text, next| {
            let last = char::from(next as u8 - 1);
            text + &format!(
                "{next}: &{next} [{}]\n",
                vec![format!("*{last}"); 10].join(", ")
            )
        });
    let huge = dir.join("r.yaml");
    let mut failed = 0;
    let told = |status: &Status, code: &str| {
        let error = status.last_error.as_ref();
        error.is_some_and(|error| error.text.contains(code))
    };
    for (text, code) in [
        // Half of it was written.
        (routes("a")[..40].to_owned(), "P010"),
        (bomb, "P016"),
    ] {
        running.scratch.write("r.yaml", &text);
        let status = running
            .until(|status, _| told(status, code) && status.reloads_failed > failed)
            .await;
        failed = status.reloads_failed;
        assert_eq!(Running::held(&status), [("r.yaml", false)], "{code}");
    }
    // 100 MB without a byte on disk.
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let status = running.until(|status, _| told(status, "P002")).await;
    assert_eq!(Running::held(&status), [("r.yaml", false)]);
    running.scratch.write("r.yaml", &routes("a"));
    running.until(|status, _| status.last_error.is_none()).await;

    symlink(".", dir.join("loop")).unwrap();
    running.until(|status, _| told(status, "P003")).await;
    std::fs::remove_file(dir.join("loop")).unwrap();
    running.until(|status, _| status.last_error.is_none()).await;

    std::fs::create_dir(running.scratch.root().join("many")).unwrap();
    for number in 0..10_000 {
        let path = running.scratch.root().join(format!("many/{number}.yaml"));
        std::fs::write(path, "version: 1\n").unwrap();
    }
    std::fs::rename(running.scratch.root().join("many"), dir.join("many")).unwrap();
    running
        .until(|status, _| told(status, "more than 4096 policy files"))
        .await;
    std::fs::rename(&dir, running.scratch.root().join("gone")).unwrap();
    let status = running.until(|status, _| told(status, "P001")).await;
    assert_eq!(*running.store.current(), "a:1 x=up");
    assert_eq!((status.generation, status.reloads_ok), (1, 0));
}

#[tokio::test]
async fn rollback_holds_until_the_files_change() {
    let mut running = running(&[("a.yaml", CLUSTERS)]).await;
    for port in 2..5 {
        let text = CLUSTERS.replace(":1\"", &format!(":{port}\""));
        running.scratch.write("a.yaml", &text);
        running.until(|_, now| now == format!("a:{port}")).await;
    }
    let status = running.rollback.to(None).await.unwrap();
    assert_eq!(*running.store.current(), "a:3");
    assert_eq!(status.generation, 5);
    assert_ne!(status.hash, status.disk_hash);
    let status = running.rollback.to(Some(1)).await.unwrap();
    assert_eq!((status.generation, &**running.store.current()), (6, "a:1"));
    let again = running.rollback.to(Some(1)).await.unwrap_err().to_string();
    assert!(again.contains("in force already"), "{again}");
    let unknown = running.rollback.to(Some(99)).await.unwrap_err();
    assert_eq!(unknown.to_string(), "generation 99 is not in the history");

    // A look at the folder that finds nothing new changes nothing.
    running.scratch.write("notes.txt", "nothing");
    running.scratch.write("b.yaml", "version: 1\n");
    running.until(|_, now| now == "a:4").await;
    let history = running.store.history();
    let generations: Vec<u64> = history.iter().map(|(entry, _)| entry.generation).collect();
    assert_eq!(generations, [7, 6, 5, 4, 3, 2, 1]);
    let (_, changes) = &history[0];
    let changes = changes.unwrap();
    assert_eq!((changes.added, changes.changed, changes.removed), (1, 1, 0));
}

#[tokio::test]
async fn history_is_bounded_and_survives_a_restart() {
    let mut running = running(&[("a.yaml", CLUSTERS)]).await;
    for port in 2..22 {
        let text = CLUSTERS.replace(":1\"", &format!(":{port}\""));
        running.scratch.write("a.yaml", &text);
        running.until(|_, now| now == format!("a:{port}")).await;
    }
    let before = running.store.history();
    assert_eq!(before.len(), 16);
    let Running {
        scratch,
        _stop,
        _task,
        ..
    } = running;
    _stop.send(()).unwrap();
    timeout(PATIENCE, _task).await.unwrap().unwrap();
    let state = scratch.root().join("state");
    let texts = std::fs::read_dir(state.join("texts")).unwrap().count();
    assert_eq!(texts, 16);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(state.join("history.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // The file broke while nobody looked: what was last good is known.
    scratch.write("a.yaml", "version: 1\nclusers: []\n");
    let Ok(again) = start(scratch, false).await else {
        panic!("it did not start")
    };
    assert_eq!(*again.store.current(), "a:21");
    let status = again.store.status();
    assert_eq!(Running::held(&status), [("a.yaml", false)]);
    assert_eq!(status.generation, before[0].0.generation);
    let status = again.rollback.to(None).await.unwrap();
    assert_eq!((status.generation, &**again.store.current()), (22, "a:20"));
}

#[tokio::test]
async fn a_history_that_is_damaged_begins_anew() {
    let scratch = Scratch::with(&[("a.yaml", CLUSTERS)]);
    for (name, text) in [
        ("state/history.json", &b"not json"[..]),
        (
            "state/history.json",
            b"{\"folder\": \"/elsewhere\", \"entries\": []}",
        ),
    ] {
        scratch.write_beside(name, text);
        let reloader = Reloader::start(settings(&scratch, false), build).await;
        let Ok(reloader) = reloader else {
            panic!("it did not start")
        };
        assert_eq!(reloader.store().history().len(), 1);
    }
    // A text that is not what it was.
    let texts = std::fs::read_dir(scratch.root().join("state/texts")).unwrap();
    for text in texts {
        std::fs::write(text.unwrap().path(), "version: 1\n").unwrap();
    }
    scratch.write("a.yaml", &CLUSTERS.replace(":1\"", ":2\""));
    let Ok(reloader) = Reloader::start(settings(&scratch, false), build).await else {
        panic!("it did not start")
    };
    assert_eq!(reloader.store().history().len(), 1);
}
