//! Policies change while traffic flows: every edit is in force soon, no request notices, and a
//! broken edit changes nothing but what the operator is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::{until, within};
use crate::upstream::Origin;

const EDITS: usize = 50;

/// One route whose answers carry `edit`.
fn policy(origin: &Origin, edit: &str) -> String {
    format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - name: echo
    matches: [{{ path: {{ prefix: /echo }} }}]
    response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}
    cluster: origin
",
        origin.address
    )
}

/// A client that asks again and again, and fails the test when one request fails.
struct Loop {
    seen: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Loop {
    async fn start(protocol: Protocol, edge: &Edge) -> Self {
        let mut client = Client::connect(protocol, edge).await;
        let (report, seen) = watch::channel(String::new());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut requests = 0;
            while !stopped.load(Ordering::Relaxed) {
                let response = client.get("/echo").await;
                assert_eq!(
                    response.status, 200,
                    "{protocol:?} request {requests}: {response:?}"
                );
                requests += 1;
                report.send_replace(response.header("x-test-edit").unwrap_or("").to_owned());
            }
            requests
        });
        Self { seen, stop, task }
    }

    async fn sees(&mut self, edit: &str) {
        let seen = within(
            format!("edit {edit}"),
            self.seen.wait_for(|seen| seen == edit),
        )
        .await;
        if seen.is_err() {
            panic!("a request failed before edit {edit}");
        }
    }

    /// Requests made, all of them answered.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no request failed")
    }
}

async fn edit_now(edge: &Edge) -> Option<String> {
    let mut client = Client::connect(Protocol::H2, edge).await;
    client
        .get("/echo")
        .await
        .header("x-test-edit")
        .map(str::to_owned)
}

async fn becomes(edge: &Edge, expected: &str) {
    until(format!("edit {expected}"), || async {
        edit_now(edge).await.filter(|edit| edit == expected)
    })
    .await;
}

async fn status(edge: &Edge) -> Value {
    let (code, text) = edge.admin("/policy").await;
    assert_eq!(code, 200);
    serde_json::from_str::<Value>(&text).expect("JSON")["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_edits_and_no_failed_request() {
    let origins = [Origin::h1().await, Origin::h1().await];
    let edge = Edge::start(&[("all.yaml", &policy(&origins[0], "0"))]).await;
    let mut loops = Vec::new();
    for protocol in Protocol::ALL {
        loops.push(Loop::start(protocol, &edge).await);
    }
    for number in 1..=EDITS {
        let edit = number.to_string();
        let text = policy(&origins[number % 2], &edit);
        if number % 3 == 0 {
            // In place: a reader may see half of it, which must not take anything out of force.
            fs::write(edge.files.policies().join("all.yaml"), text).expect("a file");
        } else {
            edge.files.write_policy("all.yaml", &text);
        }
        for client in &mut loops {
            client.sees(&edit).await;
        }
    }
    for client in loops {
        assert!(client.stop().await >= EDITS);
    }
    assert!(status(&edge).await["generation"].as_u64() > Some(EDITS as u64 - 1));
    assert!(
        origins
            .iter()
            .all(|origin| origin.record().count("/echo") > EDITS)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_edit_changes_nothing_and_is_told() {
    let origin = Origin::h1().await;
    let good = policy(&origin, "good");
    let edge = Edge::start(&[("all.yaml", &good)]).await;
    let before = status(&edge).await;
    let mut client = Client::connect(Protocol::H3, &edge).await;
    let broken = [
        (
            good.replace("cluster: origin", "cluster: orijin"),
            "all.yaml:7:14",
        ),
        (good.replace("routes:", "rutes:"), "all.yaml:3:1"),
        (good.replace("matches: [{", "matches: [{{{"), "all.yaml:"),
    ];
    for (round, (text, place)) in broken.into_iter().enumerate() {
        edge.files.write_policy("all.yaml", &text);
        let now = until("the error to be shown", || async {
            let now = status(&edge).await;
            (now["reloads_failed"].as_u64() > Some(round as u64)).then_some(now)
        })
        .await;
        let told = now["last_error"]["text"].as_str().expect("a text");
        assert!(told.contains(place), "{place}: {told}");
        assert_eq!(
            (&now["generation"], &now["hash"]),
            (&before["generation"], &before["hash"])
        );
        let line = edge.log_line("the broken edit", |line| {
            matches!(line["level"].as_str(), Some("ERROR" | "WARN"))
                && line.to_string().contains(place)
        });
        line.await;
        assert_eq!(
            client.get("/echo").await.header("x-test-edit"),
            Some("good")
        );
    }
    edge.files
        .write_policy("all.yaml", &policy(&origin, "mended"));
    becomes(&edge, "mended").await;
    let now = status(&edge).await;
    assert!(
        now["generation"].as_u64() > before["generation"].as_u64(),
        "{now}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_and_go() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("all.yaml", &policy(&origin, "first"))]).await;
    let mut client = Client::connect(Protocol::H2, &edge).await;
    let extra = "version: 1\nroutes: [{ name: bytes, matches: [{ path: { prefix: /bytes } }], cluster: origin }]\n";
    let becomes_status = |edge: &Edge, expected: u16| {
        let address = edge.https;
        until(format!("status {expected}"), move || async move {
            let mut client = Client::connect_to(Protocol::H2, address)
                .await
                .expect("a connection");
            (client.get("/bytes/1").await.status == expected).then_some(())
        })
    };
    assert_eq!(client.get("/bytes/1").await.status, 404);
    edge.files.write_policy("deep/er/extra.yaml", extra);
    becomes_status(&edge, 200).await;
    fs::rename(
        edge.files.policies().join("deep"),
        edge.files.policies().join("moved"),
    )
    .expect("a folder");
    edge.files
        .write_policy("all.yaml", &policy(&origin, "second"));
    becomes(&edge, "second").await;
    assert_eq!(client.get("/bytes/1").await.status, 200);
    fs::remove_file(edge.files.policies().join("moved/er/extra.yaml")).expect("a file");
    becomes_status(&edge, 404).await;
    // An edit to the same content is none.
    let generation = status(&edge).await["generation"].clone();
    edge.files
        .write_policy("all.yaml", &policy(&origin, "second"));
    edge.files.write_policy("ignored.txt", "not a policy");
    edge.files.write_policy("all2.yaml", "version: 1\n");
    until("the third file", || async {
        (status(&edge).await["generation"] != generation).then_some(())
    })
    .await;
    assert_eq!(
        status(&edge).await["generation"].as_u64(),
        generation.as_u64().map(|number| number + 1)
    );
}

/// As Kubernetes mounts a ConfigMap: files are links through `..data`, which is swapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_links_are_edits() {
    let origin = Origin::h1().await;
    let files = Files::new();
    let folder = files.policies();
    let version = |number: usize| {
        let dir = folder.join(format!("..version-{number}"));
        fs::create_dir(&dir).expect("a folder");
        fs::write(dir.join("all.yaml"), policy(&origin, &number.to_string())).expect("a file");
        let fresh = folder.join("..data_tmp");
        symlink(dir.file_name().expect("a name"), &fresh).expect("a link");
        fs::rename(fresh, folder.join("..data")).expect("a link");
    };
    version(0);
    symlink("..data/all.yaml", folder.join("all.yaml")).expect("a link");
    let edge = Edge::start_with(files, &[]).await;
    becomes(&edge, "0").await;
    for number in 1..=3 {
        version(number);
        becomes(&edge, &number.to_string()).await;
        fs::remove_dir_all(folder.join(format!("..version-{}", number - 1))).expect("a folder");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_vanishes_leaves_the_last_policy_in_force() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("all.yaml", &policy(&origin, "kept"))]).await;
    let aside = edge.files.root().join("aside");
    fs::rename(edge.files.policies(), &aside).expect("a folder");
    until("the error to be shown", || async {
        (!status(&edge).await["last_error"].is_null()).then_some(())
    })
    .await;
    assert_eq!(edit_now(&edge).await.as_deref(), Some("kept"));
    fs::write(aside.join("all.yaml"), policy(&origin, "back")).expect("a file");
    fs::rename(&aside, edge.files.policies()).expect("a folder");
    becomes(&edge, "back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_survive_an_edit_that_does_not_touch_them() {
    let origin = Origin::h1().await;
    let limited = |edit: &str| {
        policy(&origin, edit).replace(
            "    cluster: origin",
            "    limits: [three]\n    cluster: origin",
        ) + "limits: [{ name: three, key: { header: x-key }, rate: 3/h }]\n"
    };
    let edge = Edge::start(&[("all.yaml", &limited("first"))]).await;
    let mut client = Client::connect(Protocol::H2, &edge).await;
    let key = [("x-key", "mine")];
    for _ in 0..3 {
        assert_eq!(client.get_with("/echo", &key).await.status, 200);
    }
    let generation = status(&edge).await["generation"].clone();
    edge.files.write_policy("all.yaml", &limited("second"));
    until("the edit", || async {
        (status(&edge).await["generation"] != generation).then_some(())
    })
    .await;
    assert_eq!(client.get_with("/echo", &key).await.status, 429);
}
