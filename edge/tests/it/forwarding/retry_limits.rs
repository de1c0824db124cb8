//! Where trying again ends: attempts, time, the first byte of an answer, the endpoint's health.

use super::{access_line, client, is_broken_off, retries, start, start_retrying};
use crate::client::Protocol;
use crate::harness::Edge;
use crate::upstream::Origin;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_is_the_clients() {
    let (one, other) = (Origin::h1().await, Origin::h1().await);
    one.switch(503);
    other.switch(503);
    let rule = "{ attempts: 5, backoff: 2ms }";
    let edge = start_retrying(&[one.address, other.address], "http1", rule).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let response = client.get("/switch").await;
        // The upstream's own answer, not one of the edge.
        assert_eq!(
            (response.status, &*response.body),
            (503, &b""[..]),
            "{protocol:?}"
        );
        let line = access_line(&edge, &response).await;
        assert_eq!(
            (&line["attempts"], &line["answered_by"]),
            (&6.into(), &"upstream".into())
        );
    }
    let counts = [&one, &other].map(|origin| origin.record().count("/switch"));
    assert_eq!(counts, [9, 9], "tries take turns");
    assert_eq!(retries(&edge, "503").await, 15.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tries_together_have_the_time_of_the_request() {
    for (speaks, origin) in [("http1", Origin::h1().await), ("http2", Origin::h2().await)] {
        let keys = format!("protocol: {speaks}, ejection: off");
        let route = "cluster: origin, request_timeout: 1s, retries: { attempts: 5, on: [timeout], per_try_timeout: 400ms, backoff: 0s }";
        let edge = start(&[("origin", &[origin.address], &keys)], route).await;
        for protocol in Protocol::ALL {
            let before = origin.record().count("/hang");
            let mut client = client(&edge, protocol).await;
            let response = client.get("/hang").await;
            response.assert_problem(504, "upstream_timeout");
            let tries = origin.record().count("/hang") - before;
            // 400 ms, 400 ms, and what is left.
            assert!((2..=3).contains(&tries), "{speaks} {protocol:?}: {tries}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_would_outlast_the_request_is_not_begun() {
    let origin = Origin::h1().await;
    origin.switch(503);
    let route = "cluster: origin, request_timeout: 20ms, retries: { attempts: 5, backoff: 10s }";
    let edge = start(&[("origin", &[origin.address], "ejection: off")], route).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let status = client.get("/switch").await.status;
        // The answer, or the end of the time on a slow machine; a pause would be of seconds.
        assert!([503, 504].contains(&status), "{protocol:?}: {status}");
    }
    assert!(retries(&edge, "503").await <= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_tried_again_once_an_answer_began() {
    for (speaks, origin) in [("http1", Origin::h1().await), ("http2", Origin::h2().await)] {
        let rule = "{ attempts: 5, on: [reset, timeout, 502, 503, 504], per_try_timeout: 1s }";
        let edge = start_retrying(&[origin.address], speaks, rule).await;
        for protocol in Protocol::ALL {
            // A reset of HTTP/2 may overtake the head, and then no answer began.
            let cuts = ["/cut/length", "/cut/chunked"].iter();
            let cuts = cuts.filter(|_| speaks == "http1");
            for target in cuts.copied().chain(["/stall/x"]) {
                let before = origin.record().count(target);
                let mut client = client(&edge, protocol).await;
                let broken = is_broken_off(&mut client, target).await;
                assert!(broken, "{speaks} {protocol:?} {target}");
                let tries = origin.record().count(target) - before;
                assert_eq!(tries, 1, "{speaks} {protocol:?} {target}");
            }
        }
        assert_eq!(retries(&edge, "reset").await, 0.0, "{speaks}");
        assert_eq!(retries(&edge, "timeout").await, 0.0, "{speaks}");
    }
}

async fn ejections(edge: &Edge) -> f64 {
    let series = "palisade_upstream_ejections_total{cluster=\"origin\"}";
    edge.metric(series).await.unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_held_against_its_endpoint_once() {
    let (bad, good) = (Origin::h1().await, Origin::h1().await);
    bad.switch(503);
    let keys = "ejection: { consecutive_failures: 2, duration: 1h }";
    let route = "cluster: origin, retries: {}";
    let edge = start(&[("origin", &[bad.address, good.address], keys)], route).await;
    let mut client = client(&edge, Protocol::H2).await;
    for expected in [0.0, 1.0] {
        assert_eq!(client.get("/switch").await.status, 200);
        assert_eq!(ejections(&edge).await, expected);
    }
    assert_eq!(bad.record().count("/switch"), 2);
    for _ in 0..4 {
        assert_eq!(client.get("/switch").await.status, 200);
    }
    assert_eq!(bad.record().count("/switch"), 2, "it is left out");
}
