//! Session tickets across restarts and replicas, and never across trust; staples beside certificates.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::aioquic::python;
use crate::client::tls;
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::{issue, replace};
use crate::harness::ocsp;
use crate::harness::waiting::{until, within};
use crate::tls_clients::guarded;
use crate::tls_hosts::{prepare, start};
use crate::upstream::Origin;
use crate::visit::{visit, visitor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_by_a_replica_and_after_a_restart() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let first = start(&origin, guarded(&authority, None)).await;
    let identity = authority.issue(1);
    let mut clients = Vec::new();
    for versions in [[&TLS12], [&TLS13]] {
        for name in ["partners.test", "open.test"] {
            clients.push((name, visitor(Some(&identity), &versions)));
        }
    }
    let resumed = async |edge: &Edge| {
        let mut resumed = Vec::new();
        for (name, client) in &clients {
            let seen = visit(edge.https, client, name, name).await;
            let seen = seen.expect("an answer");
            assert_eq!(seen.status, 200, "{name}");
            let told = origin.last("/echo").header("client-cert").is_some();
            assert_eq!(
                told,
                *name == "partners.test",
                "a ticket keeps the certificate"
            );
            resumed.push(seen.resumed);
        }
        resumed
    };
    assert_eq!(resumed(&first).await, [false; 4]);
    assert_eq!(resumed(&first).await, [true; 4]);
    // Another process, at the same time, with the same folder.
    let (hosts, ca, _) = guarded(&authority, None);
    let files = prepare(&origin, &hosts);
    replace(&files.root().join("clients.pem"), ca.as_bytes());
    fs::remove_dir_all(files.certs()).expect("a folder");
    std::os::unix::fs::symlink(first.files.certs(), files.certs()).expect("a link");
    let replica = Edge::start_with(files, &[]).await;
    assert_eq!(resumed(&replica).await, [true; 4], "by a replica");
    let first = Edge::start_with(first.stop().await, &[]).await;
    assert_eq!(resumed(&first).await, [true; 4], "after a restart");
    let stranger = start(&origin, guarded(&authority, None)).await;
    assert_eq!(resumed(&stranger).await, [false; 4], "with other keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_sessions_are_resumed_until_their_host_asks_for_certificates() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let (guarded, ca, _) = guarded(&authority, None);
    let files = prepare(&origin, "  - { name: all }\n");
    replace(&files.root().join("clients.pem"), ca.as_bytes());
    let edge = Edge::start_with(files, &[]).await;
    let mut client = QuicVisitor::start();
    let first = client.visit(&edge, "partners.test").await;
    assert_eq!(first, json!({ "status": 200, "resumed": false }));
    let second = client.visit(&edge, "partners.test").await;
    assert_eq!(second, json!({ "status": 200, "resumed": true }));
    let edge = Edge::start_with(edge.stop().await, &[]).await;
    let third = client.visit(&edge, "partners.test").await;
    assert_eq!(third, json!({ "status": 200, "resumed": true }));
    let policy = format!("version: 1\nhosts:\n{guarded}");
    edge.files.write_policy("hosts.yaml", &policy);
    until("the name to be refused", || async {
        // A client of its own, so that the tickets are still there.
        let seen = QuicVisitor::start().visit(&edge, "partners.test").await;
        (seen == json!("refused")).then_some(())
    })
    .await;
    assert_eq!(client.visit(&edge, "partners.test").await, json!("refused"));
}

/// An aioquic that keeps its tickets.
struct QuicVisitor {
    _child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl QuicVisitor {
    fn start() -> Self {
        let mut child = Command::new(python())
            .kill_on_drop(true)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/quic_tickets_client.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self {
            requests: child.stdin.take().expect("stdin is piped"),
            answers: BufReader::new(stdout).lines(),
            _child: child,
        }
    }

    async fn visit(&mut self, edge: &Edge, name: &str) -> Value {
        let request = json!({ "port": edge.https.port(), "name": name });
        let line = format!("{request}\n");
        let sent = self.requests.write_all(line.as_bytes()).await;
        sent.expect("python reads");
        let answer = within("aioquic", self.answers.next_line()).await;
        let answer = answer.expect("python writes").expect("python runs");
        serde_json::from_str(&answer).expect("JSON")
    }
}

/// Gives the newest ticket to whatever name is asked for.
#[derive(Debug)]
struct Crossing {
    inner: ClientSessionMemoryCache,
    name: ServerName<'static>,
}

impl ClientSessionStore for Crossing {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.inner.set_kx_hint(self.name.clone(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.kx_hint(&self.name)
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.inner.set_tls12_session(self.name.clone(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.inner.tls12_session(&self.name)
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.inner.remove_tls12_session(&self.name);
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.inner.insert_tls13_ticket(self.name.clone(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.inner.take_tls13_ticket(&self.name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_one_host_open_no_other() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let edge = start(&origin, guarded(&authority, None)).await;
    let identity = authority.issue(1);
    for versions in [[&TLS12], [&TLS13]] {
        for (from, to) in [
            ("guests.test", "partners.test"),
            ("open.test", "partners.test"),
            ("partners.test", "guests.test"),
        ] {
            let mut client = ClientConfig::clone(&visitor(Some(&identity), &versions));
            client.resumption = Resumption::store(Arc::new(Crossing {
                inner: ClientSessionMemoryCache::new(8),
                name: ServerName::try_from("any.test").expect("a name"),
            }));
            let client = Arc::new(client);
            let first = visit(edge.https, &client, from, from).await;
            assert_eq!(first.expect("an answer").status, 200);
            let crossed = visit(edge.https, &client, to, to).await;
            let crossed = crossed.expect("an answer");
            assert!(!crossed.resumed, "{from} to {to}");
            assert_eq!(crossed.status, 200);
        }
        // Without an identity to fall back to, a ticket is all there is.
        let mut nobody = ClientConfig::clone(&visitor(None, &versions));
        let store = Arc::new(Crossing {
            inner: ClientSessionMemoryCache::new(8),
            name: ServerName::try_from("any.test").expect("a name"),
        });
        nobody.resumption = Resumption::store(store);
        let nobody = Arc::new(nobody);
        let open = visit(edge.https, &nobody, "guests.test", "guests.test").await;
        assert_eq!(open.expect("an answer").status, 200);
        let guarded = visit(edge.https, &nobody, "partners.test", "partners.test").await;
        assert!(guarded.is_err(), "{guarded:?}");
    }
}

/// Verifies as usual, and keeps what was stapled.
#[derive(Debug)]
struct Stapled {
    inner: Arc<WebPkiServerVerifier>,
    seen: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = ocsp.to_vec();
        self.inner.verify_server_cert(leaf, chain, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What a full handshake for open.test staples.
async fn stapled(edge: &Edge) -> Vec<u8> {
    let inner =
        WebPkiServerVerifier::builder_with_provider(Arc::new(tls::roots()), tls::provider());
    let verifier = Arc::new(Stapled {
        inner: inner.build().expect("a verifier"),
        seen: Mutex::default(),
    });
    let mut config = tls::config_for(&["http/1.1"], ALL_VERSIONS);
    config
        .dangerous()
        .set_certificate_verifier(verifier.clone());
    config.resumption = Resumption::disabled();
    let seen = visit(edge.https, &Arc::new(config), "open.test", "open.test").await;
    assert_eq!(seen.expect("an answer").status, 200);
    let seen = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staple_is_sent_while_it_is_fresh_and_of_its_certificate() {
    let origin = Origin::h1().await;
    let edge = Edge::start_with(prepare(&origin, "  - { name: all }\n"), &[]).await;
    let file = |ending: &str| edge.files.certs().join("sites").with_extension(ending);
    let serial = ocsp::serial(&fs::read(file("pem")).expect("a certificate"));
    assert!(stapled(&edge).await.is_empty());
    let good = ocsp::response(&serial, ocsp::GOOD, -3_600..3_600);
    replace(&file("ocsp"), &good);
    until("the staple", || async {
        (stapled(&edge).await == good).then_some(())
    })
    .await;
    let errors = edge
        .metric("palisade_certificate_errors_total ")
        .await
        .expect("a counter");
    let unfit = [
        ocsp::response(&serial, ocsp::GOOD, -7_200..-3_600),
        ocsp::response(&serial, ocsp::GOOD, 3_600..7_200),
        ocsp::response(&[1, 2, 3], ocsp::GOOD, -3_600..3_600),
        ocsp::response(&serial, ocsp::REVOKED, -3_600..3_600),
        good[..good.len() - 9].to_vec(),
        b"nonsense".to_vec(),
        Vec::new(),
    ];
    for (number, bytes) in unfit.iter().enumerate() {
        replace(&file("ocsp"), bytes);
        until(format!("staple {number} to be refused"), || async {
            let count = edge.metric("palisade_certificate_errors_total ").await?;
            (count >= errors + number as f64 + 1.0).then_some(())
        })
        .await;
        assert_eq!(stapled(&edge).await, good, "staple {number}");
    }
    // Another certificate never takes over its staple, and one that ends is no longer sent.
    let (pem, key) = issue(&["open.test", "partners.test"]);
    replace(&file("key"), key.as_bytes());
    replace(&file("pem"), pem.as_bytes());
    until("the staple to be left out", || async {
        stapled(&edge).await.is_empty().then_some(())
    })
    .await;
    let serial = ocsp::serial(pem.as_bytes());
    let short = ocsp::response(&serial, ocsp::GOOD, -3_600..20);
    replace(&file("ocsp"), &short);
    until("the short staple", || async {
        (stapled(&edge).await == short).then_some(())
    })
    .await;
    until("its end", || async {
        stapled(&edge).await.is_empty().then_some(())
    })
    .await;
}
