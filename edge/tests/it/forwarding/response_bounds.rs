//! Answers larger than their route lets through.

use http::Method;

use super::{access_line, client, is_broken_off, start};
use crate::client::Protocol;
use crate::harness::Edge;
use crate::upstream::Origin;

const BOUND: usize = 100_000;
const ROUTE: &str = "cluster: origin, response_body_max: 100kB, retries: { attempts: 5 }";

async fn origins() -> [(&'static str, Origin); 2] {
    [("http1", Origin::h1().await), ("http2", Origin::h2().await)]
}

async fn edge(speaks: &str, origin: &Origin, route: &str) -> Edge {
    let keys = format!("protocol: {speaks}, ejection: {{ consecutive_failures: 1 }}");
    start(&[("origin", &[origin.address], &keys)], route).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_one_is_refused_before_it_begins() {
    for (speaks, origin) in origins().await {
        let edge = edge(speaks, &origin, ROUTE).await;
        for protocol in Protocol::ALL {
            let mut client = client(&edge, protocol).await;
            let whole = client.get(&format!("/bytes/{BOUND}")).await;
            assert_eq!(
                (whole.status, whole.body.len()),
                (200, BOUND),
                "{protocol:?}"
            );
            let before = origin.record().requests.len();
            let refused = client.get(&format!("/bytes/{}", BOUND + 1)).await;
            refused.assert_problem(502, "response_too_large");
            let line = access_line(&edge, &refused).await;
            assert_eq!(line["reason"], "response_too_large", "{line}");
            assert_eq!(
                origin.record().requests.len(),
                before + 1,
                "{protocol:?} {speaks}"
            );
        }
        // The endpoint did nothing wrong.
        let ejections = "palisade_upstream_ejections_total{cluster=\"origin\"}";
        assert_eq!(edge.metric(ejections).await.unwrap_or(0.0), 0.0);
        let rejections =
            "palisade_rejections_total{http_route=\"all\",reason=\"response_too_large\"}";
        assert_eq!(edge.metric(rejections).await, Some(3.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unannounced_one_is_broken_off() {
    for (speaks, origin) in origins().await {
        let edge = edge(speaks, &origin, ROUTE).await;
        for protocol in Protocol::ALL {
            let mut small = client(&edge, protocol).await;
            let whole = small.get(&format!("/chunked/{BOUND}")).await;
            assert_eq!(
                (whole.status, whole.body.len()),
                (200, BOUND),
                "{protocol:?}"
            );
            let broken = is_broken_off(&mut small, "/chunked/50000000").await;
            assert!(broken, "{speaks} {protocol:?}");
            let version = match protocol {
                Protocol::H1 => "1.1",
                Protocol::H2 => "2",
                Protocol::H3 => "3",
            };
            let is_this = |line: &serde_json::Value| {
                line["path"] == "/chunked/50000000" && line["protocol"] == version
            };
            let line = edge.log_line("the access line", is_this).await;
            assert_eq!(
                line["reason"], "response_too_large",
                "{speaks} {protocol:?}: {line}"
            );
            let sent = line["bytes_out"].as_u64().expect("a number");
            assert!(sent <= BOUND as u64, "{speaks} {protocol:?}: {sent}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_described_is_not_judged() {
    let origin = Origin::h1().await;
    let edge = edge("http1", &origin, ROUTE).await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        let sent = client.send(Method::HEAD, "/bytes/50000000", &[], "").await;
        let head = sent.expect("an answer");
        assert_eq!((head.status, head.body.len()), (200, 0), "{protocol:?}");
    }
}

/// A cache asks by GET, and does not keep what was asked for with credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_described_has_no_body_whatever_the_cache_asked_for() {
    for (speaks, origin) in origins().await {
        let edge = edge(speaks, &origin, "cluster: origin, cache: {}").await;
        for protocol in Protocol::ALL {
            let mut client = client(&edge, protocol).await;
            for n in 0..8 {
                let target = format!("/fresh-bytes/4?{protocol:?}-{n}");
                let credentials = [("authorization", "Basic dTpw")];
                let sent = client.send(Method::HEAD, &target, &credentials, "").await;
                let head = sent.unwrap_or_else(|error| panic!("{protocol:?} {speaks}: {error:?}"));
                assert_eq!((head.status, head.body.len()), (200, 0), "{protocol:?}");
                assert_eq!(client.get(&target).await.body.len(), 4, "{protocol:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_answer_is_not_kept() {
    let origin = Origin::h1().await;
    let edge = edge("http1", &origin, &format!("{ROUTE}, cache: {{}}")).await;
    for protocol in Protocol::ALL {
        let (target, small) = (
            format!("/fresh-bytes/{}", BOUND + 1),
            format!("/fresh-bytes/{BOUND}?{protocol:?}"),
        );
        for _ in 0..2 {
            // An HTTP/1.1 connection ends with its refused answer.
            let mut client = client(&edge, protocol).await;
            let before = origin.record().count(&target);
            let refused = client.get(&target).await;
            refused.assert_problem(502, "response_too_large");
            assert_eq!(origin.record().count(&target), before + 1, "{protocol:?}");
            let mut client = super::client(&edge, protocol).await;
            assert_eq!(client.get(&small).await.body.len(), BOUND, "{protocol:?}");
        }
        assert_eq!(
            origin.record().count(&small),
            1,
            "{protocol:?}: that one is"
        );
    }
}
