//! The same assertions over HTTP/1.1, HTTP/2 and HTTP/3: one feature set, whatever the protocol.

mod answers;
mod bodies;
mod caching;
mod forwarding;
mod grpc;

use serde_json::json;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::upstream::Origin;
use crate::upstream::grpc::{Greeter, descriptors};

/// One edge in front of an origin, a gRPC service and an issuer.
pub(crate) struct World {
    pub(crate) edge: Edge,
    pub(crate) origin: Origin,
    pub(crate) signer: Signer,
    _greeter: Greeter,
}

const ROUTES: &str = "
limits:
  - { name: two, key: { header: x-key }, rate: 2/h }
routes:
  - name: open
    matches:
      - path: { prefix: /echo }
      - path: { prefix: /bytes }
      - path: { prefix: /chunked }
      - path: { prefix: /gated }
      - path: { prefix: /stall }
      - path: { prefix: /cut }
      - path: { prefix: /hang }
      - path: { prefix: /status }
    cluster: origin
  - name: uploads
    matches: [{ path: { prefix: /count } }]
    request_body_max: 64MiB
    cluster: origin
  - name: small-uploads
    matches: [{ path: /count/small }]
    request_body_max: 64KiB
    cluster: origin
  - name: private
    matches: [{ path: { template: \"/private/{id}\" } }]
    auth: { issuer: main, scopes: [read], claim_headers: { sub: x-user-id, tenant: x-tenant } }
    cluster: origin
  - name: admins
    matches: [{ path: /admins }]
    auth: { issuer: main, roles: [admin] }
    cluster: origin
  - name: read-only
    matches: [{ path: /read-only, methods: [GET, HEAD] }]
    cluster: origin
  - name: limited
    matches: [{ path: /limited }]
    limits: [two]
    cluster: origin
  - name: cached
    matches: [{ path: { prefix: /fresh } }, { path: { prefix: /fresh-gated } }, { path: { prefix: /fresh-bytes } }]
    cache: {}
    cluster: origin
  - name: greetings
    matches: [{ path: { prefix: /v1 } }]
    translate: true
    cluster: greeter
  - name: greeter
    matches: [{ path: { prefix: /test.v1.Greeter } }]
    cluster: greeter
  - name: private-greeter
    matches: [{ path: /test.v1.Private/Hello }]
    auth: { issuer: main }
    cluster: greeter
";

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Origin::h1().await, "http1").await
    }

    /// With an origin that speaks `protocol`.
    pub(crate) async fn start_with(origin: Origin, protocol: &str) -> Self {
        let greeter = Greeter::start().await;
        let signer = Signer::new("key-1");
        let files = Files::new();
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        std::fs::write(files.root().join("greeter.pb"), descriptors()).expect("a file");
        let clusters = format!(
            "version: 1\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"], protocol: {protocol} }}\n  - {{ name: greeter, endpoints: [\"{}\"], protocol: grpc, descriptors: ../greeter.pb }}\n{}",
            origin.address,
            greeter.address,
            issuer_from_file(&jwks),
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1{ROUTES}"));
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            signer,
            _greeter: greeter,
        }
    }

    pub(crate) async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// The `authorization` field of a token with this scope.
    pub(crate) fn reader(&self, scope: &str) -> String {
        self.signer
            .bearer(json!({ "scope": scope, "tenant": "acme" }))
    }
}
