//! Calls in each dialect: gRPC, gRPC-Web and Connect. What the edge refuses looks like what a service
//! refuses, and whoever sets the earliest deadline is obeyed.

mod cors;
mod deadlines;
mod dialect;
mod endings;
mod refusals;

use serde_json::json;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::upstream::Origin;
use crate::upstream::echo::EchoUpstream;

pub(crate) const SERVICE: &str = "/palisade.echo.v1.EchoService";

/// One edge in front of the echo service, an HTTP/2 origin, an endpoint that is not there, and an
/// issuer.
pub(crate) struct World {
    pub(crate) edge: Edge,
    pub(crate) upstream: EchoUpstream,
    origin: Origin,
    signer: Signer,
}

impl World {
    /// With these routes; clusters are `echo`, `origin`, `nobody`.
    pub(crate) async fn start(routes: &str) -> Self {
        Self::start_with(Files::new(), routes, &[]).await
    }

    pub(crate) async fn start_with(files: Files, routes: &str, flags: &[&str]) -> Self {
        let (upstream, origin) = (EchoUpstream::start().await, Origin::h2().await);
        let signer = Signer::new("key-1");
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        let descriptors = files.root().join("echo.pb");
        std::fs::write(descriptors, palisade_echo::DESCRIPTORS).expect("a file");
        let clusters = format!(
            "version: 1
clusters:
  - name: echo
    endpoints: [\"{}\"]
    protocol: grpc
    descriptors: ../echo.pb
    ejection: {{ consecutive_failures: 1, duration: 1h }}
  - {{ name: origin, endpoints: [\"{}\"], protocol: http2 }}
  - {{ name: nobody, endpoints: [\"127.0.0.1:1\"], protocol: grpc, descriptors: ../echo.pb }}
{}",
            upstream.address,
            origin.address,
            issuer_from_file(&jwks),
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1\n{routes}"));
        Self {
            edge: Edge::start_with(files, flags).await,
            upstream,
            origin,
            signer,
        }
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// What reports of pages come to.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn token(&self, changes: serde_json::Value) -> String {
        self.signer.token(changes)
    }

    /// The `authorization` field of a caller with this scope.
    fn bearer(&self, scope: &str) -> String {
        self.signer.bearer(json!({ "scope": scope }))
    }
}
