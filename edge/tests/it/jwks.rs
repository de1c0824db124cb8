//! Key sets from a URL: fetched, rotated under way, and remembered while the issuer is down.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::tokens::{ISSUER, Signer};
use crate::harness::waiting::until;
use crate::upstream::Origin;

/// An issuer's web server; gone when dropped.
struct Issuer {
    address: SocketAddr,
    keys: Arc<Mutex<String>>,
    _stop: DropGuard,
}

impl Issuer {
    async fn start(keys: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let keys = Arc::new(Mutex::new(keys));
        let stop = CancellationToken::new();
        let served = keys.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let body = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        }));
        Self {
            address,
            keys,
            _stop: stop.drop_guard(),
        }
    }

    fn publish(&self, keys: String) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

fn files(issuer: &Issuer, origin: &Origin) -> Files {
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
issuers:
  - name: main
    issuer: {ISSUER}
    audiences: [palisade]
    algorithms: [EdDSA]
    jwks: {{ url: \"http://{}/jwks.json\", refresh: 5m, cooldown: 1s }}
routes:
  - {{ name: private, matches: [{{ path: /private }}], auth: {{ issuer: main }}, cluster: origin }}
",
        origin.address, issuer.address
    );
    Files::with_policies(&[("jwks.yaml", &policy)])
}

async fn ask(edge: &Edge, protocol: Protocol, signer: &Signer) -> u16 {
    let bearer = signer.bearer(json!({}));
    let mut client = Client::connect(protocol, edge).await;
    client
        .get_with("/private", &[("authorization", &bearer)])
        .await
        .status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let (old, new, stranger) = (
        Signer::new("old"),
        Signer::new("new"),
        Signer::new("stranger"),
    );
    let issuer = Issuer::start(old.jwks()).await;
    let origin = Origin::h1().await;
    let edge = Edge::start_with(files(&issuer, &origin), &[]).await;
    for protocol in Protocol::ALL {
        assert_eq!(ask(&edge, protocol, &old).await, 200, "{protocol:?}");
        assert_eq!(ask(&edge, protocol, &stranger).await, 401, "{protocol:?}");
    }
    issuer.publish(json!({ "keys": [old.jwk(), new.jwk()] }).to_string());
    // Unknown key ids are looked up once in the cool-down, so the first tries may still fail.
    until("the new key to be accepted", || async {
        (ask(&edge, Protocol::H3, &new).await == 200).then_some(())
    })
    .await;
    for protocol in Protocol::ALL {
        assert_eq!(ask(&edge, protocol, &new).await, 200, "{protocol:?}");
        assert_eq!(ask(&edge, protocol, &old).await, 200, "{protocol:?}");
        assert_eq!(ask(&edge, protocol, &stranger).await, 401, "{protocol:?}");
    }
}

/// A rule about claims is not decided while the keys of the token may still come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_fetched_before_its_claims_are_matched() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::start(old.jwks()).await;
    let origin = Origin::h1().await;
    let files = files(&issuer, &origin);
    files.write_policy(
        "claims.yaml",
        "version: 1
routes:
  - { name: gold, matches: [{ path: /echo, claims: { tier: gold } }], auth: { issuer: main }, cluster: origin }
  - { name: others, matches: [{ path: /echo }], cluster: origin }
",
    );
    let edge = Edge::start_with(files, &[]).await;
    let bearer = new.bearer(json!({ "tier": "gold" }));
    let headers = [("authorization", bearer.as_str())];
    let mut client = Client::connect(Protocol::H2, &edge).await;
    // Nobody can verify it: the other route answers.
    assert_eq!(client.get_with("/echo", &headers).await.status, 200);
    let route = |name: &'static str| move |line: &serde_json::Value| line["route"] == name;
    edge.log_line("the other route", route("others")).await;
    assert!(edge.log_lines(route("gold")).is_empty());
    issuer.publish(json!({ "keys": [old.jwk(), new.jwk()] }).to_string());
    // No other request asks for the keys, and the schedule does not within the bound of this wait.
    until("the new key to be fetched", || async {
        let answer = Client::connect(Protocol::H1, &edge)
            .await
            .get_with("/echo", &headers)
            .await;
        assert_eq!(answer.status, 200);
        (!edge.log_lines(route("gold")).is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_hold_while_the_issuer_is_down_and_after_a_restart() {
    let signer = Signer::new("key");
    let issuer = Issuer::start(signer.jwks()).await;
    let origin = Origin::h1().await;
    let files = files(&issuer, &origin);
    let (policies, state) = (files.policies().join("jwks.yaml"), files.state());
    let edge = Edge::start_with(files, &[]).await;
    assert_eq!(ask(&edge, Protocol::H2, &signer).await, 200);
    drop(issuer);
    assert_eq!(ask(&edge, Protocol::H2, &signer).await, 200);
    assert_eq!(ask(&edge, Protocol::H3, &Signer::new("unknown")).await, 401);

    let text = std::fs::read_to_string(policies).expect("the policy");
    let second = Files::with_policies(&[("jwks.yaml", &text)]);
    copy_keys(&state, &second.state());
    let edge = Edge::start_with(second, &[]).await;
    for protocol in Protocol::ALL {
        assert_eq!(
            ask(&edge, protocol, &signer).await,
            200,
            "{protocol:?} with the saved keys"
        );
    }
}

/// What the first edge saved, for the second.
fn copy_keys(from: &std::path::Path, to: &std::path::Path) {
    let (from, to) = (from.join("jwks"), to.join("jwks"));
    std::fs::create_dir_all(&to).expect("a folder");
    let mut copied = 0;
    for entry in std::fs::read_dir(from).expect("the edge saved its keys") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        copied += 1;
    }
    assert!(copied > 0, "the edge saved no keys");
}
