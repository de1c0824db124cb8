//! Automatic certificates, ordered from a real authority: proved both ways, kept over a restart,
//! renewed under traffic, and without harm when the authority fails.

mod authority;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use authority::Authority;

use crate::client::{Client, Protocol, tls};
use crate::harness::files::{Files, authority as development_authority, certificate_file};
use crate::harness::waiting::{until, within};
use crate::harness::{Edge, palisade};
use crate::upstream::Origin;

const NAME: &str = "shop.acme.test";
const SUCCESSES: &str = "palisade_acme_orders_total{result=\"success\"} ";
const FAILURES: &str = "palisade_acme_orders_total{result=\"failure\"} ";

fn config(roots: RootCertStore, alpn: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn handshake(
    edge: &Edge,
    name: &str,
    trusted: &[CertificateDer<'static>],
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let socket = TcpStream::connect(edge.https).await?;
    let connector = TlsConnector::from(Arc::new(config(roots, &[alpn])));
    within("a handshake", connector.connect(name, socket)).await
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("a chain");
    chain.first().expect("a certificate").clone().into_owned()
}

/// One request on a connection of its own: the certificate it was served with, and the whole answer.
async fn exchange(
    edge: &Edge,
    name: &str,
    trusted: &[CertificateDer<'static>],
) -> std::io::Result<(CertificateDer<'static>, String)> {
    let mut stream = handshake(edge, name, trusted, "http/1.1").await?;
    let request = format!("GET /echo HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await?;
    Ok((leaf(&stream), answer))
}

/// The first certificate that a client accepts who trusts the authority alone.
async fn first_certificate(
    edge: &Edge,
    name: &str,
    authority: &Authority,
) -> CertificateDer<'static> {
    let trusted = [authority.root()];
    until("a certificate of the authority", || async {
        let (leaf, answer) = exchange(edge, name, &trusted).await.ok()?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Some(leaf)
    })
    .await
}

/// Until as many orders ended so.
async fn counted(edge: &Edge, series: &str, wanted: f64) {
    until(format!("{wanted} for {series}"), || async {
        edge.metric(series).await.filter(|count| *count == wanted)
    })
    .await;
}

/// Everything is sent to the origin; the path of challenges also from plain http.
fn files(origin: &Origin) -> Files {
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], cluster: origin }}
  - {{ name: known, matches: [{{ path: {{ prefix: /.well-known/acme-challenge }} }}], plain_http: true, cluster: origin }}
",
        origin.address
    );
    Files::with_policies(&[("all.yaml", &policy)])
}

/// Like `files`, and nothing in the certificates folder.
fn files_without_certificate(origin: &Origin) -> Files {
    let files = files(origin);
    for name in ["localhost.pem", "localhost.key"] {
        fs::remove_file(files.certs().join(name)).expect("a file");
    }
    files
}

/// Where the one account is kept.
fn account_file(files: &Files) -> PathBuf {
    let state = fs::read_dir(files.state().join("acme")).expect("the state folder");
    let mut paths = state.map(|entry| entry.expect("an entry").path());
    let is_account = |path: &PathBuf| path.to_string_lossy().contains("/account_");
    paths.find(is_account).expect("an account")
}

fn mode(path: &Path) -> u32 {
    let facts = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    facts.permissions().mode() & 0o777
}

fn is_about(line: &Value, name: &str, message: &str) -> bool {
    line["message"] == message && line["name"] == name
}

/// A certificate of the development CA for `NAME`, in the folder.
fn place_certificate(files: &Files, not_before: OffsetDateTime, lifetime: Duration) {
    let read = |name: &str| fs::read_to_string(certificate_file(name)).expect("the CA is there");
    let ca_key = KeyPair::from_pem(&read("ca.key")).expect("the CA's key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("the CA's certificate");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    params.not_before = not_before;
    params.not_after = not_before + lifetime;
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let path = |ending: &str| files.certs().join(format!("{NAME}.{ending}"));
    fs::write(path("pem"), certificate.pem()).expect("the folder can be written");
    fs::write(path("key"), key.serialize_pem()).expect("the folder can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_01_brings_a_certificate_that_a_restart_keeps() {
    let authority = Authority::start(&[NAME], &[]).await;
    let origin = Origin::h1().await;
    let files = files_without_certificate(&origin);
    let edge = authority.edge(files, "http-01", &[NAME]).await;
    let first = first_certificate(&edge, NAME, &authority).await;
    counted(&edge, SUCCESSES, 1.0).await;
    assert_eq!(edge.metric(FAILURES).await, None);
    let expiry =
        format!("palisade_certificate_not_after_timestamp_seconds{{file=\"{NAME}.key\"}} ");
    assert!(
        edge.metric(&expiry).await.is_some(),
        "the expiry is exported"
    );
    // The authority was answered by the edge, in front of a route that has the same path.
    assert_eq!(origin.record().count("/.well-known/"), 0);
    let answered = edge.log_line("the challenge", |line| {
        line["message"] == "request" && line["answered_by"] == "edge" && line["status"] == 200
    });
    let token = answered.await["path"].as_str().expect("a path").to_owned();
    assert!(token.starts_with("/.well-known/acme-challenge/"), "{token}");
    // Once it is over the path is the route's again, the token included.
    let mut plain = Client::plain(&edge).await;
    for path in [
        &token,
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/x",
    ] {
        assert_eq!(plain.get(path).await.status, 200, "{path}");
        assert_eq!(origin.last(path).target, *path);
    }
    assert_eq!(
        plain.get("/echo").await.status,
        308,
        "all else is redirected"
    );

    assert_eq!(mode(&edge.files.certs().join(format!("{NAME}.key"))), 0o600);
    let account = account_file(&edge.files);
    assert_eq!(mode(&account), 0o600);
    let registered = fs::read(&account).expect("an account");
    let log = edge.log_line("the order", |line| {
        is_about(line, NAME, "certificate ordered")
    });
    log.await;

    let edge = authority.edge(edge.stop().await, "http-01", &[NAME]).await;
    edge.log_line("the certificate to be kept", |line| {
        is_about(line, NAME, "certificate in force") && line["renew_at"].is_string()
    })
    .await;
    let (second, _) = exchange(&edge, NAME, &[authority.root()])
        .await
        .expect("a certificate from the first handshake on");
    assert_eq!(first, second);
    assert_eq!(edge.metric(SUCCESSES).await, None, "nothing was ordered");
    assert_eq!(fs::read(&account).expect("an account"), registered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_alpn_01_brings_a_certificate_and_carries_no_request() {
    let authority = Authority::start(&[NAME], &[]).await;
    let origin = Origin::h1().await;
    let files = files_without_certificate(&origin);
    let edge = authority.edge(files, "tls-alpn-01", &[NAME]).await;
    first_certificate(&edge, NAME, &authority).await;
    counted(&edge, SUCCESSES, 1.0).await;
    let closed = "palisade_connections_refused_total{reason=\"acme_challenge\"} ";
    assert_eq!(
        edge.metric(closed).await,
        Some(1.0),
        "the authority came once"
    );
    // With nothing to prove the protocol is refused, even to who would trust any of our certificates.
    for name in [NAME, "localhost", "other.test"] {
        let stray = handshake(&edge, name, &[authority.root()], "acme-tls/1").await;
        let error = stray.expect_err("no certificate").to_string();
        assert!(
            error.contains("alert"),
            "refused by the edge itself: {error}"
        );
    }
    assert_eq!(edge.metric(closed).await, Some(1.0));
    // Who offers HTTP besides is a client like any other.
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.root())
        .expect("the root can be trusted");
    let both = Arc::new(config(roots, &["acme-tls/1", "http/1.1"]));
    let socket = TcpStream::connect(edge.https).await.expect("a connection");
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = TlsConnector::from(both).connect(name, socket).await;
    let stream = stream.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_early_while_traffic_flows() {
    let authority = Authority::start(&[NAME], &[]).await;
    let origin = Origin::h1().await;
    let files = files(&origin);
    // Three minutes of life; due 111 to 120 seconds into it, which is 4 to 13 seconds from now.
    let not_before = OffsetDateTime::now_utc() - Duration::seconds(107);
    place_certificate(&files, not_before, Duration::minutes(3));
    let edge = authority.edge(files, "http-01", &[NAME]).await;
    let trusted = [authority.root(), development_authority()];
    let (old, _) = exchange(&edge, NAME, &trusted)
        .await
        .expect("a request under the old certificate");
    let mut open = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        open.push(client);
    }
    let new = until("the renewed certificate", || async {
        let served = exchange(&edge, NAME, &trusted).await;
        let (leaf, answer) = served.expect("every request is served");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        (leaf != old).then_some(leaf)
    })
    .await;
    let (after, _) = exchange(&edge, NAME, &[authority.root()])
        .await
        .expect("a certificate of the authority");
    assert_eq!(after, new);
    for client in &mut open {
        let status = client.get("/echo").await.status;
        assert_eq!(status, 200, "open connections go on");
    }
    counted(&edge, SUCCESSES, 1.0).await;
    assert_eq!(edge.metric(FAILURES).await, None);
    assert!(
        OffsetDateTime::now_utc() < not_before + Duration::minutes(3),
        "the old certificate was still good when it was replaced"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_down_leaves_the_old_certificate_in_force() {
    let origin = Origin::h1().await;
    let files = files(&origin);
    let long_ago = OffsetDateTime::now_utc() - Duration::days(80);
    place_certificate(&files, long_ago, Duration::days(90));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let directory = format!("https://{address}/directory");
    let flags = [
        "--acme-agree-tos",
        "--acme-domain",
        NAME,
        "--acme-directory",
        &directory,
    ];
    let edge = Edge::start_with(files, &flags).await;
    let failed = edge.log_line("the failure", |line| {
        line["level"] == "WARN" && line["name"] == NAME && line["failures"] == 1
    });
    let failed = failed.await;
    let error = failed["error"].as_str().expect("an error");
    assert!(error.contains("refused"), "the cause is told: {failed}");
    counted(&edge, FAILURES, 1.0).await;
    let trusted = [development_authority()];
    let (old, answer) = exchange(&edge, NAME, &trusted)
        .await
        .expect("the old certificate");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    // Who starts again and again still does not ask again and again.
    let edge = Edge::start_with(edge.stop().await, &flags).await;
    let waiting = edge.log_line("the wait", |line| {
        is_about(line, NAME, "certificate is due, its next order waits")
    });
    assert_eq!(waiting.await["failures"], 1);
    assert_eq!(edge.metric(FAILURES).await, None, "nothing was tried");
    let (still, _) = exchange(&edge, NAME, &trusted)
        .await
        .expect("the old certificate");
    assert_eq!(still, old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_proved_does_not_hold_up_the_others() {
    // Alphabetically the first, so it is tried first.
    const DEAD: &str = "dead.acme.test";
    let authority = Authority::start(&[NAME], &[DEAD]).await;
    let origin = Origin::h1().await;
    let files = files_without_certificate(&origin);
    let edge = authority.edge(files, "http-01", &[NAME, DEAD]).await;
    first_certificate(&edge, NAME, &authority).await;
    let failed = edge.log_line("the failure", |line| {
        line["level"] == "WARN" && line["name"] == DEAD && line["failures"] == 1
    });
    let failed = failed.await;
    let error = failed["error"].as_str().expect("an error");
    assert!(
        error.contains("connect"),
        "the reason of the authority is told: {failed}"
    );
    counted(&edge, SUCCESSES, 1.0).await;
    counted(&edge, FAILURES, 1.0).await;
    assert!(!edge.files.certs().join(format!("{DEAD}.pem")).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_the_authority_forgot_is_registered_anew() {
    let mut authority = Authority::start(&[NAME], &[]).await;
    let origin = Origin::h1().await;
    let files = files_without_certificate(&origin);
    let edge = authority.edge(files, "http-01", &[NAME]).await;
    first_certificate(&edge, NAME, &authority).await;
    counted(&edge, SUCCESSES, 1.0).await;
    let files = edge.stop().await;
    let before = fs::read(account_file(&files)).expect("an account");

    authority.forget().await;
    for ending in ["pem", "key"] {
        let path = files.certs().join(format!("{NAME}.{ending}"));
        fs::remove_file(path).expect("a file");
    }
    let edge = authority.edge(files, "http-01", &[NAME]).await;
    first_certificate(&edge, NAME, &authority).await;
    counted(&edge, SUCCESSES, 1.0).await;
    assert_eq!(edge.metric(FAILURES).await, None, "within the same order");
    let after = fs::read(account_file(&edge.files)).expect("an account");
    assert_ne!(before, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_at_the_start() {
    let files = Files::with_policies(&[("empty.yaml", "version: 1\n")]);
    let missing = files.root().join("no-ca.pem").display().to_string();
    let folders = [
        ("--policies", files.policies()),
        ("--certs", files.certs()),
        ("--state", files.state()),
    ];
    let refused: [(&[&str], &str); 7] = [
        (&["--acme-domain", NAME], "--acme-agree-tos"),
        (&["--acme-domain", "*.acme.test"], "dns-01"),
        (&["--acme-domain", "192.0.2.1"], "address"),
        (&["--acme-domain", "../shop"], "not a host name"),
        (&["--acme-directory", "http://acme.test/"], "https"),
        (&["--acme-challenge", "dns-01"], "http-01"),
        (
            &[
                "--acme-domain",
                NAME,
                "--acme-agree-tos",
                "--acme-ca",
                &missing,
            ],
            "no-ca.pem",
        ),
    ];
    for (flags, mention) in refused {
        let mut arguments = vec![OsStr::new("run")];
        for (flag, folder) in &folders {
            arguments.extend([OsStr::new(flag), folder.as_os_str()]);
        }
        arguments.extend(flags.iter().map(OsStr::new));
        let ended = palisade(&arguments).await;
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:?}");
        assert!(ended.stderr.contains(mention), "{flags:?}: {ended:?}");
    }
}
