//! What hosts demand of handshakes, and what their answers carry: by policy, while it changes.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ProtocolVersion};

use crate::client::{Client, Protocol, tls};
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::{Files, issue, replace};
use crate::harness::waiting::until;
use crate::upstream::Origin;
use crate::visit::{visit, visitor};

const NAMES: [&str; 4] = ["partners.test", "guests.test", "modern.test", "open.test"];

/// An origin behind `NAMES`, with these hosts.
pub(crate) fn prepare(origin: &Origin, hosts: &str) -> Files {
    let files = Files::new();
    let (pem, key) = issue(&NAMES);
    replace(&files.certs().join("sites.pem"), pem.as_bytes());
    replace(&files.certs().join("sites.key"), key.as_bytes());
    files.write_policy(
        "routes.yaml",
        &format!(
            "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes: [{{ name: all, matches: [{{ path: {{ prefix: / }} }}], plain_http: true, cache: {{}}, cluster: origin }}]
",
            origin.address
        ),
    );
    files.write_policy("hosts.yaml", &format!("version: 1\nhosts:\n{hosts}"));
    files
}

pub(crate) async fn start(
    origin: &Origin,
    (hosts, ca, crl): (String, String, Option<String>),
) -> Edge {
    let files = prepare(origin, &hosts);
    replace(&files.root().join("clients.pem"), ca.as_bytes());
    if let Some(crl) = crl {
        replace(&files.root().join("clients.crl"), crl.as_bytes());
    }
    Edge::start_with(files, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_choose_the_oldest_version() {
    let origin = Origin::h1().await;
    let hosts = "  - { name: modern, hosts: [modern.test], tls: { min_version: 1.3 } }\n";
    let edge = Edge::start_with(prepare(&origin, hosts), &[]).await;
    let (old, new) = (visitor(None, &[&TLS12]), visitor(None, &[&TLS13]));
    assert!(
        visit(edge.https, &old, "modern.test", "modern.test")
            .await
            .is_err()
    );
    for (config, name, authority, status) in [
        (&new, "modern.test", "modern.test", 200),
        (&old, "open.test", "open.test", 200),
        (&new, "open.test", "modern.test", 200),
        (&old, "open.test", "modern.test", 421),
        (&old, "open.test", "MODERN.test.:443", 421),
    ] {
        let seen = visit(edge.https, config, name, authority).await;
        let seen = seen.expect("an answer");
        assert_eq!(seen.status, status, "{name} {authority}");
    }
    // One line for all hosts.
    edge.files.write_policy(
        "hosts.yaml",
        "version: 1\nhosts: [{ name: all, tls: { min_version: 1.3 } }]\n",
    );
    until("the old version to be refused", || async {
        visit(edge.https, &old, "open.test", "open.test")
            .await
            .err()
    })
    .await;
    let seen = visit(edge.https, &new, "open.test", "open.test").await;
    assert_eq!(seen.expect("an answer").version, ProtocolVersion::TLSv1_3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_choose_what_is_spoken() {
    let origin = Origin::h1().await;
    let hosts = "  - { name: old, hosts: [open.test], tls: { alpn: [http/1.1] } }
  - { name: odd, hosts: [modern.test], tls: { alpn: [http/1.1, h2] } }
";
    let edge = Edge::start_with(prepare(&origin, hosts), &[]).await;
    for (name, offered, chosen) in [
        ("open.test", &["h2", "http/1.1"][..], "http/1.1"),
        ("modern.test", &["h2", "http/1.1"], "http/1.1"),
        ("modern.test", &["h2"], "h2"),
        ("guests.test", &["http/1.1", "h2"], "h2"),
    ] {
        let stream = tls::connect_to(edge.https, &Arc::new(tls::config(offered)), name).await;
        let protocol = stream.get_ref().1.alpn_protocol();
        assert_eq!(protocol, Some(chosen.as_bytes()), "{name}");
    }
    let only_h2 = Arc::new(tls::config(&["h2"]));
    assert!(
        visit(edge.https, &only_h2, "open.test", "open.test")
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_carry_what_the_host_says() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let hosts = "  - { name: all, hsts: { max_age: 1d, include_subdomains: true } }
  - { name: open, hosts: [open.test], hsts: off, security_headers: false, alt_svc: false }
  - { name: partners, hosts: [partners.test], tls: { client_certificates: { mode: required, ca: ../clients.pem } } }
";
    let edge = start(&origin, (hosts.to_owned(), authority.pem(), None)).await;
    let hsts = Some("max-age=86400; includeSubDomains");
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for target in ["/echo", "/status/404", "/%00"] {
            let seen = client.get(target).await;
            assert_eq!(
                seen.header("strict-transport-security"),
                hsts,
                "{protocol:?} {target}"
            );
            assert_eq!(seen.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(
                seen.header("referrer-policy"),
                Some("strict-origin-when-cross-origin")
            );
            assert_eq!(seen.header("alt-svc").is_some(), protocol != Protocol::H3);
        }
    }
    let plain = Client::plain(&edge).await.get("/echo").await;
    for name in [
        "strict-transport-security",
        "x-content-type-options",
        "alt-svc",
    ] {
        assert_eq!(plain.header(name), None, "{name} in plain text");
    }
    let anybody = visitor(None, ALL_VERSIONS);
    let open = visit(edge.https, &anybody, "open.test", "open.test")
        .await
        .expect("an answer");
    for name in [
        "strict-transport-security",
        "x-content-type-options",
        "referrer-policy",
        "alt-svc",
    ] {
        assert_eq!(open.header(name), None, "{name}");
    }
    let identity = authority.issue(1);
    let partner = visitor(Some(&identity), ALL_VERSIONS);
    let seen = visit(edge.https, &partner, "partners.test", "partners.test")
        .await
        .expect("an answer");
    assert_eq!(seen.header("strict-transport-security"), hsts);
    assert_eq!(seen.header("alt-svc"), None, "QUIC does not serve it");
    assert_eq!(
        origin.last("/echo").header("client-cert"),
        None,
        "not forwarded unless asked for"
    );
}
