//! SIGTERM under load: whatever the edge began it ends whole, on every protocol.
//!
//! Every request has a trace id of its own, so that what the two logs say was begun can be
//! compared with what the clients got.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounts::{Account, Api};
use crate::client::{Broken, Client, Protocol};
use crate::connection::Connection;
use crate::harness::System;
use crate::harness::waiting::within;

/// Requests at a time for each protocol and kind.
const PARALLEL: usize = 3;
/// Answered requests of each loop before the edge is told to stop.
const ENOUGH: u64 = 5;

/// How a request ended for the client.
enum Outcome {
    Complete,
    /// No response began.
    Unanswered,
    /// A response began and did not end.
    Cut(Broken),
}

/// One request, repeated.
#[derive(Clone)]
struct Request {
    method: Method,
    target: &'static str,
    bearer: String,
    body: String,
}

/// What the loops did.
#[derive(Default)]
struct Report {
    answered: Vec<String>,
    unanswered: Vec<String>,
}

fn next_trace_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn exchange(
    client: &mut Client,
    request: &Request,
    trace_id: &str,
) -> (Outcome, http::HeaderMap) {
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let mut fields = vec![("traceparent", &*parent)];
    if !request.bearer.is_empty() {
        fields.push(("authorization", &request.bearer));
    }
    let length = request.body.len().to_string();
    if !request.body.is_empty() {
        fields.extend([
            ("content-type", "application/json"),
            ("content-length", &*length),
        ]);
    }
    let none = http::HeaderMap::new();
    let has_body = !request.body.is_empty();
    let opened = client
        .open(request.method.clone(), request.target, &fields, has_body)
        .await;
    let Ok((mut upload, pending)) = opened else {
        return (Outcome::Unanswered, none);
    };
    if has_body {
        let sent = upload.send(request.body.clone().into()).await;
        if sent.is_err() || upload.finish().await.is_err() {
            return (Outcome::Unanswered, none);
        }
    }
    let Ok((head, mut download)) = pending.head().await else {
        return (Outcome::Unanswered, none);
    };
    assert_eq!(head.status, 200, "{head:?}");
    loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => return (Outcome::Complete, head.headers),
            Err(broken) => return (Outcome::Cut(broken), head.headers),
        }
    }
}

/// Until the edge takes no more connections.
async fn repeat(
    mut connection: Connection,
    request: Request,
    done: Arc<watch::Sender<u64>>,
) -> Report {
    let mut report = Report::default();
    loop {
        let Ok(client) = connection.client().await else {
            return report;
        };
        let trace_id = next_trace_id();
        let (outcome, headers) = exchange(client, &request, &trace_id).await;
        match outcome {
            Outcome::Complete => report.answered.push(trace_id),
            Outcome::Unanswered => {
                report.unanswered.push(trace_id);
                return report;
            }
            Outcome::Cut(broken) => panic!("{}: a response was cut: {broken:?}", request.target),
        }
        connection.heed(&headers);
        done.send_modify(|done| *done += 1);
    }
}

/// Trace ids in a log.
fn traced<'a>(entries: &'a [Value], id: impl Fn(&'a Value) -> &'a Value) -> HashSet<&'a str> {
    entries
        .iter()
        .filter_map(|entry| id(entry).as_str())
        .collect()
}

/// What a client did not get was never begun; what it got stands in both logs.
fn assert_kept(system: &System, report: &Report) {
    let edge_log = system.edge.process.output().entries(0);
    assert!(
        edge_log.iter().any(|line| line["message"] == "drained"),
        "the drain ran into its deadline"
    );
    let core_log = system.cores.first.process.output().entries(0);
    let by_edge = traced(&edge_log, |line| &line["trace_id"]);
    let by_core = traced(&core_log, |line| &line["span"]["trace_id"]);
    for trace_id in &report.unanswered {
        let trace_id = trace_id.as_str();
        assert!(
            !by_edge.contains(trace_id) && !by_core.contains(trace_id),
            "a request was begun and not answered: {:?}",
            edge_log.iter().find(|line| line["trace_id"] == trace_id)
        );
    }
    for trace_id in &report.answered {
        let trace_id = trace_id.as_str();
        assert!(
            by_core.contains(trace_id),
            "{trace_id} is not in the core's log"
        );
        assert!(
            by_edge.contains(trace_id),
            "{trace_id} is not in the access log"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_began_ends_whole() {
    let mut system = System::start_unlimited().await;
    let account = Account::new("drain");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let bearer = format!("Bearer {}", api.login(&account).await.access);
    let guest = Account::new("drain-guest");
    let read = Request {
        method: Method::GET,
        target: "/profile",
        bearer,
        body: String::new(),
    };
    // A second account: its many sessions push out one another, not the reader's.
    api.register(&guest).await;
    // Hashing a password takes long enough to be caught in the middle.
    let login = Request {
        method: Method::POST,
        target: "/login",
        bearer: String::new(),
        body: guest.credentials().to_string(),
    };

    let mut loops = JoinSet::new();
    let mut progress = Vec::new();
    for protocol in Protocol::ALL {
        // On h2 and h3 all share one connection, which ends with the last of its streams.
        let first = system.client(protocol).await;
        for request in [&read, &login] {
            for _ in 0..PARALLEL {
                let (sender, done) = watch::channel(0);
                progress.push(done);
                let client = first.another(&system.edge).await;
                let connection = Connection::over(client, protocol, system.edge.https);
                loops.spawn(repeat(connection, request.clone(), Arc::new(sender)));
            }
        }
    }
    for done in &mut progress {
        let reached = within("the load to run", done.wait_for(|done| *done >= ENOUGH)).await;
        assert!(reached.is_ok(), "a loop ended before the edge was told to");
    }
    system.edge.process.signal(Signal::TERM);
    let mut report = Report::default();
    for ended in within("the loops to end", loops.join_all()).await {
        report.answered.extend(ended.answered);
        report.unanswered.extend(ended.unanswered);
    }
    assert_eq!(system.edge.process.ended().await, Some(0));

    system.end_core().await;
    assert_kept(&system, &report);
    system.assert_clean();
}
