//! Server streams: lines, events, arrays.

use std::time::Duration;

use palisade_translate::{JsonOptions, Options, SseOptions};

use super::{ARRAY, EVENTS, LINES, World, get};

fn plain(sse: SseOptions) -> Options {
    Options {
        json: JsonOptions {
            write_defaults: false,
            is_indented: true,
            ..JsonOptions::default()
        },
        sse,
        ..Options::default()
    }
}

fn with_ids() -> SseOptions {
    SseOptions {
        id_field: Some("number".into()),
        event_field: Some("kind".into()),
        retry: Some(Duration::from_millis(2_500)),
        ..SseOptions::default()
    }
}

#[tokio::test]
async fn a_stream_in_each_format() {
    let world = World::start().await;
    let one = r#"{"number":"1","kind":"odd"}"#;
    let two = r#"{"number":"2","kind":"even"}"#;
    let lines = format!("{one}\n{two}\n");
    let array = format!("[{one},\n{two}]\n");
    let events = format!("data: {one}\n\ndata: {two}\n\nevent: end\ndata: {{}}\n\n");
    for (accept, media_type, expected) in [
        (LINES, LINES, &lines),
        ("application/jsonl", "application/jsonl", &lines),
        (ARRAY, ARRAY, &array),
        ("*/*", ARRAY, &array),
        (EVENTS, EVENTS, &events),
    ] {
        let mut client = world.client(plain(SseOptions::default()));
        let answer = client.send(get("/v1/count/2?from=1", accept)).await;
        let answer = answer.whole().await;
        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(answer.header("content-type"), media_type);
        assert_eq!(answer.header("vary"), "accept");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(&answer.body, expected, "{accept}");
        assert!(!answer.is_cut);
    }
    world.until_idle().await;
}

#[tokio::test]
async fn an_empty_stream_is_one_too() {
    let world = World::start().await;
    for (accept, expected) in [
        (LINES, ""),
        (ARRAY, "[]\n"),
        (EVENTS, "event: end\ndata: {}\n\n"),
    ] {
        let answer = world.get("/v1/count/1?from=2", accept).await;
        assert_eq!(answer.summary(), format!("200 {expected}"));
        assert!(!answer.is_cut);
    }
}

#[tokio::test]
async fn events_have_ids_names_and_a_pause() {
    let world = World::start().await;
    let mut client = world.client(plain(with_ids()));
    let answer = client.send(get("/v1/count/1", EVENTS)).await.whole().await;
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(
        answer.body,
        "retry: 2500\n\n\
         id: 0\nevent: even\ndata: {\"kind\":\"even\"}\n\n\
         id: 1\nevent: odd\ndata: {\"number\":\"1\",\"kind\":\"odd\"}\n\n\
         event: end\ndata: {}\n\n"
    );
}

#[tokio::test]
async fn a_stream_is_resumed_behind_the_last_event() {
    let world = World::start().await;
    let mut client = world.client(plain(with_ids()));
    let mut request = get("/v1/count/7", EVENTS);
    let headers = request.headers_mut();
    headers.insert("last-event-id", "6".parse().unwrap());
    let answer = client.send(request).await.whole().await;
    let ids: Vec<_> = answer
        .body
        .lines()
        .filter(|l| l.starts_with("id"))
        .collect();
    assert_eq!(ids, ["id: 7"]);
}

/// What would end a line, or could not come back as metadata, is left out.
#[tokio::test]
async fn hostile_ids_forge_no_events() {
    let world = World::start().await;
    for (text, expected) in [
        ("a b", Some("id: a b")),
        (r"a\ndata: forged\n", None),
        (r"a\rid: 2", None),
        (r"a\u0000", None),
        ("é", None),
        ("", None),
    ] {
        let sse = SseOptions {
            id_field: Some("text".into()),
            event_field: Some("room".into()),
            ..SseOptions::default()
        };
        let mut client = world.client(plain(sse));
        let line = format!("{{\"text\":\"{text}\"}}\n");
        let body = http_body_util::Full::new(bytes::Bytes::from(line));
        let body = http_body_util::BodyExt::boxed_unsync(body);
        let request = super::post("/v1/rooms/r/chat", LINES, EVENTS, body);
        let answer = client.send(request).await.whole().await;
        let mut lines = answer.body.lines();
        if let Some(expected) = expected {
            assert_eq!(lines.next(), Some(expected));
        }
        assert_eq!(lines.next(), Some("event: r"), "{text}");
        assert!(lines.next().unwrap().starts_with("data: {\"room\":\"r\""));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            ["", "event: end", "data: {}", ""]
        );
    }
}

#[tokio::test]
async fn a_quiet_stream_has_its_head_and_signs_of_life() {
    let world = World::start().await;
    let heartbeat = Duration::from_millis(20);
    let sse = SseOptions {
        heartbeat,
        ..SseOptions::default()
    };
    let mut client = world.client(plain(sse.clone()));
    let mut answer = client.send(get("/v1/count/0?pause=3600s", EVENTS)).await;
    assert_eq!(answer.status, 200);
    answer.until(":\n\n:\n\n:\n\n").await;
    assert_eq!(answer.seen.replace(":\n\n", ""), "");
    drop((answer, client));
    world.until_idle().await;

    // Lines have no signs of life, but a head.
    let mut client = world.client(plain(sse));
    let answer = client.send(get("/v1/count/0?pause=3600s", LINES)).await;
    assert_eq!(answer.headers["content-type"], LINES);
    drop((answer, client));
    world.until_idle().await;
}

#[tokio::test]
async fn messages_come_as_they_are_made() {
    let world = World::start().await;
    for accept in [LINES, EVENTS, ARRAY] {
        let mut client = world.client(Options::default());
        // Of numbers without end, only some can have been made.
        let mut answer = client.send(get("/v1/count/0?pause=0.002s", accept)).await;
        answer.until(r#""number":"3""#).await;
        assert!(world.echo.under_way() > 0, "{accept}");
        drop((answer, client));
        world.until_idle().await;
    }
}

#[tokio::test]
async fn what_nobody_reads_is_not_made() {
    let world = World::start().await;
    let mut other = world.client(Options::default());
    for accept in [LINES, EVENTS, ARRAY] {
        let before = world.echo.counted();
        let mut client = world.client(Options::default());
        let uri = "/v1/count/100000?padding_bytes=65536";
        let answer = client.send(get(uri, accept)).await;
        for _ in 0..200 {
            let answer = other.send(get("/v1/echo/hello", "*/*")).await.whole().await;
            assert_eq!(answer.status, 200);
        }
        // What sockets and windows hold: some dozens of them.
        let made = world.echo.counted() - before;
        assert!(made < 200, "{accept}: {made}");
        drop((answer, client));
        world.until_idle().await;
    }
}

#[tokio::test]
async fn the_client_says_what_it_takes() {
    let world = World::start().await;
    let answer = world.get("/v1/count/1", "text/html").await;
    let names =
        "`application/json`, `application/x-ndjson`, `application/jsonl`, `text/event-stream`";
    assert_eq!(
        answer.summary(),
        format!("406 not_acceptable: this stream is written as one of {names}")
    );
    assert_eq!(world.echo.begun(), 0);
}

#[tokio::test]
async fn a_head_without_its_stream() {
    let world = World::start().await;
    let mut client = world.client(Options::default());
    let mut request = get("/v1/count/0?from=1", EVENTS);
    *request.method_mut() = http::Method::HEAD;
    let answer = client.send(request).await.whole().await;
    assert_eq!(answer.summary(), "200 ");
    assert_eq!(answer.header("content-type"), EVENTS);
    world.until_idle().await;
}
