//! Client certificates: asked for, revoked, replaced and ended, and what upstreams are told of them.

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, tls};
use crate::harness::Edge;
use crate::harness::clients::ClientAuthority;
use crate::harness::files::replace;
use crate::harness::waiting::{until, within};
use crate::tls_hosts::start;
use crate::upstream::Origin;
use crate::visit::{fetch, visit, visitor};

/// Clients of `authority` for partners.test; those of guests.test may have none.
pub(crate) fn guarded(
    authority: &ClientAuthority,
    crl: Option<&str>,
) -> (String, String, Option<String>) {
    let crl_key = crl.map_or("", |_| ", crl: ../clients.crl");
    let hosts = format!(
        "  - {{ name: partners, hosts: [partners.test], tls: {{ client_certificates: {{ mode: required, ca: ../clients.pem{crl_key}, forward: true }} }} }}
  - {{ name: guests, hosts: [guests.test], tls: {{ client_certificates: {{ mode: optional, ca: ../clients.pem{crl_key}, forward: true }} }} }}
"
    );
    (hosts, authority.pem(), crl.map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_asked_for_certificates_and_upstreams_told() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let edge = start(&origin, guarded(&authority, None)).await;
    let (known, foreign) = (authority.issue(1), ClientAuthority::new("others").issue(1));
    let expected = format!(":{}:", STANDARD.encode(&known.certificate));
    for versions in [[&TLS12], [&TLS13]] {
        let (nobody, stranger) = (visitor(None, &versions), visitor(Some(&foreign), &versions));
        let partner = visitor(Some(&known), &versions);
        let ask = async |config, name| {
            visit(edge.https, config, name, name)
                .await
                .map(|seen| seen.status)
        };
        assert!(ask(&nobody, "partners.test").await.is_err());
        assert!(ask(&stranger, "partners.test").await.is_err());
        assert!(
            ask(&stranger, "guests.test").await.is_err(),
            "a bad one is not none"
        );
        for name in ["partners.test", "guests.test"] {
            assert_eq!(ask(&partner, name).await.expect("an answer"), 200);
            let seen = origin.last("/echo");
            assert_eq!(seen.header("client-cert"), Some(&*expected));
            assert_eq!(
                seen.header("client-cert-chain"),
                None,
                "the forged one is gone"
            );
        }
        for (config, name) in [
            (&nobody, "guests.test"),
            (&nobody, "open.test"),
            (&partner, "open.test"),
        ] {
            assert_eq!(ask(config, name).await.expect("an answer"), 200);
            let seen = origin.last("/echo");
            assert_eq!(seen.header("client-cert"), None, "{name}");
            assert_eq!(seen.header("client-cert-chain"), None, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_are_checked_and_told_whole() {
    let (origin, root) = (Origin::h1().await, ClientAuthority::new("root"));
    let between = root.intermediate("between", 50);
    let both = |revoked: &[u64]| root.revoke(1, revoked) + &between.revoke(1, &[]);
    let edge = start(&origin, guarded(&root, Some(&both(&[])))).await;
    let mut identity = between.issue(1);
    let whole = visitor(Some(&identity), ALL_VERSIONS);
    let ask = async |config| visit(edge.https, config, "partners.test", "partners.test").await;
    assert_eq!(ask(&whole).await.expect("an answer").status, 200);
    let seen = origin.last("/echo");
    let told = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    assert_eq!(
        seen.header("client-cert"),
        Some(&*told(&identity.certificate))
    );
    assert_eq!(
        seen.header("client-cert-chain"),
        Some(&*told(&between.certificate()))
    );
    identity.above.clear();
    let alone = visitor(Some(&identity), ALL_VERSIONS);
    assert!(ask(&alone).await.is_err());
    // Lists that do not tell of a part of the chain, or tell the worst of it.
    for lists in [between.revoke(1, &[]), both(&[50])] {
        replace(&edge.files.root().join("clients.crl"), lists.as_bytes());
        until("the chain to be refused", || async {
            ask(&whole).await.err()
        })
        .await;
        replace(&edge.files.root().join("clients.crl"), both(&[]).as_bytes());
        until("the chain to be good again", || async {
            ask(&whole).await.ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_by_client_is_never_another_clients() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let edge = start(&origin, guarded(&authority, None)).await;
    let known = authority.issue(1);
    let other = authority.issue(2);
    let clients = [&known, &other, &known].map(|one| (one, visitor(Some(one), ALL_VERSIONS)));
    for (number, (identity, client)) in clients.iter().enumerate() {
        let names = ("partners.test", "partners.test");
        let seen = fetch(edge.https, client, names, "/fresh-for-client").await;
        let seen = seen.expect("an answer");
        let own = format!(":{}:", STANDARD.encode(&identity.certificate));
        assert!(seen.text.ends_with(&own), "{number}: {}", seen.text);
        let hit = seen
            .header("cache-status")
            .is_some_and(|text| text.contains("; hit"));
        assert_eq!(hit, number == 2, "{number}: {}", seen.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_other_way_in() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let edge = start(&origin, guarded(&authority, None)).await;
    let known = authority.issue(1);
    // What a connection proved for one host is nothing to another that asks for more.
    let partner = visitor(Some(&known), ALL_VERSIONS);
    let crossing = visit(edge.https, &partner, "guests.test", "partners.test").await;
    let crossing = crossing.expect("an answer");
    assert_eq!(crossing.status, 421);
    assert!(
        crossing.text.contains("misdirected_request"),
        "{}",
        crossing.text
    );
    assert_eq!(crossing.header("alt-svc"), None, "QUIC does not serve it");
    // Plain http is no way in, although the route allows it.
    let mut plain = Client::plain(&edge).await;
    let open = plain
        .send(Method::GET, "/echo", &[("host", "open.test")], "")
        .await;
    assert_eq!(open.expect("an answer").status, 200);
    for name in ["partners.test", "guests.test", "PARTNERS.test."] {
        let refused = plain
            .send(Method::GET, "/echo", &[("host", name)], "")
            .await;
        refused
            .expect("an answer")
            .assert_problem(308, "https_required");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_revocation_list_holds_at_once() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let list = authority.revoke(1, &[2]);
    let edge = start(&origin, guarded(&authority, Some(&list))).await;
    let (one, two) = (authority.issue(1), authority.issue(2));
    let (one, two) = (
        visitor(Some(&one), ALL_VERSIONS),
        visitor(Some(&two), ALL_VERSIONS),
    );
    let ask = async |config| visit(edge.https, config, "partners.test", "partners.test").await;
    assert_eq!(ask(&one).await.expect("an answer").status, 200);
    assert!(ask(&one).await.expect("an answer").resumed);
    assert!(ask(&two).await.is_err());
    replace(
        &edge.files.root().join("clients.crl"),
        authority.revoke(2, &[1]).as_bytes(),
    );
    // The client has a ticket from before, which must not help it.
    until("the revoked client to be refused", || async {
        ask(&one).await.err()
    })
    .await;
    assert_eq!(ask(&two).await.expect("an answer").status, 200);
    // A list that nobody renewed says nothing about anybody.
    let ended = authority.revoke_until(3, &[], -time::Duration::HOUR);
    replace(&edge.files.root().join("clients.crl"), ended.as_bytes());
    until("the list to have ended", || async { ask(&two).await.err() }).await;
    assert!(ask(&one).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_ends_what_the_old_one_proved() {
    let origin = Origin::h1().await;
    let (old, new) = (ClientAuthority::new("old"), ClientAuthority::new("new"));
    let edge = start(&origin, guarded(&old, None)).await;
    let (of_old, of_new) = (old.issue(1), new.issue(1));
    let (of_old, of_new) = (
        visitor(Some(&of_old), ALL_VERSIONS),
        visitor(Some(&of_new), ALL_VERSIONS),
    );
    let mut kept = tls::connect_to(edge.https, &of_old, "partners.test").await;
    assert_eq!(ask_again(&mut kept, "partners.test").await, 200);
    let ask = async |config| visit(edge.https, config, "partners.test", "partners.test").await;
    assert_eq!(ask(&of_old).await.expect("an answer").status, 200);
    assert!(ask(&of_new).await.is_err());
    replace(&edge.files.root().join("clients.pem"), new.pem().as_bytes());
    until("the new authority", || async { ask(&of_new).await.ok() }).await;
    assert!(ask(&of_old).await.is_err(), "not by its ticket either");
    assert_eq!(
        ask_again(&mut kept, "partners.test").await,
        421,
        "nor by its open connection"
    );
}

/// The status of one more request on a kept connection.
async fn ask_again(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), host: &str) -> u16 {
    let request = format!("GET /echo HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a connection");
    let answer = async {
        let mut text = String::new();
        loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.expect("a connection");
            assert!(read > 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..read]));
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .and_then(|length| length.parse().ok())
            });
            let complete = length.map_or(body.ends_with("0\r\n\r\n"), |length: usize| {
                body.len() >= length
            });
            if complete {
                return text
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .expect("a status");
            }
        }
    };
    within("another answer", answer).await
}

/// Why the newest policy files are not in force.
async fn last_error(edge: &Edge) -> Option<String> {
    let (_, page) = edge.admin("/policy").await;
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let text = page["status"]["last_error"]["text"].as_str()?;
    Some(text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_leave_the_old_trust_in_force() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let list = authority.revoke(1, &[2]);
    let edge = start(&origin, guarded(&authority, Some(&list))).await;
    let root = edge.files.root().to_owned();
    let (ca, crl) = (root.join("clients.pem"), root.join("clients.crl"));
    let (good_ca, good_crl) = (
        fs::read(&ca).expect("a file"),
        fs::read(&crl).expect("a file"),
    );
    let (one, two) = (authority.issue(1), authority.issue(2));
    let (one, two) = (
        visitor(Some(&one), ALL_VERSIONS),
        visitor(Some(&two), ALL_VERSIONS),
    );
    let nobody = visitor(None, ALL_VERSIONS);
    let ask = async |config| visit(edge.https, config, "partners.test", "partners.test").await;
    let half = |good: &[u8]| good[..good.len() / 2].to_vec();
    let garbage = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        STANDARD.encode([0x30; 64])
    );
    let cases = [
        (&ca, &good_ca, Some(half(&good_ca))),
        (&ca, &good_ca, Some(Vec::new())),
        (&ca, &good_ca, None),
        (
            &ca,
            &good_ca,
            Some(b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n".to_vec()),
        ),
        (&crl, &good_crl, Some(half(&good_crl))),
        (&crl, &good_crl, Some(Vec::new())),
        (&crl, &good_crl, None),
        (&crl, &good_crl, Some(garbage.into_bytes())),
        (&crl, &good_crl, Some(good_ca.clone())),
    ];
    for (number, (path, good, broken)) in cases.into_iter().enumerate() {
        match &broken {
            Some(broken) => replace(path, broken),
            None => fs::remove_file(path).expect("a file"),
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        until(format!("case {number} to be reported"), || async {
            let error = last_error(&edge).await?;
            error.contains(name).then_some(())
        })
        .await;
        assert_eq!(
            ask(&one).await.expect("an answer").status,
            200,
            "case {number}"
        );
        assert!(ask(&two).await.is_err(), "case {number}");
        assert!(ask(&nobody).await.is_err(), "case {number}");
        replace(path, good);
        until(format!("case {number} to be over"), || async {
            last_error(&edge).await.is_none().then_some(())
        })
        .await;
    }
    for file in ["../clients.pem", "../clients.crl", "sites.key"] {
        let series =
            format!("palisade_certificate_not_after_timestamp_seconds{{file=\"{file}\"}} ");
        let end = edge.metric(&series).await;
        assert!(end.is_some_and(|end| end > 1.7e9), "{file}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends_while_its_connection_and_ticket_do_not() {
    let (origin, authority) = (Origin::h1().await, ClientAuthority::new("partners"));
    let edge = start(&origin, guarded(&authority, None)).await;
    let identity = authority.issue_for(1, Duration::from_secs(20));
    let mut kept = Vec::new();
    let configs = [
        visitor(Some(&identity), &[&TLS12]),
        visitor(Some(&identity), &[&TLS13]),
    ];
    for config in &configs {
        let seen = visit(edge.https, config, "partners.test", "partners.test").await;
        assert_eq!(seen.expect("an answer").status, 200);
        let seen = visit(edge.https, config, "partners.test", "partners.test").await;
        assert!(seen.expect("an answer").resumed);
        let mut connection = tls::connect_to(edge.https, config, "partners.test").await;
        assert_eq!(ask_again(&mut connection, "partners.test").await, 200);
        kept.push(connection);
    }
    for (config, connection) in configs.iter().zip(&mut kept) {
        until("the ticket to be refused", || async {
            visit(edge.https, config, "partners.test", "partners.test")
                .await
                .err()
        })
        .await;
        assert_eq!(ask_again(connection, "partners.test").await, 421);
    }
}
