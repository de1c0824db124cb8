//! The tables of `translate/tests/conformance` through a running edge, over h1, h2 and h3.

use std::path::Path;

use http::Method;
use palisade_echo::mirror::{self, Mirror};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::cases::{Case, Table, summary, tables};
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_over_every_protocol() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("translate/tests/conformance");
    let tables = tables(&folder);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        Server::builder()
            .add_service(Mirror)
            .serve_with_incoming(incoming),
    );
    let edge = Edge::start_with(files(&tables, &address.to_string()), &[]).await;
    let mut wrong = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for table in &tables {
            let mut answers = Vec::new();
            for case in &table.cases {
                answers.push(ask(&mut client, table, case).await);
            }
            let found = table.settle(&answers, true);
            wrong.extend(found.iter().map(|wrong| format!("{protocol:?} {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// One cluster and one route for each table: its requests say which one they are of.
fn files(tables: &[Table], address: &str) -> Files {
    let files = Files::new();
    std::fs::write(files.root().join("mirror.pb"), mirror::DESCRIPTORS).expect("a file");
    let mut clusters = "version: 1\nclusters:\n".to_owned();
    let mut routes = "version: 1\nroutes:\n".to_owned();
    for table in tables {
        let name = table.name.replace('_', "-");
        let settings: Vec<_> = table
            .translation
            .iter()
            .map(|(k, v)| format!("{k}: {v}"))
            .collect();
        let settings = settings.join(", ");
        clusters.push_str(&format!(
            "  - {{ name: {name}, endpoints: [\"{address}\"], protocol: grpc, descriptors: ../mirror.pb, translation: {{ {settings} }} }}\n"
        ));
        routes.push_str(&format!(
            "  - {{ name: {name}, matches: [{{ path: {{ prefix: / }}, headers: {{ x-table: {name} }} }}], translate: true, cluster: {name} }}\n"
        ));
    }
    files.write_policy("clusters.yaml", &clusters);
    files.write_policy("routes.yaml", &routes);
    files
}

async fn ask(client: &mut Client, table: &Table, case: &Case) -> String {
    let name = table.name.replace('_', "-");
    let mut headers = case.headers();
    headers.push(("x-table", &name));
    let method = Method::from_bytes(case.method.as_bytes()).expect("a method");
    let response = client
        .send(method, &case.target, &headers, case.body.clone())
        .await
        .unwrap_or_else(|broken| panic!("{case:?}: {broken:?}"));
    if response.header("connection") == Some("close") {
        *client = client.renewed().await;
    }
    summary(
        response.status,
        response.header("content-type"),
        &response.body,
    )
}
