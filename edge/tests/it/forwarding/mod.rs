//! Where a request goes and what becomes of it there: shares, retries, copies, priorities, bounds.

mod backends;
mod budget;
mod mirror;
mod mirror_bounds;
mod priority;
mod response_bounds;
mod retries;
mod retry_limits;

use std::net::SocketAddr;

use http::Method;

use crate::client::{Client, Protocol, Response};
use crate::harness::Edge;
use crate::harness::files::Files;

/// Clusters by name, address and further keys.
fn clusters(all: &[(&str, &[SocketAddr], &str)]) -> String {
    let mut text = "version: 1\nclusters:\n".to_owned();
    for (name, endpoints, keys) in all {
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|address| format!("\"{address}\""))
            .collect();
        let endpoints = endpoints.join(", ");
        text += &format!("  - {{ name: {name}, endpoints: [{endpoints}], {keys} }}\n");
    }
    text
}

/// An edge with these clusters and one route for everything, which has these keys.
async fn start(all: &[(&str, &[SocketAddr], &str)], route: &str) -> Edge {
    let route = format!(
        "version: 1\nroutes:\n  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], {route} }}\n"
    );
    Edge::start(&[("clusters.yaml", &clusters(all)), ("routes.yaml", &route)]).await
}

/// One cluster, `origin`, of endpoints that are never ejected, and a route with this retry rule.
async fn start_retrying(endpoints: &[SocketAddr], protocol: &str, retries: &str) -> Edge {
    let keys = format!("protocol: {protocol}, ejection: off, connect_retries: 0");
    let route = format!("cluster: origin, retries: {retries}");
    start(&[("origin", endpoints, &keys)], &route).await
}

async fn post(client: &mut Client, target: &str, body: impl Into<bytes::Bytes>) -> Response {
    let answered = client.send(Method::POST, target, &[], body).await;
    answered.unwrap_or_else(|broken| panic!("POST {target}: {broken:?}"))
}

/// Tries by the route's rule or the cluster's, for this reason.
async fn retries(edge: &Edge, reason: &str) -> f64 {
    let series =
        format!("palisade_upstream_retries_total{{cluster=\"origin\",reason=\"{reason}\"}}");
    edge.metric(&series).await.unwrap_or(0.0)
}

/// The access line of an answer.
async fn access_line(edge: &Edge, response: &Response) -> serde_json::Value {
    let id = response
        .header("x-request-id")
        .expect("a request id")
        .to_owned();
    edge.log_line("the access line", |line| line["request_id"] == *id)
        .await
}

/// The number of a request, which decides what is left to chance about it.
fn number(id: &str) -> u128 {
    u128::from_str_radix(id, 16).expect("hex digits")
}

/// What a wheel of fortune with `whole` fields shows for 64 bits.
fn share(bits: u128, whole: u128) -> u128 {
    (bits * whole) >> 64
}

async fn client(edge: &Edge, protocol: Protocol) -> Client {
    Client::connect(protocol, edge).await
}

/// With a descriptor set for translation beside the policies.
fn files_with_descriptors(clusters: &str, routes: &str) -> Files {
    let files = Files::new();
    let descriptors = crate::upstream::grpc::descriptors();
    std::fs::write(files.root().join("greeter.pb"), descriptors).expect("a file");
    files.write_policy("clusters.yaml", clusters);
    files.write_policy("routes.yaml", routes);
    files
}

/// Ask for an answer that is broken off. A reset of HTTP/3 may overtake even the head.
async fn is_broken_off(client: &mut Client, target: &str) -> bool {
    let opened = client.open(Method::GET, target, &[], false).await;
    let (_, pending) = opened.expect("a stream");
    match pending.head().await {
        Ok((head, mut download)) => head.status == 200 && download.check().await.is_err(),
        Err(_) => matches!(client, Client::H3(_)),
    }
}
