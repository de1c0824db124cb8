//! `decide` against `admit` as traffic calls it, in one process and by the hundred thousand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Method;
use palisade_edge::explain::{Decision, cases, decide, explain};
use palisade_edge::identity::Introspected;
use palisade_edge::request_ctx::Now;
use palisade_edge::snapshot::Snapshot;
use palisade_edge::stages::host::Proof;
use palisade_edge::stages::{Admitted, Downstream, Refused, admit, client};
use palisade_policy::hosts::TlsVersion;
use palisade_policy::model::Action;
use pingora_http::RequestHeader;

use super::requests::{Generated, request, tokens};
use super::{Rich, offline};

const REQUESTS: usize = 20_000;
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// As the gateway asks.
fn traffic(snapshot: &Snapshot, sent: &Generated, request: u128) -> Result<Admitted, Box<Refused>> {
    let method: Method = sent.method.parse().expect("a method");
    let mut head = RequestHeader::build(method, sent.target.as_bytes(), None).expect("a head");
    let host = sent.host.unwrap_or("localhost");
    head.insert_header("host", host).expect("a field");
    for (name, value) in &sent.headers {
        head.append_header(*name, value.as_str()).expect("a field");
    }
    if sent.body_bytes > 0 {
        head.insert_header("content-length", sent.body_bytes)
            .expect("a field");
    }
    let listeners = &snapshot.policy.listeners;
    let client = client::resolve(&head.headers, NOBODY.ip(), sent.encrypted, listeners);
    let downstream = Downstream {
        client: client.address,
        encrypted: client.encrypted,
        proof: sent.encrypted.then_some(Proof {
            version: TlsVersion::Tls13,
            trust_domain: None,
            client_until: None,
        }),
        certificate: None,
        https_port: 443,
        is_extended_connect: false,
        request,
        under_way: 0,
        keys_may_come: false,
        introspected: Some(&Introspected::Unavailable),
        rehearsal: None,
    };
    admit(snapshot, &mut head, downstream, Now::read())
}

fn words(snapshot: &Snapshot, outcome: &Result<Admitted, Box<Refused>>) -> String {
    match outcome {
        Ok(admitted) => {
            let cluster = admitted.cluster.and_then(|id| snapshot.cluster(id));
            let route = &admitted.route.name;
            match (cluster, &admitted.route.action) {
                (Some(cluster), _) => format!("{route} to {}", cluster.name),
                (None, Action::Redirect(to)) => format!("{route} {} redirect", to.status.as_u16()),
                (None, _) => format!("{route} 200 direct_response"),
            }
        }
        Err(refused) => format!(
            "{} {} {}",
            refused.route.as_ref().map_or("-", |route| &route.name),
            refused.rejection.status().as_u16(),
            refused.rejection.code()
        ),
    }
}

fn decided(decision: &Decision) -> String {
    let route = decision.route_name().unwrap_or("-");
    match (&decision.answer, &decision.cluster) {
        (Some(answer), _) => format!("{route} {} {}", answer.status, answer.code),
        (None, Some(cluster)) => format!("{route} to {cluster}"),
        (None, None) => format!("{route} nowhere"),
    }
}

#[test]
fn a_decision_is_what_traffic_gets() {
    let rich = Rich::new(NOBODY, NOBODY);
    let snapshot = offline(&rich.files.policies());
    let tokens = tokens(&rich.signer);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for turn in 0..REQUESTS {
        let sent = request(&mut random, &tokens);
        let number = random.u128(..);
        let question = sent.question(&format!("{number:032x}"));
        let decision = decide(&snapshot, &question).expect("a request");
        // Ahead of traffic, and behind it: neither leaves a trace that the other sees.
        let expected = words(&snapshot, &traffic(&snapshot, &sent, number));
        assert_eq!(
            decided(&decision),
            expected,
            "seed {seed}, {turn}: {sent:?}"
        );
        assert_eq!(
            decide(&snapshot, &question).expect("a request"),
            decision,
            "{sent:?}"
        );
        if turn % 20 == 0 {
            let explanation = explain(&snapshot, &question, false).expect("a request");
            let route = explanation.route.as_ref().map(|route| route.name.as_str());
            assert_eq!(route, decision.route_name(), "{sent:?}");
            let winners = explanation.candidates.iter().filter(|it| it.lost.is_none());
            let winners: Vec<&str> = winners.map(|it| it.route.as_str()).collect();
            // A refused handshake or plain text ends ahead of the rules that would have won.
            if let Some(route) = route {
                assert_eq!(winners, [route], "{sent:?}");
            }
        }
        *kinds.entry(expected).or_default() += 1;
    }
    assert!(
        kinds.len() >= 30,
        "the requests are too much alike: {kinds:?}"
    );
}

#[test]
fn tests_of_policies_say_what_differs() {
    let rich = Rich::new(NOBODY, NOBODY);
    rich.files.write_policy(
        "tests/wrong.yaml",
        r#"version: 1
tests:
  - name: right
    request: { url: "https://localhost/items/7", headers: { x-beta: "1" } }
    expect: { route: item-beta, cluster: api, limits: [] }
  - name: wrong
    request: { url: "https://localhost/items/7" }
    expect:
      route: item-beta
      cluster: api
      limits: [by-address]
      upstream_headers: { x-request-id: { present: false } }
  - name: refused
    request: { method: PUT, url: "https://localhost/items/7" }
    expect: { cluster: api }
  - name: not-refused
    request: { method: PUT, url: "https://localhost/items/7", claims: { scope: write } }
    expect: { status: 401 }
"#,
    );
    let report = cases::run(&offline(&rich.files.policies()), "");
    assert_eq!((report.passed, report.failed.len()), (1, 3));
    let reached: Vec<&str> = report
        .coverage
        .iter()
        .filter(|covered| covered.cases > 0)
        .map(|covered| covered.route.as_str())
        .collect();
    assert_eq!(reached, ["item", "item-write", "item-beta"]);
    let text = report.failures().expect("failures");
    let id = text
        .split("actual   ")
        .nth(4)
        .and_then(|rest| rest.split('\n').next());
    let text = text.replace(id.expect("the request id"), "ID");
    assert_eq!(
        text,
        r#"tests/wrong.yaml:6: test "wrong" failed
  route                          expected item-beta
                                 actual   item
  cluster                        expected api
                                 actual   web
  limits                         expected by-address
                                 actual   by-key
  upstream_headers.x-request-id  expected absent
                                 actual   ID
  GET https://localhost/items/7 goes to web by route item (policy.yaml:30)
tests/wrong.yaml:13: test "refused" failed
  cluster  expected api
           actual   none: answered 401 token_missing
  PUT https://localhost/items/7 is answered 401 token_missing by route item-write (policy.yaml:34)
tests/wrong.yaml:16: test "not-refused" failed
  status  expected 401
          actual   none: the request goes to api
  PUT https://localhost/items/7 goes to api by route item-write (policy.yaml:34)
"#
    );
}
