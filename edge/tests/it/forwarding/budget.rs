//! The retry budget: a cluster in trouble is not given more to do.

use futures::future::join_all;

use super::{client, start};
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::upstream::Origin;
use crate::upstream::raw::RawOrigin;

/// The rejecting endpoint says no at once, the other one answers when its gate is open.
async fn edge_with_budget(bad: &RawOrigin, good: &Origin, budget: u32) -> Edge {
    let route = format!("cluster: origin, retries: {{ budget_percent: {budget} }}");
    let endpoints = [bad.address, good.address];
    start(&[("origin", &endpoints, "ejection: off")], &route).await
}

async fn tries(edge: &Edge) -> (f64, f64) {
    let taken = super::retries(edge, "503").await;
    let refused = "palisade_upstream_retries_refused_total{cluster=\"origin\"}";
    (taken, edge.metric(refused).await.unwrap_or(0.0))
}

async fn get(mut client: Client) -> u16 {
    client.get("/fresh-gated").await.status
}

/// One request after the other begins, each once the one before was tried where it was to be.
async fn begin(edge: &Edge, good: &Origin, count: usize) -> Vec<tokio::task::JoinHandle<u16>> {
    let client = client(edge, Protocol::H2).await;
    let mut begun: Vec<tokio::task::JoinHandle<u16>> = Vec::new();
    for _ in 0..count {
        let ended = |begun: &[tokio::task::JoinHandle<u16>]| {
            begun.iter().filter(|request| request.is_finished()).count()
        };
        begun.push(tokio::spawn(get(client.clone())));
        let settled = || async {
            let settled = good.record().count("/fresh-gated") + ended(&begun) >= begun.len();
            settled.then_some(())
        };
        crate::harness::waiting::until("a request to wait or to end", settled).await;
    }
    begun
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_budget_answers_are_passed_on() {
    let bad = RawOrigin::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let good = Origin::h1().await;
    let edge = edge_with_budget(&bad, &good, 1).await;
    let begun = begin(&edge, &good, 12).await;
    let (taken, refused) = tries(&edge).await;
    assert_eq!(taken, 3.0, "three are always allowed");
    assert!(refused >= 2.0, "{refused}");
    good.open_gate();
    let statuses = join_all(begun).await;
    let statuses = statuses.into_iter().map(|status| status.expect("a status"));
    let rejected = statuses.filter(|status| *status == 503).count();
    assert_eq!(rejected as f64, refused);
    // The places are free again.
    let client = client(&edge, Protocol::H2).await;
    for _ in 0..4 {
        assert_eq!(get(client.clone()).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_is_no_bound() {
    let bad = RawOrigin::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let good = Origin::h1().await;
    let edge = edge_with_budget(&bad, &good, 100).await;
    let begun = begin(&edge, &good, 12).await;
    good.open_gate();
    for status in join_all(begun).await {
        assert_eq!(status.expect("a status"), 200);
    }
    let (taken, refused) = tries(&edge).await;
    assert!(taken > 3.0, "{taken}");
    assert_eq!(refused, 0.0);
}
