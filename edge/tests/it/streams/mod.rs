//! Streams of messages over plain HTTP, through the edge, over every protocol.

mod downward;
mod events;
mod upward;

use std::net::SocketAddr;

use bytes::Bytes;
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::client::{Client, Download, Head, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting;

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
const ARRAY: &str = "application/json";

const ROUTES: &str = "
routes:
  - { name: quiet, matches: [{ path: { prefix: /quiet } }], rewrite: { prefix: / }, translate: true, cluster: impatient }
  - { name: kept, matches: [{ path: { prefix: /kept } }], rewrite: { prefix: / }, translate: true, cache: { default_ttl: 1m }, cluster: echo }
  - name: repeated
    matches: [{ path: { prefix: /repeated } }]
    rewrite: { prefix: / }
    translate: true
    retries: { attempts: 3, on: [reset, timeout, 502, 503, 504] }
    cluster: echo
  - { name: all, matches: [{ path: { prefix: / } }], translate: true, request_body_max: 64MiB, cluster: echo }
";

/// An edge before the echo service.
struct World {
    edge: Edge,
    echo: Echo,
    server: AbortHandle,
    /// What carries their connections.
    wires: AbortHandle,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let echo = Echo::default();
        let server = Server::builder().add_service(EchoServiceServer::new(echo.clone()));
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(serving).abort_handle();
        let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let between = relay.local_addr().expect("an address");
        let wires = tokio::spawn(carry(relay, address)).abort_handle();
        let files = Files::new();
        std::fs::write(files.root().join("echo.pb"), DESCRIPTORS).expect("a file");
        let common = format!("endpoints: [\"{between}\"], protocol: grpc, descriptors: ../echo.pb");
        let translation = "translation: { event_id: number, event_name: kind, event_retry: 2s, heartbeat: 100ms }";
        let clusters = format!(
            "version: 1\nlisteners: {{ timeouts: {{ body: 1s }} }}\nclusters:\n  \
             - {{ name: echo, {common}, {translation} }}\n  \
             - {{ name: impatient, {common}, {translation}, timeouts: {{ read: 1500ms }} }}\n"
        );
        files.write_policy("clusters.yaml", &clusters);
        files.write_policy("routes.yaml", &format!("version: 1{ROUTES}"));
        Self {
            edge: Edge::start_with(files, &[]).await,
            echo,
            server,
            wires,
        }
    }

    /// The connections of the edge to the service break.
    fn cut(&self) {
        self.wires.abort();
    }

    async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, &self.edge).await
    }

    /// Nothing goes on at the service any more.
    async fn until_idle(&self) {
        self.until_under_way(0).await;
    }

    async fn until_under_way(&self, calls: usize) {
        waiting::until(format!("`{calls}` calls under way"), || async {
            (self.echo.under_way() == calls).then_some(())
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
        self.wires.abort();
    }
}

/// Each connection to `from` goes on to `address`; all end with the task.
async fn carry(from: TcpListener, address: SocketAddr) {
    let mut wires = JoinSet::new();
    while let Ok((mut near, _)) = from.accept().await {
        wires.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(address).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

/// An answer whose body may be coming.
struct Coming {
    head: Head,
    download: Download,
    seen: String,
}

impl Coming {
    async fn get(client: &mut Client, target: &str, accept: &str) -> Self {
        let headers = [("accept", accept)];
        let opened = client
            .open(http::Method::GET, target, &headers, false)
            .await;
        let (_, pending) = opened.expect("a request");
        Self::of(pending).await
    }

    async fn of(pending: crate::client::Pending) -> Self {
        let (head, download) = pending.head().await.expect("a head");
        Self {
            head,
            download,
            seen: String::new(),
        }
    }

    /// Reads until `text` has come.
    async fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let piece = self.download.chunk().await.expect("no break");
            let piece = piece.unwrap_or_else(|| panic!("no `{text}` in {}", self.seen));
            self.take(&piece);
        }
    }

    /// Reads to the end; whether that was the end of a whole body.
    async fn end(&mut self) -> bool {
        loop {
            match self.download.chunk().await {
                Ok(Some(piece)) => self.take(&piece),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, piece: &Bytes) {
        self.seen += std::str::from_utf8(piece).expect("text");
    }
}
