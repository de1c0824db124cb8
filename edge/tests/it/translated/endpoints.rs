//! Translated requests and their endpoints: a connection that cannot be made, and one that is closing.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::upstream::refusing;

const WAYS: [(Method, &str, &str); 2] = [
    (Method::GET, "/v1/echo/a", ""),
    (Method::POST, "/v1/echo", "{\"text\":\"a\"}"),
];

/// A service that can be told to stop, as a deployment does.
struct Replica {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Replica {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let serving = Server::builder()
            .add_service(EchoServiceServer::new(Echo::default()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await; // told, or dropped
            });
        let served = tokio::spawn(async move { serving.await.expect("served") });
        Self {
            address,
            stop,
            served,
        }
    }

    /// Ends its connections politely, and is gone.
    async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.expect("an end");
    }

    /// Ends them in the middle.
    async fn kill(self) {
        self.served.abort();
        let _ = self.served.await;
    }
}

async fn edge(endpoints: &[SocketAddr]) -> Edge {
    let files = Files::new();
    std::fs::write(files.root().join("echo.pb"), DESCRIPTORS).expect("a file");
    let endpoints: Vec<_> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    let policy = format!(
        "version: 1
clusters:
  - name: echo
    endpoints: [{}]
    protocol: grpc
    descriptors: ../echo.pb
    ejection: off
routes:
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], translate: true, cluster: echo }}
",
        endpoints.join(", ")
    );
    files.write_policy("all.yaml", &policy);
    Edge::start_with(files, &[]).await
}

async fn assert_all_answered(client: &mut Client, protocol: Protocol) {
    for (method, path, body) in WAYS {
        let headers = [("content-type", "application/json")];
        let headers = if body.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        let sent = client.send(method.clone(), path, headers, Bytes::from(body));
        let answer = sent.await.expect("an answer");
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{protocol:?} {method}: {text}");
    }
}

async fn assert_every_protocol_answered(edge: &Edge) {
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, edge).await;
        for _ in 0..3 {
            assert_all_answered(&mut client, protocol).await;
        }
    }
}

async fn retries(edge: &Edge) -> f64 {
    let series = "palisade_upstream_retries_total{cluster=\"echo\",reason=\"connect_failure\"}";
    edge.metric(series).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_tried_elsewhere() {
    let (_held, dead) = refusing();
    let live = Replica::start().await;
    let edge = edge(&[dead, live.address]).await;
    assert_every_protocol_answered(&edge).await;
    assert!(retries(&edge).await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_has_gone_fails_nobody_who_comes_after() {
    for is_killed in [true, false] {
        let (one, other) = (Replica::start().await, Replica::start().await);
        let edge = edge(&[one.address, other.address]).await;
        let mut client = Client::connect(Protocol::H2, &edge).await;
        for _ in 0..3 {
            assert_all_answered(&mut client, Protocol::H2).await;
        }
        match is_killed {
            true => one.kill().await,
            false => one.stop().await,
        }
        assert_every_protocol_answered(&edge).await;
        assert!(retries(&edge).await > 0.0);
    }
}

/// Calls that come while a connection says good-bye are sent on another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_nobody() {
    let (one, other) = (Replica::start().await, Replica::start().await);
    let edge = edge(&[one.address, other.address]).await;
    let (stopped, is_stopped) = tokio::sync::watch::channel(false);
    let clients = (0..8).map(|_| {
        let is_stopped = is_stopped.clone();
        let edge = &edge;
        async move {
            let mut client = Client::connect(Protocol::H2, edge).await;
            while !*is_stopped.borrow() {
                assert_all_answered(&mut client, Protocol::H2).await;
            }
            assert_all_answered(&mut client, Protocol::H2).await;
        }
    });
    let stopping = async {
        let mut watching = Client::connect(Protocol::H2, &edge).await;
        for _ in 0..20 {
            assert_all_answered(&mut watching, Protocol::H2).await;
        }
        one.stop().await;
        stopped.send(true).expect("clients");
    };
    tokio::join!(join_all(clients), stopping);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_left_is_503() {
    let ((_first, one), (_second, other)) = (refusing(), refusing());
    let edge = edge(&[one, other]).await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        let refused = client.get("/v1/echo/a").await;
        refused.assert_problem(503, "upstream_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"), "{protocol:?}");
    }
}
