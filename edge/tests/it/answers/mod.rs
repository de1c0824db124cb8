//! What policies do with requests beyond passing them on: redirects, answers of the edge's own, other
//! targets upstream, pages of other origins. On h1, h2 and h3 with the same assertions.

mod cors;
mod redirects;
mod respond;
mod rewrites;

use serde_json::json;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::upstream::Origin;
use crate::upstream::grpc::{Greeter, descriptors};

/// One edge with the routes of a test, in front of an origin, a gRPC service and an issuer.
struct World {
    edge: Edge,
    origin: Origin,
    signer: Signer,
    _greeter: Greeter,
}

impl World {
    async fn start(routes: &str) -> Self {
        Self::start_with(Origin::h1().await, "http1", routes).await
    }

    /// With an origin that speaks `protocol`.
    async fn start_with(origin: Origin, protocol: &str, routes: &str) -> Self {
        let greeter = Greeter::start().await;
        let signer = Signer::new("key-1");
        let files = Files::new();
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        std::fs::write(files.root().join("greeter.pb"), descriptors()).expect("a file");
        std::fs::write(files.root().join("page.html"), "<h1>closed</h1>").expect("a file");
        let clusters = format!(
            "version: 1\nclusters:\n  - {{ name: origin, endpoints: [\"{}\"], protocol: {protocol} }}\n  - {{ name: greeter, endpoints: [\"{}\"], protocol: grpc, descriptors: ../greeter.pb }}\n{}",
            origin.address,
            greeter.address,
            issuer_from_file(&jwks),
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1\n{routes}"));
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            signer,
            _greeter: greeter,
        }
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// The `authorization` field of some caller.
    fn bearer(&self) -> String {
        self.signer.bearer(json!({}))
    }

    /// The access line of a response.
    async fn line_of(&self, response: &crate::client::Response) -> serde_json::Value {
        let id = response.header("x-request-id").expect("an id").to_owned();
        let wanted = |line: &serde_json::Value| line["request_id"] == *id;
        self.edge.log_line("the access line", wanted).await
    }
}
