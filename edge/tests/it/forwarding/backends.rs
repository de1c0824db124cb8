//! Shares of a route's requests, by weight.

use super::{client, number, share, start};
use crate::client::Protocol;
use crate::upstream::Origin;
use crate::upstream::raw::RawOrigin;

/// 64 bits of the number choose the cluster.
fn chosen(id: &str, whole: u128) -> u128 {
    share(number(id) >> 64, whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_by_weight_and_by_the_request_id() {
    let (large, small, none) = (Origin::h1().await, Origin::h1().await, Origin::h1().await);
    let edge = start(
        &[
            ("large", &[large.address], ""),
            ("none", &[none.address], ""),
            ("small", &[small.address], ""),
        ],
        "backends: [{ cluster: large, weight: 3 }, { cluster: none, weight: 0 }, { cluster: small }]",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        for _ in 0..100 {
            assert_eq!(client.get("/status/200").await.status, 200, "{protocol:?}");
        }
    }
    let (to_large, to_small) = (large.record().requests, small.record().requests);
    assert_eq!(none.record().requests.len(), 0);
    assert_eq!(to_large.len() + to_small.len(), 300);
    // 225 on average; five standard deviations.
    assert!(to_large.len().abs_diff(225) < 38, "{}", to_large.len());
    for (requests, fields) in [(to_large, 0..3), (to_small, 3..4)] {
        for seen in requests {
            let id = seen.header("x-request-id").expect("a request id");
            assert!(fields.contains(&chosen(id, 4)), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_stays_with_its_cluster() {
    let failing = RawOrigin::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let (stable, canary) = (Origin::h1().await, Origin::h1().await);
    let edge = start(
        &[
            (
                "stable",
                &[failing.address, stable.address],
                "ejection: off",
            ),
            ("canary", &[canary.address], ""),
        ],
        "backends: [{ cluster: stable }, { cluster: canary }], retries: {}",
    )
    .await;
    for protocol in Protocol::ALL {
        let mut client = client(&edge, protocol).await;
        for _ in 0..20 {
            assert_eq!(client.get("/status/200").await.status, 200, "{protocol:?}");
        }
    }
    for (origin, field) in [(&stable, 0), (&canary, 1)] {
        let requests = origin.record().requests;
        assert!(!requests.is_empty());
        for seen in requests {
            let id = seen.header("x-request-id").expect("a request id");
            assert_eq!(chosen(id, 2), field, "{id}");
        }
    }
}
