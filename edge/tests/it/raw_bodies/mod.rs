//! Bodies of any type and length through the edge, onto a gRPC service.

mod large;
mod leaving;
mod ranges;
mod tus;

use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::until;

const ROUTES: &str = "version: 1
routes:
  - name: files
    matches: [{ path: { prefix: /v1 } }]
    request_body_max: 2GiB
    request_timeout: off
    translate: true
    cluster: echo
  - name: kept
    matches: [{ path: /v1/files/kept }]
    cache: { default_ttl: 1h }
    translate: true
    cluster: echo
  - name: calls
    matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }]
    cluster: echo
";

struct World {
    edge: Edge,
    echo: Echo,
    _stop: DropGuard,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let echo = Echo::default();
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(EchoServiceServer::new(echo.clone()))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            );
        tokio::spawn(server);
        let files = Files::new();
        std::fs::write(files.root().join("echo.pb"), DESCRIPTORS).expect("a file");
        let clusters = format!(
            "version: 1\nclusters:\n  - {{ name: echo, endpoints: [\"{address}\"], protocol: grpc, descriptors: ../echo.pb, translation: {{ http_metadata: honour }} }}\n"
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", ROUTES);
        Self {
            edge: Edge::start_with(files, &[]).await,
            echo,
            _stop: stop.drop_guard(),
        }
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// Until so many calls are under way.
    async fn until_under_way(&self, calls: usize) {
        until(format!("{calls} calls under way"), || async {
            (self.echo.under_way() == calls).then_some(())
        })
        .await;
    }
}
