//! What routes inherit, over the wire: the defaults of a host hold for its requests alone.

use http::Method;

use crate::client::Client;
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::upstream::Origin;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_host_has_its_own_defaults() {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
limits: [{{ name: few, key: client_address, rate: 2/d }}]
defaults: {{ plain_http: true, response_headers: {{ set: {{ x-test-edit: everywhere }} }} }}
hosts:
  - name: api
    hosts: [api.example]
    defaults: {{ limits: [few], request_body_max: 4B, cors: {{ origins: [\"https://app.example\"] }} }}
  - name: docs
    hosts: [\"*.docs.example\"]
    defaults: {{ plain_http: false, response_headers: {{ set: {{ x-test-edit: docs }} }} }}
routes:
  - {{ name: all, matches: [{{ path: {{ prefix: /echo }} }}], cluster: origin }}
",
        origin.address
    );
    let edge = Edge::start(&[("policy.yaml", &policy)]).await;
    let mut client = Client::plain(&edge).await;
    for (host, status, from, policy) in [
        ("api.example", 200, Some("everywhere"), true),
        ("api.example", 200, Some("everywhere"), true),
        ("api.example", 429, None, true),
        ("other.example", 200, Some("everywhere"), false),
        // Not without TLS there.
        ("a.docs.example", 308, None, false),
        ("docs.example", 200, Some("everywhere"), false),
    ] {
        let response = client.get_with("/echo", &[("host", host)]).await;
        assert_eq!(response.status, status, "{host}");
        if status == 200 {
            assert_eq!(response.header("x-test-edit"), from, "{host}");
        }
        let is_told = response.header("ratelimit-policy").is_some();
        assert_eq!(is_told, policy, "{host}");
    }
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
    ];
    for (host, status) in [("api.example", 204), ("other.example", 200)] {
        let headers = [&preflight[..], &[("host", host)]].concat();
        let response = client.send(Method::OPTIONS, "/echo", &headers, "").await;
        assert_eq!(response.expect("an answer").status, status, "{host}");
    }
    let long = client
        .send(Method::POST, "/echo", &[("host", "other.example")], "12345")
        .await
        .expect("an answer");
    assert_eq!(long.status, 200);
}

/// A variable is the route's, and the edit that it stands in the host's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inherited_edits_know_the_variables_of_the_route() {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
defaults: {{ plain_http: true }}
hosts:
  - name: api
    hosts: [api.example]
    defaults: {{ response_headers: {{ set: {{ x-test-edit: \"api {{id}}\" }} }} }}
routes:
  - {{ name: one, matches: [{{ path: {{ template: \"/echo/{{id}}\" }} }}], cluster: origin }}
",
        origin.address
    );
    let edge = Edge::start(&[("policy.yaml", &policy)]).await;
    let mut client = Client::plain(&edge).await;
    for (host, edit) in [("api.example", Some("api 7")), ("other.example", None)] {
        let response = client.get_with("/echo/7", &[("host", host)]).await;
        assert_eq!(response.status, 200, "{host}");
        assert_eq!(response.header("x-test-edit"), edit, "{host}");
    }
}

/// From a file, and nowhere to be read but upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_header_goes_upstream_and_nowhere_else() {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - name: all
    matches: [{{ path: {{ prefix: /echo }} }}]
    plain_http: true
    request_headers: {{ set: {{ x-upstream: {{ file: ../upstream.secret }} }} }}
    cluster: origin
",
        origin.address
    );
    let files = Files::with_policies(&[("policy.yaml", &policy)]);
    std::fs::write(files.root().join("upstream.secret"), "swordfish\n").expect("a file");
    let edge = Edge::start_with(files, &[]).await;
    let mut client = Client::plain(&edge).await;
    let response = client.get_with("/echo", &[("host", "a.example")]).await;
    assert_eq!(response.status, 200);
    let seen = origin.record().requests.pop().expect("a request");
    assert_eq!(seen.header("x-upstream"), Some("swordfish"));
    let lines = edge.log_lines(|_| true);
    assert!(!lines.is_empty());
    assert!(
        lines
            .iter()
            .all(|line| !line.to_string().contains("swordfish"))
    );
}
