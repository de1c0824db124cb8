//! The cache: shared by all protocols, filled once however many ask, honest in `cache-status`.

use futures::future::join_all;
use serde_json::json;

use super::World;
use crate::client::{Client, Protocol};

/// What a response says the cache did.
fn status(response: &crate::client::Response) -> String {
    response
        .header("cache-status")
        .expect("cache-status")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_fills_and_a_hit_spares_the_origin() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let target = format!("/fresh/{protocol:?}?a=1");
        let miss = client.get(&target).await;
        assert_eq!(
            (miss.status, &*miss.body),
            (200, target.as_bytes()),
            "{protocol:?}"
        );
        assert_eq!(
            status(&miss),
            "palisade; fwd=uri-miss; stored",
            "{protocol:?}"
        );
        // Every protocol reads what one of them stored.
        for reader in Protocol::ALL {
            let hit = world.client(reader).await.get(&target).await;
            assert_eq!(
                (hit.status, &hit.body),
                (200, &miss.body),
                "{protocol:?} {reader:?}"
            );
            assert!(
                status(&hit).starts_with("palisade; hit; ttl="),
                "{reader:?}: {}",
                status(&hit)
            );
            assert!(hit.header("age").is_some(), "{reader:?}");
            assert_ne!(
                hit.header("x-request-id"),
                miss.header("x-request-id"),
                "{reader:?}"
            );
        }
        assert_eq!(world.origin.record().count(&target), 1, "{protocol:?}");
        let other = client.get(&format!("{target}0")).await;
        assert!(
            status(&other).contains("fwd=uri-miss"),
            "{protocol:?}: the query is part of the key"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_misses_at_once_are_one_request_to_the_origin() {
    for protocol in Protocol::ALL {
        // An edge each: its gate opens once.
        let world = World::start().await;
        let first = world.client(protocol).await;
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..20 {
            clients.push(first.another(&world.edge).await);
        }
        let target = "/fresh-gated/once";
        let asking = join_all(clients.iter_mut().map(|client| client.get(target)));
        let opening = async {
            world
                .origin
                .wait("the one request", |record| record.count(target) == 1)
                .await;
            let series = "palisade_requests_in_flight ";
            crate::harness::waiting::until("all twenty to be in the edge", || async {
                world
                    .edge
                    .metric(series)
                    .await
                    .filter(|in_flight| *in_flight >= 20.0)
            })
            .await;
            // In the edge is not yet at the cache: whole requests through the same threads let the
            // twenty get there first.
            for _ in 0..10 {
                let mut other = first.another(&world.edge).await;
                assert_eq!(other.get("/echo").await.status, 200);
            }
            world.origin.open_gate();
        };
        let (responses, ()) = tokio::join!(asking, opening);
        for response in responses {
            assert_eq!(
                (response.status, &*response.body),
                (200, target.as_bytes()),
                "{protocol:?}"
            );
        }
        assert_eq!(world.origin.record().count(target), 1, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_origins_can_keep_answers_out_of_the_cache() {
    let world = World::start().await;
    let bearer = world.signer.bearer(json!({}));
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let target = format!("/fresh/no-cache/{protocol:?}");
        client.get(&target).await;
        client
            .get_with(&target, &[("cache-control", "no-cache")])
            .await;
        assert_eq!(
            world.origin.record().count(&target),
            2,
            "{protocol:?}: no-cache asks the origin"
        );
        let private = format!("/fresh/authorized/{protocol:?}");
        for _ in 0..2 {
            client
                .get_with(&private, &[("authorization", &bearer)])
                .await;
        }
        assert_eq!(
            world.origin.record().count(&private),
            2,
            "{protocol:?}: RFC 9111, 3.5"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_without_a_cache_rule_never_store() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let target = format!("/bytes/10?{protocol:?}");
        for _ in 0..2 {
            let response = client.get(&target).await;
            assert_eq!(response.header("cache-status"), None, "{protocol:?}");
        }
        assert_eq!(world.origin.record().count(&target), 2, "{protocol:?}");
    }
}
