//! Too much to do: the least important requests are refused first, and cheaply.

use http::Method;
use tokio::task::JoinHandle;

use super::{client, clusters};
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::waiting::until;
use crate::upstream::Origin;
use crate::upstream::grpc::HELLO;
use crate::websocket;

const ROUTES: &str = "
routes:
  - { name: low, matches: [{ path: /low }], priority: low, auth: { issuer: main }, cluster: origin }
  - { name: normal, matches: [{ path: /normal }], cluster: origin }
  - { name: high, matches: [{ path: /high }], priority: high, cluster: origin }
  - { name: critical, matches: [{ path: { prefix: / } }], priority: critical, cluster: origin }
  - { name: tunnels, matches: [{ path: { prefix: /tunnel } }], websocket: {}, cluster: tunnels }
";
const PATHS: [&str; 4] = ["/low", "/normal", "/high", "/critical"];

struct World {
    edge: Edge,
    origin: Origin,
    tunnels: websocket::origin::Origin,
    signer: Signer,
}

impl World {
    async fn start() -> Self {
        let (origin, tunnels) = (Origin::h1().await, websocket::origin::Origin::start().await);
        let (files, signer) = (Files::new(), Signer::new("key-1"));
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        let all = clusters(&[
            ("origin", &[origin.address], ""),
            ("tunnels", &[tunnels.address], ""),
        ]);
        files.write_policy("clusters.yaml", &(all + &issuer_from_file(&jwks)));
        let routes = format!("version: 1\nlisteners:\n  requests: {{ max: 10 }}\n{ROUTES}");
        files.write_policy("routes.yaml", &routes);
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            tunnels,
            signer,
        }
    }

    /// A request that waits at the origin.
    async fn hold(&self, client: &Client) -> JoinHandle<u16> {
        let before = self.origin.record().count("/count-gated");
        until("a request to be under way", || async {
            let mut client = client.clone();
            let request = tokio::spawn(async move { client.get("/count-gated").await.status });
            until("it to wait or to be refused", || async {
                let waits = self.origin.record().count("/count-gated") > before;
                (waits || request.is_finished()).then_some(())
            })
            .await;
            (!request.is_finished()).then_some(request)
        })
        .await
    }

    /// Which of the paths are served.
    async fn served(&self, protocol: Protocol) -> Vec<bool> {
        let bearer = self.signer.bearer(serde_json::json!({}));
        let mut served = Vec::new();
        for path in PATHS {
            let mut client = client(&self.edge, protocol).await;
            let response = client.get_with(path, &[("authorization", &bearer)]).await;
            if response.status != 200 {
                response.assert_problem(503, "overloaded");
                assert_eq!(response.header("retry-after"), Some("1"), "{protocol:?}");
            }
            served.push(response.status == 200);
        }
        served
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_important_are_refused_first() {
    let world = World::start().await;
    let holder = client(&world.edge, Protocol::H2).await;
    let mut held = Vec::new();
    for (under_way, served) in [
        (6, [true, true, true, true]),
        (7, [false, true, true, true]),
        (8, [false, false, true, true]),
        (9, [false, false, false, true]),
        (10, [false, false, false, false]),
    ] {
        while held.len() < under_way {
            held.push(world.hold(&holder).await);
        }
        for protocol in Protocol::ALL {
            // A request that was just answered may still be counted for a moment.
            until(format!("{served:?} with {under_way}"), || async {
                (world.served(protocol).await == served).then_some(())
            })
            .await;
        }
    }
    // Before tokens are verified: a bad one makes no difference.
    let mut probe = client(&world.edge, Protocol::H2).await;
    let fields = [("authorization", "Bearer nonsense")];
    let refused = probe.get_with("/low", &fields).await;
    refused.assert_problem(503, "overloaded");
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let sent = probe
        .send(Method::POST, HELLO, &grpc, "")
        .await
        .expect("an answer");
    assert_eq!((sent.status, sent.header("grpc-status")), (200, Some("14")));
    // The edge is busy, not broken.
    assert_eq!(world.edge.admin("/readyz").await.0, 200);
    world.origin.open_gate();
    for request in held {
        assert_eq!(request.await.expect("a status"), 200);
    }
    until("places to be free again", || async {
        (world.served(Protocol::H2).await == [true; 4]).then_some(())
    })
    .await;
    let counter = "palisade_rejections_total{http_route=\"low\",reason=\"overloaded\"}";
    assert!(world.edge.metric(counter).await >= Some(13.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_tunnels_take_no_place() {
    let world = World::start().await;
    let mut tunnels = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3].repeat(5) {
        let opened =
            websocket::client::Client::connect(protocol, world.edge.https, "/tunnel", &[]).await;
        tunnels.push(opened.unwrap_or_else(|refused| panic!("{protocol:?}: {refused:?}")));
    }
    assert_eq!(world.tunnels.seen().len(), 15);
    assert_eq!(world.served(Protocol::H2).await, [true; 4]);
}
