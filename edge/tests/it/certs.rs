//! Server certificates: chosen by name, replaced while running, and what the handshake agrees on.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, Protocol, tls};
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::{Files, issue, replace};
use crate::harness::waiting::until;

static ALL_VERSIONS: LazyLock<Vec<&'static SupportedProtocolVersion>> =
    LazyLock::new(|| rustls::ALL_VERSIONS.to_vec());

async fn handshake(
    edge: &Edge,
    name: &str,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(edge.https).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(tls::config_for(alpn, versions)))
        .connect(name, socket)
        .await
}

/// The certificate that the edge presents for `name`; none where the client refuses it.
async fn presented(edge: &Edge, name: &str) -> Option<CertificateDer<'static>> {
    let stream = handshake(edge, name, &["h2"], &ALL_VERSIONS).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.first()?.clone().into_owned())
}

fn leaf(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

async fn start() -> Edge {
    Edge::start(&[("empty.yaml", "version: 1\n")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_certificate_is_served_from_the_next_handshake_on() {
    let edge = start().await;
    let mut kept = Client::connect(Protocol::H2, &edge).await;
    let before = presented(&edge, "localhost").await.expect("a certificate");
    let (pem, key) = issue(&["localhost", "127.0.0.1"]);
    // The key goes first: for a moment the pair does not match, and the old one must stay.
    replace(&edge.files.certs().join("localhost.key"), key.as_bytes());
    replace(&edge.files.certs().join("localhost.pem"), pem.as_bytes());
    until("the new certificate over tcp", || async {
        let now = presented(&edge, "localhost")
            .await
            .expect("a certificate at any time");
        assert!(now == before || now == leaf(&pem), "a third certificate");
        (now == leaf(&pem)).then_some(())
    })
    .await;
    let quic = Client::connect(Protocol::H3, &edge).await;
    let Client::H3(quic) = &quic else {
        panic!("not h3")
    };
    let identity = quic.connection().peer_identity().expect("a certificate");
    let chain = identity
        .downcast::<Vec<CertificateDer<'static>>>()
        .expect("a chain");
    assert_eq!(chain.first(), Some(&leaf(&pem)));
    assert_eq!(
        kept.get("/nowhere").await.status,
        404,
        "open connections go on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_pair_leaves_the_old_one_in_force() {
    let edge = start().await;
    let before = presented(&edge, "localhost").await.expect("a certificate");
    let errors = "palisade_certificate_errors_total ";
    for (round, broken) in ["nonsense", "", &issue(&["localhost"]).0]
        .into_iter()
        .enumerate()
    {
        replace(&edge.files.certs().join("localhost.pem"), broken.as_bytes());
        until("the error to be counted", || async {
            edge.metric(errors)
                .await
                .filter(|count| *count > round as f64)
        })
        .await;
        assert_eq!(
            presented(&edge, "localhost").await.as_ref(),
            Some(&before),
            "{broken}"
        );
    }
    let line = edge.log_line("the broken certificate", |line| {
        line["level"] == "WARN" && line.to_string().contains("localhost.pem")
    });
    let line = line.await;
    assert!(!line.to_string().contains("PRIVATE KEY"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_foreign_file_leaves_the_old_pair_in_force() {
    let edge = start().await;
    let before = presented(&edge, "localhost").await.expect("a certificate");
    let (pem, key) = ["localhost.pem", "localhost.key"]
        .map(|name| edge.files.certs().join(name))
        .into();
    let good = [&pem, &key].map(|path| std::fs::read(path).expect("a file"));
    let half = |whole: &[u8]| Some(whole[..whole.len() / 2].to_vec());
    let whole = |at: usize| Some(good[at].clone());
    let foreign = Some(issue(&["localhost"]).1.into_bytes());
    for (name, files) in [
        ("no certificate", [None, whole(1)]),
        ("no key", [whole(0), None]),
        ("neither", [None, None]),
        ("half a certificate", [half(&good[0]), whole(1)]),
        ("half a key", [whole(0), half(&good[1])]),
        ("the key of another", [whole(0), foreign]),
    ] {
        let errors = "palisade_certificate_errors_total ";
        let count = edge.metric(errors).await.expect("a counter");
        for (path, content) in [&pem, &key].into_iter().zip(files) {
            match content {
                Some(content) => replace(path, &content),
                None => std::fs::remove_file(path).expect("a file"),
            }
        }
        until(format!("{name} to be counted"), || async {
            edge.metric(errors).await.filter(|now| *now > count)
        })
        .await;
        assert_eq!(
            presented(&edge, "localhost").await.as_ref(),
            Some(&before),
            "{name}"
        );
        replace(&pem, &good[0]);
        replace(&key, &good[1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_asked_for_chooses_the_certificate() {
    let files = Files::with_policies(&[("empty.yaml", "version: 1\n")]);
    let (shop, shop_key) = issue(&["shop.test", "*.shop.test"]);
    let (blog, blog_key) = issue(&["blog.test"]);
    for (name, pem, key) in [("shop", &shop, &shop_key), ("blog", &blog, &blog_key)] {
        replace(
            &files.certs().join(name).with_extension("crt"),
            pem.as_bytes(),
        );
        replace(
            &files.certs().join(name).with_extension("key"),
            key.as_bytes(),
        );
    }
    let edge = Edge::start_with(files, &[]).await;
    for (name, expected) in [
        ("shop.test", Some(leaf(&shop))),
        ("www.shop.test", Some(leaf(&shop))),
        ("SHOP.test", Some(leaf(&shop))),
        ("blog.test", Some(leaf(&blog))),
        // Nothing for them: the client sees a certificate of another name and refuses.
        ("a.b.shop.test", None),
        ("www.blog.test", None),
        ("other.test", None),
    ] {
        assert_eq!(presented(&edge, name).await, expected, "{name}");
    }
    assert!(presented(&edge, "localhost").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_sent_whole() {
    let root = ClientAuthority::new("root");
    let between = root.intermediate("between", 50);
    let day = std::time::Duration::from_secs(86_400);
    let server = between.issue_named(1, day, &["chain.test"]);
    let files = Files::with_policies(&[("empty.yaml", "version: 1\n")]);
    let path = files.certs().join("chain.pem");
    replace(&path, server.chain_pem.as_bytes());
    replace(&path.with_extension("key"), server.key_pem.as_bytes());
    let edge = Edge::start_with(files, &[]).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.certificate()).expect("a root");
    let config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&ALL_VERSIONS)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tls::connect_to(edge.https, &Arc::new(config), "chain.test").await;
    let sent = stream.get_ref().1.peer_certificates().expect("a chain");
    assert_eq!(sent, [server.certificate, between.certificate()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_agree_on_version_protocol_and_hybrid_keys() {
    let edge = start().await;
    let only_12: &[&'static SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let only_13: &[&'static SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let cases: [(_, &[&str], _, Option<&str>); 5] = [
        (
            only_13,
            &["h2", "http/1.1"],
            ProtocolVersion::TLSv1_3,
            Some("h2"),
        ),
        (
            only_13,
            &["http/1.1"],
            ProtocolVersion::TLSv1_3,
            Some("http/1.1"),
        ),
        (
            only_12,
            &["h2", "http/1.1"],
            ProtocolVersion::TLSv1_2,
            Some("h2"),
        ),
        (
            only_12,
            &["http/1.1", "h2"],
            ProtocolVersion::TLSv1_2,
            Some("h2"),
        ),
        (only_13, &[], ProtocolVersion::TLSv1_3, None),
    ];
    for (versions, alpn, version, protocol) in cases {
        let stream = handshake(&edge, "localhost", alpn, versions)
            .await
            .expect("a handshake");
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version), "{alpn:?}");
        assert_eq!(
            session.alpn_protocol(),
            protocol.map(str::as_bytes),
            "{alpn:?}"
        );
        if version == ProtocolVersion::TLSv1_3 {
            let group = session
                .negotiated_key_exchange_group()
                .expect("a group")
                .name();
            assert_eq!(group, NamedGroup::X25519MLKEM768, "{alpn:?}");
        }
    }
    let strange = handshake(&edge, "localhost", &["spdy/3"], only_13).await;
    assert!(
        strange.is_err(),
        "a protocol that nobody speaks is refused (RFC 7301, 3.2)"
    );
}
