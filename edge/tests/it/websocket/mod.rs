//! WebSocket connections over HTTP/1.1, HTTP/2 and HTTP/3: opened, refused, and ended.

pub(crate) mod client;
pub(crate) mod origin;

mod answers;
mod autobahn;
mod backpressure;
mod ending;
mod opening;
mod translated;

use crate::client::Protocol;
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::waiting::until;

use client::{Client, Fields, Refused};
use origin::Origin;

/// One edge in front of a WebSocket upstream.
struct World {
    edge: Edge,
    origin: Origin,
    signer: Signer,
}

const ROUTES: &str = "
limits:
  - { name: two, key: { header: x-key }, rate: 2/h }
routes:
  - { name: open, matches: [{ path: { prefix: /open } }], websocket: {}, plain_http: true, cluster: origin }
  - { name: off, matches: [{ path: { prefix: /off } }], cluster: origin }
  - { name: pages, matches: [{ path: { prefix: /pages } }], websocket: { origins: [\"https://app.example.com\"] }, cluster: origin }
  - { name: limited, matches: [{ path: { prefix: /limited } }], limits: [two], websocket: {}, cluster: origin }
  - { name: idle, matches: [{ path: { prefix: /idle } }], websocket: { idle_timeout: 700ms }, cluster: origin }
  - { name: quiet, matches: [{ path: { prefix: /quiet } }], websocket: { idle_timeout: 35s }, cluster: origin }
  - { name: short, matches: [{ path: { prefix: /short } }], websocket: { lifetime: 1s }, cluster: origin }
  - { name: hasty, matches: [{ path: { prefix: /hasty } }], request_timeout: 500ms, websocket: {}, cluster: origin }
  - name: private
    matches: [{ path: { prefix: /private } }]
    auth: { issuer: main, scopes: [read], claim_headers: { sub: x-user-id } }
    websocket: {}
    cluster: origin
  - name: longer-than-its-token
    matches: [{ path: { prefix: /longer } }]
    auth: { issuer: main }
    websocket: { end_with_token: false }
    cluster: origin
";

impl World {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let (files, signer) = Self::files(origin.address, ROUTES);
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            signer,
        }
    }

    fn files(origin: std::net::SocketAddr, routes: &str) -> (Files, Signer) {
        let signer = Signer::new("key-1");
        let files = Files::new();
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        let issuer = issuer_from_file(&jwks) + "    leeway: 0s\n";
        let clusters = format!(
            "version: 1\nclusters:\n  - {{ name: origin, endpoints: [\"{origin}\"], timeouts: {{ read: 3s, write: 2s }} }}\n{issuer}"
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1{routes}"));
        (files, signer)
    }

    async fn try_open(
        &self,
        protocol: Protocol,
        path: &str,
        fields: Fields<'_>,
    ) -> Result<Client, Refused> {
        Client::connect(protocol, self.edge.https, path, fields).await
    }

    async fn open(&self, protocol: Protocol, path: &str, fields: Fields<'_>) -> Client {
        let opened = self.try_open(protocol, path, fields).await;
        opened.unwrap_or_else(|refused| panic!("{protocol:?} {path}: {refused:?}"))
    }

    async fn metric_becomes(&self, series: &str, value: f64) {
        let is_value = || async {
            let found = self.edge.metric(series).await;
            (found == Some(value)).then_some(())
        };
        until(format!("{series} to be {value}"), is_value).await;
    }

    async fn refused(&self, protocol: Protocol, path: &str, fields: Fields<'_>) -> Refused {
        match self.try_open(protocol, path, fields).await {
            Ok(_) => panic!("{protocol:?} {path}: opened"),
            Err(refused) => refused,
        }
    }
}
