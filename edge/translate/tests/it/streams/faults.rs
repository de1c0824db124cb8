//! Streams that fail, before their first message and behind it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use palisade_translate::Options;
use tokio::sync::Notify;

use super::{ARRAY, Answer, Client, EVENTS, LINES, Streamed, World, get, problem};
use crate::descriptors;
use crate::upstream::{Script, Upstream, headers};

const UNUSABLE: &str = "the service did not give a usable answer";

/// A thing whose id is `x`, with its prefix.
const THING: &[u8] = b"\0\0\0\0\x03\x0a\x01x";

async fn watch(script: Script, accept: &str) -> Answer {
    let upstream = Upstream::start(script).await;
    let options = Options {
        response_message_bytes_max: 32,
        honours_http_metadata: true,
        ..Options::default()
    };
    let channel = upstream.channel.clone();
    let mut client = Client::connect(&descriptors::things(), channel, options);
    client.send(get("/v1/watch", accept)).await.whole().await
}

/// An answer whose first message has come, and what cuts it off.
async fn watch_until_cut(accept: &str, request_id: &str) -> (Streamed, Arc<Notify>) {
    let cut = Arc::new(Notify::new());
    let script = Script::Cut(Bytes::from_static(THING), Arc::clone(&cut));
    let upstream = Upstream::start(script).await;
    let channel = upstream.channel.clone();
    let options = Options::default();
    let mut client = Client::connect(&descriptors::things(), channel, options);
    let mut request = get("/v1/watch", accept);
    let request_id = request_id.parse().unwrap();
    request.headers_mut().insert("x-request-id", request_id);
    (client.send(request).await, cut)
}

/// What went wrong, as the format tells it behind a message.
fn told(accept: &str, answer: &Answer) -> Option<String> {
    assert_eq!(answer.status, 200);
    if accept == ARRAY {
        assert!(answer.is_cut);
        assert!(serde_json::from_str::<serde_json::Value>(&answer.body).is_err());
        return None;
    }
    assert!(!answer.is_cut, "{accept}");
    let json = if accept == LINES {
        let last = answer.body.lines().last().unwrap();
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        last["error"].to_string()
    } else {
        let (_, last) = answer.body.rsplit_once("event: error\n").unwrap();
        let data = last.strip_prefix("data: ").unwrap();
        data.strip_suffix("\n\n").unwrap().to_owned()
    };
    Some(problem(&json))
}

fn status(code: &str) -> Option<HeaderMap> {
    Some(headers(&[("grpc-status", code), ("grpc-message", "why")]))
}

/// Name, what follows a message, the trailers, what is told.
fn broken() -> Vec<(&'static str, &'static [u8], Option<HeaderMap>, String)> {
    let unusable = |code: &str| format!("{code}: {UNUSABLE}");
    vec![
        (
            "no status",
            b"",
            Some(HeaderMap::new()),
            unusable("upstream_broken"),
        ),
        ("status", b"", status("5"), "not_found: why".to_owned()),
        (
            "internal",
            b"",
            status("13"),
            "internal: The service failed to answer this request.".to_owned(),
        ),
        (
            "half a message",
            b"\0\0\0\0\x03\x0a",
            status("0"),
            unusable("upstream_response_invalid"),
        ),
        (
            "compressed",
            b"\x01\0\0\0\x03\x0a\x01x",
            status("0"),
            unusable("upstream_response_invalid"),
        ),
        (
            "no protobuf",
            b"\0\0\0\0\x02\x0a\x09",
            status("0"),
            unusable("upstream_response_invalid"),
        ),
        (
            "too large",
            b"\0\0\0\0\x21",
            status("0"),
            unusable("upstream_response_too_large"),
        ),
    ]
}

#[tokio::test]
async fn behind_a_message() {
    for accept in [LINES, EVENTS, ARRAY] {
        for (name, rest, trailers, expected) in broken() {
            let bytes = Bytes::from([THING, rest].concat());
            let script = Script::Raw(HeaderMap::new(), Some(bytes), trailers);
            let answer = watch(script, accept).await;
            let told = told(accept, &answer);
            assert!(
                accept == ARRAY || told.as_ref() == Some(&expected),
                "{name} {told:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_reset_behind_a_message() {
    for accept in [LINES, EVENTS, ARRAY] {
        let (mut answer, cut) = watch_until_cut(accept, "").await;
        answer.until("\"x\"").await;
        cut.notify_one();
        let told = told(accept, &answer.whole().await);
        let expected = format!("upstream_broken: {UNUSABLE}");
        assert!(accept == ARRAY || told == Some(expected), "{told:?}");
    }
}

#[tokio::test]
async fn before_a_message_the_status_is_its_own() {
    let not_found = || status("5").unwrap();
    let none = HeaderMap::new;
    for accept in [LINES, EVENTS, ARRAY] {
        for (script, expected) in [
            (
                Script::TrailersOnly(not_found()),
                "404 not_found: why".to_owned(),
            ),
            (
                Script::Raw(none(), Some(Bytes::new()), status("5")),
                "404 not_found: why".to_owned(),
            ),
            (
                Script::Raw(none(), Some(Bytes::new()), None),
                format!("502 upstream_broken: {UNUSABLE}"),
            ),
            (
                Script::Raw(
                    none(),
                    Some(Bytes::from_static(b"\0\0\0\0\x21")),
                    status("0"),
                ),
                format!("502 upstream_response_too_large: {UNUSABLE}"),
            ),
        ] {
            let answer = watch(script, accept).await;
            assert_eq!(answer.summary(), expected, "{accept}");
        }
    }
}

#[tokio::test]
async fn a_service_that_says_no_more_than_ok() {
    let ok = || headers(&[("grpc-status", "0")]);
    for (accept, expected) in [
        (LINES, "200 "),
        (ARRAY, "200 []\n"),
        (EVENTS, "200 event: end\ndata: {}\n\n"),
    ] {
        let answer = watch(Script::TrailersOnly(ok()), accept).await;
        assert_eq!(answer.summary(), expected);
    }
}

#[tokio::test]
async fn metadata_chooses_status_and_headers() {
    let initial = headers(&[("x-http-status", "206"), ("x-service-a", "1")]);
    let script = Script::Raw(initial, Some(Bytes::from_static(THING)), status("0"));
    let answer = watch(script, LINES).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("x-service-a"), "1");
    let initial = headers(&[("x-http-status", "304"), ("cache-control", "max-age=1")]);
    let script = Script::Raw(initial, Some(Bytes::new()), status("0"));
    let answer = watch(script, LINES).await;
    assert_eq!(answer.status, 304);
    assert_eq!(answer.header("cache-control"), "max-age=1");
}

#[tokio::test]
async fn the_deadline_passes_within_the_stream() {
    let world = World::start().await;
    for accept in [LINES, EVENTS, ARRAY] {
        let mut client = world.client(Options::default());
        let mut request = get("/v1/count/0?pause=0.02s", accept);
        let headers = request.headers_mut();
        headers.insert("grpc-timeout", "300m".parse().unwrap());
        let answer = client.send(request).await.whole().await;
        let told = told(accept, &answer);
        let expected = "deadline_exceeded: the service did not answer in time";
        assert!(
            accept == ARRAY || told.as_deref() == Some(expected),
            "{told:?}"
        );
        world.until_idle().await;
    }
}

/// The problem in the stream has what a response has.
#[tokio::test]
async fn the_request_is_named() {
    let (answer, cut) = watch_until_cut(LINES, "abc").await;
    cut.notify_one();
    let answer = answer.whole().await;
    let last = answer.body.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["request_id"], "abc");
    assert_eq!(last["error"]["status"], 502);
}

/// By `response_body` an element is a field of its message.
#[tokio::test]
async fn a_part_of_each_message() {
    let script = Script::Raw(HeaderMap::new(), Some(THING.repeat(2).into()), status("0"));
    let upstream = Upstream::start(script).await;
    for (accept, expected) in [
        (LINES, "200 \"x\"\n\"x\"\n"),
        (ARRAY, "200 [\"x\",\n\"x\"]\n"),
    ] {
        let channel = upstream.channel.clone();
        let options = Options::default();
        let mut client = Client::connect(&descriptors::things(), channel, options);
        let answer = client.send(get("/v1/watch/ids", accept)).await;
        assert_eq!(answer.whole().await.summary(), expected);
    }
}
