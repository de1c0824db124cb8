//! Descriptions of the API: what the edge says it takes, held against what it takes.

mod documents;
mod schemathesis;
mod served;

use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};

/// One edge with the routes of a test in front of the Echo service, at cluster `echo`.
struct World {
    edge: Edge,
    _service: Service,
    _signer: Signer,
}

struct Service(JoinHandle<()>);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    async fn start(routes: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tonic::transport::Server::builder()
            .add_service(EchoServiceServer::new(Echo::default()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let service = tokio::spawn(async move {
            serving.await.expect("the service runs");
        });
        let files = Files::new();
        let signer = Signer::new("key-1");
        let jwks = files.root().join("jwks.json");
        std::fs::write(&jwks, signer.jwks()).expect("a file");
        std::fs::write(files.root().join("echo.pb"), DESCRIPTORS).expect("a file");
        let clusters = format!(
            "version: 1\nclusters:\n  - {{ name: echo, endpoints: [\"{address}\"], protocol: grpc, descriptors: ../echo.pb, translation: {{ response_message_max: 64MiB, response_json_max: 64MiB }} }}\n{}",
            issuer_from_file(&jwks),
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1\n{routes}"));
        Self {
            edge: Edge::start_with(files, &[]).await,
            _service: Service(service),
            _signer: signer,
        }
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }
}
