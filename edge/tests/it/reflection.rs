//! Descriptors that services tell of themselves: late, changed under way, and gone again.

use std::net::SocketAddr;
use std::path::Path;

use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use protox::Compiler;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, Protocol};
use crate::harness::files::Files;
use crate::harness::waiting::{until, within};
use crate::harness::{Edge, palisade};
use crate::upstream::refusing;

/// The service's contract before it grew.
const OLDER: &str = r#"
syntax = "proto3";
package palisade.echo.v1;
import "google/api/annotations.proto";
service EchoService {
  rpc Look(EchoRequest) returns (EchoResponse) {
    option (google.api.http) = { get: "/v1/look/{text=things/*}" };
  }
}
message EchoRequest { string text = 1; }
message EchoResponse { EchoRequest said = 1; }
"#;

fn older() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("older.proto"), OLDER).expect("a file");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/proto");
    let mut compiler = Compiler::new([folder.path(), &protos]).expect("folders");
    compiler.include_imports(true);
    compiler.open_file("older.proto").expect("it compiles");
    compiler.encode_file_descriptor_set()
}

/// A service that says of itself what it is given; stops when dropped.
struct Server {
    ended: tokio::task::JoinHandle<()>,
    stop: DropGuard,
}

impl Server {
    async fn start(address: SocketAddr, descriptors: &[u8]) -> Self {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .build_v1()
            .expect("descriptors");
        let listener = until("the port to be free", || async {
            TcpListener::bind(address).await.ok()
        })
        .await;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tonic::transport::Server::builder()
            .add_service(EchoServiceServer::new(Echo::default()))
            .add_service(reflection)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
        let ended = tokio::spawn(async move { serving.await.expect("it serves") });
        Self {
            ended,
            stop: stop.drop_guard(),
        }
    }

    async fn stop(self) {
        drop(self.stop);
        self.ended.await.expect("it ends");
    }
}

fn policy(address: SocketAddr) -> String {
    format!(
        "version: 1
clusters:
  - name: echo
    endpoints: [\"{address}\"]
    protocol: grpc
    reflection: {{ refresh: 1s }}
routes:
  - {{ name: all, matches: [{{ path: {{ prefix: /v1 }} }}], translate: true, cluster: echo }}
"
    )
}

async fn get(edge: &Edge, protocol: Protocol, target: &str) -> (u16, Value) {
    let mut client = Client::connect(protocol, edge).await;
    let response = client.get(target).await;
    (response.status, response.json())
}

/// What `/policy` says about the one cluster.
async fn told(edge: &Edge) -> Value {
    let (_, text) = edge.admin("/policy").await;
    let page: Value = serde_json::from_str(&text).expect("JSON");
    page["reflection"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_come_late_change_and_go() {
    let (held, address) = refusing();
    let policies = policy(address);
    let edge = Edge::start(&[("echo.yaml", &policies)]).await;
    until("the first failure", || async {
        told(&edge).await["error"].as_str().map(drop)
    })
    .await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        let response = client.get("/v1/look/things/1").await;
        response.assert_problem(503, "descriptors_unavailable");
        assert_eq!(response.header("retry-after"), Some("1"), "{protocol:?}");
    }
    assert_eq!(told(&edge).await["age_s"], Value::Null);
    assert_eq!(edge.admin("/readyz").await.0, 200);
    drop(held);

    let server = Server::start(address, &older()).await;
    until("the first descriptors", || async {
        let (status, _) = get(&edge, Protocol::H1, "/v1/look/things/1").await;
        (status == 200).then_some(())
    })
    .await;
    for protocol in Protocol::ALL {
        let (status, json) = get(&edge, protocol, "/v1/look/things/1").await;
        assert_eq!((status, &json["said"]["text"]), (200, &"things/1".into()));
        let (status, json) = get(&edge, protocol, "/v1/echo/hi").await;
        assert_eq!((status, &json["code"]), (404, &"binding_not_found".into()));
    }
    let cluster = "{cluster=\"echo\"}";
    let services = format!("palisade_reflection_services{cluster}");
    let failures = format!("palisade_reflection_failures{cluster}");
    assert_eq!(edge.metric(&services).await, Some(1.0));
    assert_eq!(told(&edge).await["rpcs"], 1);

    // On a connection that is kept: it was made under the older descriptors.
    let mut client = Client::connect(Protocol::H2, &edge).await;
    assert_eq!(client.get("/v1/echo/hi").await.status, 404);
    server.stop().await;
    let server = Server::start(address, DESCRIPTORS).await;
    within("the new binding", async {
        while client.get("/v1/echo/hi").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for protocol in Protocol::ALL {
        let (status, json) = get(&edge, protocol, "/v1/echo/hi").await;
        assert_eq!((status, &json["said"]["text"]), (200, &"hi".into()));
    }
    // Rules came along with it.
    let (status, json) = get(&edge, Protocol::H1, "/v1/echo/hi?paddingBytes=99999999").await;
    assert_eq!((status, &json["code"]), (400, &"invalid_argument".into()));
    assert_eq!(json["errors"][0]["field"], "paddingBytes");

    server.stop().await;
    until("the service to be missed", || async {
        edge.metric(&failures)
            .await
            .filter(|failures| *failures > 0.0)
    })
    .await;
    // What it said is still known; it is the service that is missing.
    let (status, json) = get(&edge, Protocol::H1, "/v1/echo/hi").await;
    let expected = (503, &"upstream_unavailable".into());
    assert_eq!((status, &json["code"]), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_survives_reloads() {
    let (held, address) = refusing();
    drop(held);
    let server = Server::start(address, DESCRIPTORS).await;
    let edge = Edge::start(&[("echo.yaml", &policy(address))]).await;
    until("the first descriptors", || async {
        told(&edge).await["age_s"].as_u64()
    })
    .await;
    server.stop().await;
    let other = "version: 1\nroutes:\n  - { name: other, matches: [{ path: /other }], respond: { status: 204 } }\n";
    edge.files.write_policy("other.yaml", other);
    until("the reload", || async {
        let mut client = Client::connect(Protocol::H1, &edge).await;
        (client.get("/other").await.status == 204).then_some(())
    })
    .await;
    let (status, json) = get(&edge, Protocol::H1, "/v1/echo/hi").await;
    let expected = (503, &"upstream_unavailable".into());
    assert_eq!((status, &json["code"]), expected);

    // Another cluster starts anew, and asks for itself.
    let changed = policy(address).replace("refresh: 1s", "refresh: 2s");
    edge.files.write_policy("echo.yaml", &changed);
    until("the other cluster", || async {
        let (_, json) = get(&edge, Protocol::H1, "/v1/echo/hi").await;
        (json["code"] == "descriptors_unavailable").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_it_cannot_see() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let files = Files::with_policies(&[("echo.yaml", &policy(address))]);
    let folder = files.policies();
    let ended = palisade(&["check".as_ref(), folder.as_ref()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = "what routes to cluster `echo` translate is not checked";
    assert!(ended.stdout.contains(told), "{ended:?}");
}
