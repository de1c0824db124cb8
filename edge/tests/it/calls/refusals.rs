//! What the edge refuses, in the client's dialect and with its details.

use palisade_echo::proto::EchoRequest;

use super::dialect::{Dialect, Failure};
use super::{SERVICE, World};
use crate::client::Protocol;

const ROUTES: &str = "
limits:
  - { name: none-left, key: { header: x-key }, rate: 1/h }
routes:
  - { name: private, matches: [{ path: { prefix: /private } }], auth: { issuer: main }, translate: true, cluster: echo }
  - { name: scoped, matches: [{ path: { prefix: /scoped } }], auth: { issuer: main, scopes: [write] }, translate: true, cluster: echo }
  - { name: limited, matches: [{ path: { prefix: /limited } }], limits: [none-left], translate: true, cluster: echo }
  - { name: small, matches: [{ path: { prefix: /small } }], request_body_max: 1KiB, translate: true, cluster: echo }
  - { name: down, matches: [{ path: { prefix: /down } }], cluster: nobody }
  - { name: hasty, matches: [{ path: { prefix: /hang } }], request_timeout: 300ms, cluster: origin }
  - { name: echo, matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }], translate: true, cluster: echo }
";

struct Case {
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    has_scope: Option<&'static str>,
    /// Bytes of the message.
    length: usize,
    code: &'static str,
    reason: &'static str,
    retries: bool,
}

const PLAIN: Case = Case {
    path: "",
    fields: &[],
    has_scope: None,
    length: 1,
    code: "",
    reason: "",
    retries: false,
};

const CASES: [Case; 9] = [
    Case {
        path: "/private/Echo",
        code: "unauthenticated",
        reason: "token_missing",
        ..PLAIN
    },
    Case {
        path: "/scoped/Echo",
        has_scope: Some("read"),
        code: "permission_denied",
        reason: "insufficient_scope",
        ..PLAIN
    },
    Case {
        path: "/no.such.Service/Echo",
        code: "unimplemented",
        reason: "route_not_found",
        ..PLAIN
    },
    Case {
        path: "/limited/Echo",
        fields: &[("x-key", "a")],
        code: "resource_exhausted",
        reason: "rate_limited",
        retries: true,
        ..PLAIN
    },
    Case {
        path: "/small/Echo",
        length: 2_000,
        code: "resource_exhausted",
        reason: "body_too_large",
        ..PLAIN
    },
    Case {
        path: "/down/Echo",
        code: "unavailable",
        reason: "upstream_unavailable",
        retries: true,
        ..PLAIN
    },
    Case {
        path: "/hang/Echo",
        code: "deadline_exceeded",
        reason: "upstream_timeout",
        ..PLAIN
    },
    Case {
        path: "/palisade.echo.v1.EchoService/Hang",
        fields: &[("grpc-timeout", "soon")],
        code: "invalid_argument",
        reason: "malformed_request",
        ..PLAIN
    },
    Case {
        path: "/palisade.echo.v1.EchoService/Hang",
        fields: &[("connect-timeout-ms", "1s")],
        code: "invalid_argument",
        reason: "malformed_request",
        ..PLAIN
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_in_the_dialect_with_details() {
    let world = World::start(ROUTES).await;
    // The only one of the hour.
    let mut client = world.client(Protocol::H2).await;
    client.get_with("/limited/any", &[("x-key", "a")]).await;
    for protocol in Protocol::ALL {
        for dialect in Dialect::ALL {
            for case in &CASES {
                if dialect.runs_over(protocol) && !is_bodyless(dialect, case) {
                    refused(&world, protocol, dialect, case).await;
                }
            }
        }
    }
    assert_eq!(world.upstream.echo.begun(), 0, "nothing came through");
}

/// A message in the query is no body.
fn is_bodyless(dialect: Dialect, case: &Case) -> bool {
    dialect == Dialect::ConnectGet && case.reason == "body_too_large"
}

async fn refused(world: &World, protocol: Protocol, dialect: Dialect, case: &Case) {
    let what = format!("{protocol:?} {dialect:?} {} {:?}", case.path, case.fields);
    let bearer = case.has_scope.map(|scope| world.bearer(scope));
    let mut fields = case.fields.to_vec();
    fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let message = EchoRequest {
        text: ".".repeat(case.length),
        ..EchoRequest::default()
    };
    // A connection of its own: one on HTTP/1.1 ends with a body that was not read.
    let mut client = world.client(protocol).await;
    let answer = dialect
        .call(&mut client, case.path, &fields, &message)
        .await
        .unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
    let failure = dialect.failure(&answer);
    let is_unary = matches!(dialect, Dialect::Connect | Dialect::ConnectGet);
    assert_eq!(is_unary, answer.status != 200, "{what}: {answer:?}");
    assert_eq!(failure.code, case.code, "{what}: {answer:?}");
    assert_eq!(
        failure.reason.as_deref(),
        Some(case.reason),
        "{what}: {answer:?}"
    );
    let Failure { retries_in_s, .. } = failure;
    assert_eq!(retries_in_s.is_some(), case.retries, "{what}: {answer:?}");
    let retry_after = answer.header("retry-after").map(str::to_owned);
    let seconds = retries_in_s.map(|seconds| seconds.to_string());
    assert_eq!(retry_after, seconds, "{what}: the same in both places");
    assert_eq!(answer.header("location"), None, "{what}");
    if case.code == "unauthenticated" {
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
    }
    let id = answer.header("x-request-id").expect("an id");
    let line = world
        .edge
        .log_line("the access line", |line| line["request_id"] == *id)
        .await;
    assert_eq!(line["reason"], case.reason, "{what}: {line}");
    assert_eq!(line["dialect"], dialect.name(), "{what}: {line}");
    assert!(line["grpc_status"].is_u64(), "{what}: {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_by_dialect_and_status() {
    let world = World::start(ROUTES).await;
    let mut client = world.client(Protocol::H2).await;
    let message = EchoRequest::default();
    for dialect in [Dialect::Grpc, Dialect::GrpcWeb, Dialect::Connect] {
        let path = "/private/Echo";
        let called = dialect.call(&mut client, path, &[], &message).await;
        called.expect("an answer");
        let series = format!(
            "palisade_calls_total{{dialect=\"{}\",grpc_status=\"16\",http_route=\"private\"}}",
            dialect.name()
        );
        assert_eq!(world.edge.metric(&series).await, Some(1.0), "{series}");
    }
    let echo = format!("{SERVICE}/Echo");
    let called = Dialect::Grpc.call(&mut client, &echo, &[], &message).await;
    called.expect("an answer");
    let series = "palisade_calls_total{dialect=\"grpc\",grpc_status=\"0\",http_route=\"echo\"}";
    assert_eq!(world.edge.metric(series).await, Some(1.0));
}
