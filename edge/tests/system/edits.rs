//! Two hundred edits of the shipped policies under load: each is in force at once, no request
//! notices, and a broken one in the middle changes nothing but what the operator is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::connection::Connection;
use crate::forwarder::Forwarder;
use crate::harness::System;
use crate::harness::files::{CLUSTERS, ROUTES, replaced};
use crate::harness::waiting::until;

const EDITS: usize = 200;
/// An edit is promised within a second; five are a reason to call it lost.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
const JWKS: &str = "/.well-known/jwks.json";

/// A client that reads the keys and a profile in turn, and fails the test when a request fails.
struct Loop {
    edit: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Loop {
    fn start(mut connection: Connection, bearer: String) -> Self {
        let (report, edit) = watch::channel(String::new());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                let keys = connection.send(Method::GET, JWKS, &[], "").await;
                assert_eq!(keys.status, 200, "round {rounds}: {keys:?}");
                report.send_replace(keys.header("x-test-edit").unwrap_or("").to_owned());
                let fields = [("authorization", &*bearer)];
                let profile = connection.send(Method::GET, "/profile", &fields, "").await;
                assert_eq!(profile.status, 200, "round {rounds}: {profile:?}");
                rounds += 1;
            }
            rounds
        });
        Self { edit, stop, task }
    }

    /// Wait until the answers carry `edit`.
    async fn sees(&mut self, edit: &str) {
        let seen = self.edit.wait_for(|seen| seen == edit);
        match tokio::time::timeout(VISIBLE_WITHIN, seen).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                let ended = (&mut self.task).await;
                panic!("a request failed before edit {edit}: {:?}", ended.err());
            }
            Err(_) => panic!("edit {edit} is not in force"),
        }
    }

    /// Rounds made, every request of them answered.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no request failed")
    }
}

/// The shipped files, and what the edits make of them.
struct Editor<'a> {
    system: &'a System,
    routes: String,
    clusters: String,
}

impl<'a> Editor<'a> {
    fn new(system: &'a System) -> Self {
        Self {
            system,
            routes: system.files.policy(ROUTES),
            clusters: system.files.policy(CLUSTERS),
        }
    }

    /// The route of the keys with a header that says which edit is in force.
    fn routes(&self, edit: &str) -> String {
        let kept = "    cache: { default_ttl: 30s }\n";
        let headers =
            format!("{kept}    response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}\n");
        replaced(&self.routes, kept, &headers)
    }

    fn set_header(&self, edit: &str, in_place: bool) {
        let text = self.routes(edit);
        if in_place {
            self.system.files.overwrite(ROUTES, &text);
        } else {
            self.system.files.save(ROUTES, &text);
        }
    }

    /// Move the cluster, and wait until requests of every protocol went to its new endpoint.
    async fn set_endpoint(&self, endpoint: &str) {
        let log = self.system.edge.process.output();
        let mark = log.mark();
        let core = self.system.cores.first.grpc.to_string();
        self.system
            .files
            .save(CLUSTERS, &replaced(&self.clusters, &core, endpoint));
        for protocol in ["1.1", "2", "3"] {
            let moved = log.entry(mark, "a request at the new endpoint", |line| {
                line["route"] == "profile-read"
                    && line["protocol"] == protocol
                    && line["upstream"] == endpoint
            });
            let moved = tokio::time::timeout(VISIBLE_WITHIN, moved).await;
            assert!(moved.is_ok(), "{endpoint} is not in use over {protocol}");
        }
    }

    /// A route with a limit that is not there, told with its place.
    async fn break_and_mend(&self, edit: &str) {
        let before = self.system.policy_status().await;
        let good = self.routes(edit);
        let broken = replaced(
            &good,
            "    limits: [public]\n    cache:",
            "    limits: [publik]\n    cache:",
        );
        let lines = broken.lines().position(|line| line.contains("publik"));
        let place = format!("{ROUTES}:{}:", lines.expect("the fault") + 1);
        self.system.files.save(ROUTES, &broken);
        let status = until("the error at `/policy`", || async {
            let status = self.system.policy_status().await;
            (!status["last_error"].is_null()).then_some(status)
        })
        .await;
        let told = status["last_error"]["text"].as_str().expect("a text");
        assert!(
            told.contains(&place) && told.contains("publik"),
            "{place} {told}"
        );
        let in_force = [&before, &status].map(|status| (&status["generation"], &status["hash"]));
        assert_eq!(in_force[0], in_force[1], "the policy in force stays");
        self.system.files.save(ROUTES, &good);
        until("the error to be gone", || async {
            let status = self.system.policy_status().await;
            status["last_error"].is_null().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_edits_and_no_failed_request() {
    let system = System::start_unlimited().await;
    let account = Account::new("edits");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let bearer = format!("Bearer {}", api.login(&account).await.access);
    let forwarder = Forwarder::start(system.cores.first.grpc).await;
    let endpoints = [system.cores.first.grpc, forwarder.address].map(|address| address.to_string());
    let mut loops = Protocol::ALL
        .map(|protocol| Loop::start(Connection::new(protocol, system.edge.https), bearer.clone()));

    let editor = Editor::new(&system);
    let mut header = String::new();
    for number in 1..=EDITS {
        if number % 2 == 0 {
            editor.set_endpoint(&endpoints[number / 2 % 2]).await;
        } else {
            header = number.to_string();
            editor.set_header(&header, number % 3 == 0);
        }
        for client in &mut loops {
            client.sees(&header).await;
        }
        if number == EDITS / 2 {
            editor.break_and_mend(&header).await;
        }
    }
    for client in loops {
        assert!(client.stop().await >= EDITS / 2);
    }
    let status = system.policy_status().await;
    assert!(
        status["generation"].as_u64() > Some(EDITS as u64),
        "{status}"
    );
    system.end().await;
}
