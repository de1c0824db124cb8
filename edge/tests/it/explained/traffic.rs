//! Ten thousand requests to a running edge: the access log tells of each what was decided.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use palisade_edge::explain::{Decision, decide};
use palisade_edge::snapshot::Snapshot;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::requests::{Generated, request, tokens};
use super::{Rich, offline};
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::waiting::until;

/// Of each kind of connection: plain h1, h1, h2, h3. Ten thousand together.
const REQUESTS: [usize; 4] = [2_500, 5_500, 1_000, 1_000];
/// Connections of each kind.
const CONNECTIONS: usize = 4;

/// An upstream that has no opinion.
async fn agreeable() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(|| async { "fine" });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A request, what it was answered, and under which id it was logged.
struct Answered {
    sent: Generated,
    id: String,
    status: u16,
    /// Names in the `ratelimit` field.
    limits: Vec<String>,
}

/// One after the other over one connection; a connection that an answer closed is made anew.
async fn converse(
    edge: Arc<Edge>,
    protocol: Option<Protocol>,
    requests: Vec<Generated>,
) -> Vec<Answered> {
    let connect = async || match protocol {
        None => Client::plain(&edge).await,
        Some(protocol) => Client::connect(protocol, &edge).await,
    };
    let mut client = connect().await;
    let mut answered = Vec::with_capacity(requests.len());
    for sent in requests {
        let mut headers: Vec<(&str, &str)> =
            sent.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        headers.extend(sent.host.map(|host| ("host", host)));
        let method = || sent.method.parse().expect("a method");
        let body = || vec![b'a'; sent.body_bytes];
        let response = match client.send(method(), &sent.target, &headers, body()).await {
            Ok(response) => response,
            Err(_) => {
                client = connect().await;
                let again = client.send(method(), &sent.target, &headers, body()).await;
                again.unwrap_or_else(|broken| panic!("{sent:?}: {broken:?}"))
            }
        };
        let limits = response.header("ratelimit").unwrap_or("").split(", ");
        let limits = limits.filter_map(|member| Some(member.split('"').nth(1)?.to_owned()));
        answered.push(Answered {
            id: response.header("x-request-id").expect("an id").to_owned(),
            status: response.status,
            limits: limits.collect(),
            sent,
        });
    }
    answered
}

fn compare(snapshot: &Snapshot, answered: &Answered, line: &Value) -> Result<(), String> {
    let Answered {
        sent,
        status,
        limits,
        ..
    } = answered;
    let decision: Decision =
        decide(snapshot, &sent.question(&answered.id)).map_err(|error| error.to_string())?;
    let expect =
        |what: &str, expected: Option<&str>, actual: &Value| match expected == actual.as_str() {
            true => Ok(()),
            false => Err(format!("{what}: explained {expected:?}, happened {actual}")),
        };
    expect("route", decision.route_name(), &line["route"])?;
    expect(
        "code",
        decision.answer.map(|answer| answer.code),
        &line["reason"],
    )?;
    let own = if decision.answer.is_some() {
        "edge"
    } else {
        "upstream"
    };
    expect("answered_by", Some(own), &line["answered_by"])?;
    match decision.answer {
        // gRPC has its own statuses.
        Some(answer) if !sent.is_grpc() && answer.status != *status => {
            return Err(format!(
                "status: explained {}, happened {status}",
                answer.status
            ));
        }
        Some(_) => {}
        None => {
            let is_hit = line["cache"] == "hit";
            if !is_hit {
                expect("cluster", decision.cluster.as_deref(), &line["cluster"])?;
            }
            let route = decision.route.as_ref().ok_or("no route")?;
            let names = route
                .limits
                .iter()
                .filter_map(|used| snapshot.policy.limits.get(used.id.0));
            let names: Vec<&str> = names.map(|limit| &*limit.name).collect();
            if names != *limits {
                return Err(format!("limits: explained {names:?}, happened {limits:?}"));
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_get_what_was_explained() {
    let rich = Rich::new(agreeable().await, agreeable().await);
    let snapshot = offline(&rich.files.policies());
    let tokens = tokens(&rich.signer);
    let edge = Arc::new(Edge::start_with(rich.files, &[]).await);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let kinds = [
        None,
        Some(Protocol::H1),
        Some(Protocol::H2),
        Some(Protocol::H3),
    ];
    let mut conversations = JoinSet::new();
    for (protocol, requests) in kinds.into_iter().zip(REQUESTS) {
        for _ in 0..CONNECTIONS {
            let mut requests: Vec<Generated> = (0..requests / CONNECTIONS)
                .map(|_| request(&mut random, &tokens))
                .collect();
            for request in &mut requests {
                request.encrypted = protocol.is_some();
                // h2 and h3 name the host in the target alone.
                if !matches!(protocol, None | Some(Protocol::H1)) {
                    request.host = None;
                }
            }
            conversations.spawn(converse(edge.clone(), protocol, requests));
        }
    }
    let answered: Vec<Answered> = conversations
        .join_all()
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(answered.len(), REQUESTS.iter().sum::<usize>());
    let lines = until("every access line", async || {
        let lines = edge.log_lines(|line| line["message"] == "request");
        (lines.len() >= answered.len()).then_some(lines)
    })
    .await;
    let id = |line: &Value| line["request_id"].as_str().unwrap_or("").to_owned();
    let lines: HashMap<String, Value> = lines.into_iter().map(|line| (id(&line), line)).collect();
    let mut wrong = Vec::new();
    for one in &answered {
        let line = lines.get(&one.id).expect("an access line");
        if let Err(what) = compare(&snapshot, one, line) {
            wrong.push(format!("{what}\n  {:?}\n  {line}", one.sent));
        }
    }
    let shown = wrong
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "seed {seed}, {} of {}:\n{shown}",
        wrong.len(),
        answered.len()
    );
}
