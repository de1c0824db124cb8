//! An identity service that says which tokens are dead, and what API keys stand for.

mod api_keys;
mod revocations;
mod service;

use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpSocket;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::{Files, issue};
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::waiting::until;
use crate::upstream::{Origin, refusing};
use service::{Knowledge, NAME, Service};

/// One edge in front of an origin, and the place of an identity service that is not there yet.
struct World {
    edge: Edge,
    origin: Origin,
    signer: Signer,
    knowledge: Knowledge,
    address: SocketAddr,
    /// Until it starts.
    held: Option<TcpSocket>,
}

impl World {
    /// With these routes and this rule of revocations; clusters are `origin` and `identity`.
    async fn start(rule: &str, routes: &str) -> Self {
        let (origin, signer, files) = (Origin::h1().await, Signer::new("key-1"), Files::new());
        let (held, address) = refusing();
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        std::fs::write(files.root().join("acme.key"), api_keys::ACME).expect("a file");
        std::fs::write(files.root().join("echo.pb"), palisade_echo::DESCRIPTORS).expect("a file");
        let issuer = issuer_from_file(&jwks);
        files.write_policy("identity.yaml", &identity(address, ""));
        let policy = format!(
            "version: 1\nclusters: [{{ name: origin, endpoints: [\"{}\"] }}]\n{issuer}    revocations: {rule}\n{routes}",
            origin.address,
        );
        files.write_policy("policy.yaml", &policy);
        Self {
            edge: Edge::start_with(files, &[]).await,
            origin,
            signer,
            knowledge: Knowledge::new(),
            address,
            held: Some(held),
        }
    }

    async fn serve(&mut self) -> Service {
        drop(self.held.take());
        Service::start(self.address, &self.knowledge).await
    }

    fn bearer(&self, user: &str, session: &str) -> String {
        self.signer.bearer(json!({ "sub": user, "sid": session }))
    }

    /// Status, and code of the problem where it is one.
    async fn get(&self, protocol: Protocol, path: &str, field: (&str, &str)) -> (u16, String) {
        let mut client = Client::connect(protocol, &self.edge).await;
        let answer = client.get_with(path, &[field]).await;
        let code = if answer.status == 200 {
            String::new()
        } else {
            answer.json()["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (answer.status, code)
    }

    async fn becomes(&self, path: &str, field: (&str, &str), status: u16, code: &str) {
        until(format!("{path} to be {status} {code}"), || async {
            let answer = self.get(Protocol::H2, path, field).await;
            (answer == (status, code.to_owned())).then_some(())
        })
        .await;
    }

    async fn metric_becomes(&self, name: &str, value: f64) {
        let series = format!("palisade_revocations_{name}{{cluster=\"identity\"}}");
        until(format!("{series} to be {value}"), || async {
            (self.edge.metric(&series).await == Some(value)).then_some(())
        })
        .await;
    }
}

/// The policy of its cluster.
fn identity(address: SocketAddr, more: &str) -> String {
    format!(
        "version: 1\nclusters:\n  - name: identity\n    endpoints: [\"{address}\"]\n    protocol: grpc\n    descriptors: ../echo.pb\n{more}"
    )
}

/// With certificates by the development CA, those of the edge below the policies.
fn mutual(files: &Files) -> String {
    let (certificate, key) = issue(&["edge.test"]);
    for (name, text) in [("edge.pem", certificate), ("edge.key", key)] {
        std::fs::write(files.root().join(name), text).expect("a file");
    }
    let ca = crate::harness::files::certificate_file("ca.pem");
    format!(
        "    tls:\n      server_name: {NAME}\n      ca: {}\n      certificate: ../edge.pem\n      key: ../edge.key\n",
        ca.display()
    )
}
