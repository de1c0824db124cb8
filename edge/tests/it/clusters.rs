//! Endpoints: which one gets a request, what happens when one fails, and how it is proved who it is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::client::{Client, Protocol, tls};
use crate::harness::Edge;
use crate::harness::files::{Files, certificate_file, foreign_authority};
use crate::harness::waiting::until;
use crate::upstream::{Origin, Speaks, refusing};

/// One cluster with these endpoints and further lines, and one route for everything.
fn policy(endpoints: &[SocketAddr], cluster: &str, route: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    format!(
        "version: 1
clusters:
  - name: origin
    endpoints: [{}]
{cluster}
routes:
  - name: all
    matches: [{{ path: {{ prefix: / }} }}]
    cluster: origin
{route}
",
        endpoints.join(", ")
    )
}

async fn start(endpoints: &[SocketAddr], cluster: &str, route: &str) -> Edge {
    Edge::start(&[("all.yaml", &policy(endpoints, cluster, route))]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_turns() {
    let (left, right) = (Origin::h1().await, Origin::h1().await);
    let edge = start(&[left.address, right.address], "", "").await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for _ in 0..10 {
            assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        }
    }
    let counts = (left.record().count("/echo"), right.record().count("/echo"));
    assert_eq!(counts, (15, 15));
    // Kept connections are used again: far fewer than requests.
    assert!(
        left.record().connections <= 5,
        "{}",
        left.record().connections
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_tried_elsewhere() {
    let (_held, dead) = refusing();
    let origin = Origin::h1().await;
    let edge = start(&[dead, origin.address], "    ejection: off", "").await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for _ in 0..6 {
            assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
            // Nothing was sent to the dead one, so even a POST may go to another.
            let posted = client
                .send(Method::POST, "/echo", &[], "body")
                .await
                .expect("an answer");
            assert_eq!(posted.json()["body"], "body", "{protocol:?}");
        }
    }
    assert_eq!(origin.record().count("/echo"), 36);
    let retries = edge
        .metric("palisade_upstream_retries_total{cluster=\"origin\",reason=\"connect_failure\"}")
        .await;
    assert!(retries.is_some_and(|retries| retries > 0.0), "{retries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_left_is_503() {
    let ((_first, one), (_second, other)) = (refusing(), refusing());
    let edge = start(&[one, other], "", "").await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        let refused = client.get("/echo").await;
        refused.assert_problem(503, "upstream_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"), "{protocol:?}");
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(
            !text.contains(&one.port().to_string()),
            "{protocol:?}: {text}"
        );
        let posted = client.send(Method::POST, "/echo", &[], "body").await;
        if let Ok(posted) = posted {
            posted.assert_problem(503, "upstream_unavailable");
        } else {
            assert_eq!(
                protocol,
                Protocol::H1,
                "only h1 may have to close: {posted:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_endpoint_is_ejected_and_returns() {
    let (good, bad) = (Origin::h1().await, Origin::h1().await);
    bad.switch(503);
    let rule = "    ejection: { consecutive_failures: 2, duration: 2s }";
    let edge = start(&[good.address, bad.address], rule, "").await;
    let mut client = Client::connect(Protocol::H2, &edge).await;
    let up = format!(
        "palisade_endpoint_up{{cluster=\"origin\",endpoint=\"{}\"}}",
        bad.address
    );
    let mut failures = 0;
    while edge.metric(&up).await != Some(0.0) {
        failures += usize::from(client.get("/switch").await.status == 503);
        assert!(failures <= 2, "two failures in a row eject");
    }
    bad.switch(200);
    let before = bad.record().requests.len();
    until("the ejected endpoint to be asked again", || async {
        assert_eq!(client.clone().get("/switch").await.status, 200);
        (bad.record().requests.len() > before).then_some(())
    })
    .await;
    assert_eq!(edge.metric(&up).await, Some(1.0));
    assert_eq!(
        edge.metric("palisade_upstream_ejections_total{cluster=\"origin\"}")
            .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_the_upstream_is_504() {
    let cases = [
        ("    timeouts: { read: 300ms }", ""),
        ("", "    request_timeout: 300ms"),
    ];
    for (speaks, origin) in [("http1", Origin::h1().await), ("http2", Origin::h2().await)] {
        for (cluster, route) in cases {
            let cluster = format!("    protocol: {speaks}\n{cluster}");
            let edge = start(&[origin.address], &cluster, route).await;
            for protocol in Protocol::ALL {
                let mut client = Client::connect(protocol, &edge).await;
                let aborted = origin.record().responses_aborted;
                client
                    .get("/hang")
                    .await
                    .assert_problem(504, "upstream_timeout");
                let what = format!("{protocol:?} {speaks}: the upstream to be let go");
                origin
                    .wait(&what, |record| record.responses_aborted > aborted)
                    .await;
                let mut client = Client::connect(protocol, &edge).await;
                // After its head a silent answer can only be broken off.
                let (_, pending) = client
                    .open(Method::GET, "/stall/x", &[], false)
                    .await
                    .expect("a stream");
                let (head, mut download) = pending.head().await.expect("an answer");
                assert_eq!(head.status, 200, "{protocol:?} {speaks}");
                assert!(download.check().await.is_err(), "{protocol:?} {speaks}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_talks_nonsense_is_502() {
    let answers = [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ];
    for answer in answers {
        let origin = crate::upstream::raw::RawOrigin::answering(answer).await;
        let edge = start(&[origin.address], "", "").await;
        for protocol in Protocol::ALL {
            let mut client = Client::connect(protocol, &edge).await;
            client
                .get("/echo")
                .await
                .assert_problem(502, "bad_upstream");
        }
    }
}

/// A server that is `core.palisade.internal` and wants to know who is calling.
fn mutual_tls(alpn: &[u8]) -> Arc<rustls::ServerConfig> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(tls::roots()), tls::provider());
    let chain =
        CertificateDer::pem_file_iter(certificate_file("mesh/core.pem")).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificate_file("mesh/core.key")).expect("a key");
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

fn tls_lines(protocol: &str, server_name: &str, ca: &Path, identity: bool) -> String {
    let mut lines = format!(
        "    protocol: {protocol}\n    tls:\n      server_name: {server_name}\n      ca: {}\n",
        ca.display()
    );
    if identity {
        let file = |name| certificate_file(name).display().to_string();
        let (certificate, key) = (file("mesh/edge.pem"), file("mesh/edge.key"));
        lines.push_str(&format!(
            "      certificate: {certificate}\n      key: {key}\n"
        ));
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_tls_proves_both_sides() {
    let foreign = Files::new();
    let foreign_ca = foreign.root().join("foreign.pem");
    std::fs::write(&foreign_ca, foreign_authority()).expect("a file");
    let ca = certificate_file("ca.pem");
    let name = "core.palisade.internal";
    for (speaks, protocol, alpn) in [
        (Speaks::H1, "http1", "http/1.1"),
        (Speaks::H2, "http2", "h2"),
    ] {
        let origin = Origin::start(speaks, Some(mutual_tls(alpn.as_bytes()))).await;
        let cases = [
            (
                "as it should be",
                tls_lines(protocol, name, &ca, true),
                true,
            ),
            (
                "another CA",
                tls_lines(protocol, name, &foreign_ca, true),
                false,
            ),
            (
                "another name",
                tls_lines(protocol, "other.palisade.internal", &ca, true),
                false,
            ),
            (
                "no client certificate",
                tls_lines(protocol, name, &ca, false),
                false,
            ),
        ];
        for (what, cluster, works) in cases {
            let edge = start(&[origin.address], &cluster, "").await;
            let before = origin.record().requests.len();
            for downstream in Protocol::ALL {
                let mut client = Client::connect(downstream, &edge).await;
                let response = client
                    .send(Method::GET, "/echo", &[], Bytes::new())
                    .await
                    .expect("an answer");
                let expected: &[u16] = if works { &[200] } else { &[502, 503] };
                assert!(
                    expected.contains(&response.status),
                    "{what} {protocol} {downstream:?}: {response:?}"
                );
            }
            let reached = origin.record().requests.len() - before;
            assert_eq!(reached, if works { 3 } else { 0 }, "{what} {protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_the_upstream_closed_is_not_the_clients_problem() {
    let origin = Origin::h1().await;
    let address = origin.address;
    let edge = start(&[address], "", "").await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        // `/cut` makes the origin close a connection that the edge would have kept.
        let _ = client
            .send(Method::GET, "/cut/length", &[], Bytes::new())
            .await;
        let mut client = Client::connect(protocol, &edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
}
