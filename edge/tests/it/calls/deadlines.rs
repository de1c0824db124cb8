//! The earliest deadline wins, whoever set it; and nobody else pays for a client's short one.

use palisade_echo::proto::{CountRequest, EchoRequest, EchoResponse};
use prost::Message;
use serde_json::Value;

use super::dialect::{Dialect, frames};
use super::{SERVICE, World};
use crate::client::Protocol;

const ROUTES: &str = "
routes:
  - { name: hasty, matches: [{ path: { prefix: /palisade.echo.v1.EchoService }, headers: { x-hasty: \"1\" } }], request_timeout: 300ms, translate: true, cluster: echo }
  - { name: bounded, matches: [{ path: { prefix: /palisade.echo.v1.EchoService }, headers: { x-bounded: \"1\" } }], request_timeout: 20s, translate: true, cluster: echo }
  - { name: rest, matches: [{ path: { prefix: /v1 } }], request_timeout: 20s, translate: true, cluster: echo }
  - { name: echo, matches: [{ path: { prefix: /palisade.echo.v1.EchoService } }], translate: true, cluster: echo }
  - { name: plain, matches: [{ path: { prefix: /echo } }], cluster: origin }
";

/// The field in which a client of the dialect says 300 ms.
fn hasty(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::Grpc | Dialect::GrpcWeb | Dialect::GrpcWebText => ("grpc-timeout", "300m"),
        _ => ("connect-timeout-ms", "300"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_at_the_earliest_deadline() {
    let world = World::start(ROUTES).await;
    let hang = format!("{SERVICE}/Hang");
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let dialects = Dialect::ALL.into_iter().filter(|dialect| {
            // Not by GET: it may have side effects. Not as a stream: it is none.
            let is_kind = *dialect != Dialect::ConnectGet && *dialect != Dialect::ConnectStream;
            is_kind && dialect.runs_over(protocol)
        });
        for dialect in dialects {
            for fields in [
                &[hasty(dialect)][..],
                &[("x-hasty", "1")],
                &[("x-bounded", "1"), hasty(dialect)],
            ] {
                let what = format!("{protocol:?} {dialect:?} {fields:?}");
                let answer = dialect.call(&mut client, &hang, fields, &()).await;
                let answer = answer.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
                let failure = dialect.failure(&answer);
                assert_eq!(failure.code, "deadline_exceeded", "{what}: {answer:?}");
                world.upstream.idle().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_ejected_for_a_clients_impatience() {
    let world = World::start(ROUTES).await;
    let hang = format!("{SERVICE}/Hang");
    for protocol in [Protocol::H2, Protocol::H3] {
        let mut client = world.client(protocol).await;
        for dialect in [Dialect::Grpc, Dialect::Connect] {
            for _ in 0..3 {
                let called = dialect
                    .call(&mut client, &hang, &[hasty(dialect)], &())
                    .await;
                called.expect("an answer");
            }
        }
        for impatience in ["0n", "1n", "50m"] {
            let fields = [("grpc-timeout", impatience)];
            let answer = client.get_with("/v1/hang", &fields).await;
            answer.assert_problem(504, "deadline_exceeded");
        }
    }
    let ejected = "palisade_upstream_ejections_total{cluster=\"echo\"}";
    assert_eq!(world.edge.metric(ejected).await.unwrap_or(0.0), 0.0);
    world.upstream.idle().await;
}

/// `grpc-timeout` as the service saw it, in milliseconds.
fn told(answer: &[u8], is_framed: bool) -> Option<u64> {
    let message = match is_framed {
        true => frames(answer).remove(0).1,
        false => answer.to_vec(),
    };
    let echoed = EchoResponse::decode(&*message).expect("a message");
    let text = echoed.metadata.get("grpc-timeout")?;
    let (digits, unit) = text.split_at(text.len() - 1);
    let count: u64 = digits.parse().expect("a number");
    Some(match unit {
        "n" => count / 1_000_000,
        "u" => count / 1_000,
        "m" => count,
        "S" => count * 1_000,
        unit => panic!("unit `{unit}`"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_told_what_is_left() {
    let world = World::start(ROUTES).await;
    let echo = format!("{SERVICE}/Echo");
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<u64>);
    let cases: [Case<'_>; 6] = [
        (&[], None),
        (&[("grpc-timeout", "40S")], Some(40_000)),
        (&[("x-bounded", "1")], Some(20_000)),
        (&[("x-bounded", "1"), ("grpc-timeout", "40S")], Some(20_000)),
        (&[("x-bounded", "1"), ("grpc-timeout", "9S")], Some(9_000)),
        (
            &[("connect-timeout-ms", "8000"), ("grpc-timeout", "9S")],
            Some(8_000),
        ),
    ];
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        for dialect in [Dialect::Grpc, Dialect::GrpcWeb, Dialect::Connect] {
            for (fields, most) in cases {
                if !dialect.runs_over(protocol) {
                    continue;
                }
                let what = format!("{protocol:?} {dialect:?} {fields:?}");
                let message = EchoRequest::default();
                let answer = dialect.call(&mut client, &echo, fields, &message).await;
                let answer = answer.expect("an answer");
                let left = told(&answer.body, dialect != Dialect::Connect);
                assert_eq!(left.is_some(), most.is_some(), "{what}: {left:?}");
                assert!(left <= most, "{what}: {left:?}");
                assert!(left.is_none_or(|left| left > 0), "{what}: {left:?}");
            }
        }
        let answer = client.get("/v1/echo/a").await;
        let metadata = &answer.json()["metadata"];
        assert!(metadata["grpc-timeout"].is_string(), "{metadata}");
        assert_eq!(metadata["connect-timeout-ms"], Value::Null);
    }
}

/// To what is no call the fields mean nothing, and they go on as they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_have_no_such_deadline() {
    let world = World::start(ROUTES).await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let fields = [("grpc-timeout", "soon"), ("connect-timeout-ms", "0")];
        let answer = client.get_with("/echo", &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = world.origin.record().requests.pop().expect("a request");
        assert_eq!(seen.header("grpc-timeout"), Some("soon"));
        assert_eq!(seen.header("connect-timeout-ms"), Some("0"));
    }
}

/// Tonic keeps a deadline only until the head of its answer; both a stream that flows and one that is
/// silent end with a status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_at_their_deadline() {
    let world = World::start(ROUTES).await;
    let count = format!("{SERVICE}/Count");
    let (flowing, silent) = (prost_duration(20), prost_duration(60_000));
    for protocol in Protocol::ALL {
        for dialect in [Dialect::Grpc, Dialect::GrpcWeb, Dialect::ConnectStream] {
            if !dialect.runs_over(protocol) {
                continue;
            }
            let mut client = world.client(protocol).await;
            for pause in [flowing, silent] {
                let asked = CountRequest {
                    from: 1,
                    pause: Some(pause),
                    ..CountRequest::default()
                };
                let what = format!("{protocol:?} {dialect:?} {pause:?}");
                // A Connect stream's request is one frame as well.
                let answer = dialect
                    .call(&mut client, &count, &[hasty(dialect)], &asked)
                    .await
                    .unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let failure = dialect.failure(&answer);
                assert_eq!(failure.code, "deadline_exceeded", "{what}: {answer:?}");
                world.upstream.idle().await;
            }
        }
    }
}

fn prost_duration(millis: i64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: millis / 1_000,
        nanos: i32::try_from(millis % 1_000).expect("small") * 1_000_000,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_shows_the_clients_deadline() {
    let world = World::start(ROUTES).await;
    let policies = world.edge.files.policies();
    let ask = |arguments: &[&str]| {
        let mut all = vec![
            "explain".into(),
            "--policies".into(),
            policies.clone().into(),
        ];
        all.extend(arguments.iter().map(std::ffi::OsString::from));
        all
    };
    let url = format!("https://localhost{SERVICE}/Echo");
    let fields = ["content-type: application/grpc", "grpc-timeout: 9S"];
    let asked = ask(&["POST", &url, "-H", fields[0], "-H", fields[1]]);
    let asked: Vec<&std::ffi::OsStr> = asked.iter().map(AsRef::as_ref).collect();
    let ended = crate::harness::palisade(&asked).await;
    assert!(ended.stdout.contains("client 9s"), "{ended:?}");
}
