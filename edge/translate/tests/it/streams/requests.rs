//! Client streams and conversations: lines, arrays, single documents.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use palisade_translate::Options;

use super::{ARRAY, EVENTS, LINES, World, pieces, post, problem};

fn sum(sum: i64, messages: u64) -> String {
    format!("200 {{\"sum\":\"{sum}\",\"messages\":\"{messages}\"}}")
}

#[tokio::test]
async fn messages_of_a_body() {
    let world = World::start().await;
    let jsonl = "application/jsonl; charset=utf-8";
    for (media_type, body, expected) in [
        (LINES, "", sum(0, 0)),
        (LINES, "{\"number\":1}\n{\"number\":\"2\"}\n", sum(3, 2)),
        (LINES, "\n{}\r\n \n{\"number\":-5}", sum(-5, 2)),
        (jsonl, "{\"number\":1}", sum(1, 1)),
        (ARRAY, "", sum(0, 0)),
        (ARRAY, " {\"number\":4} ", sum(4, 1)),
        (ARRAY, "{\n  \"number\": 4\n}", sum(4, 1)),
        (ARRAY, "[]", sum(0, 0)),
        (ARRAY, "[{\"number\":4},{},\n{\"number\":5}]", sum(9, 3)),
    ] {
        let answer = world.post("/v1/sum", media_type, body).await;
        assert_eq!(answer.summary(), expected, "{media_type} {body}");
    }
    world.until_idle().await;
}

/// One DATA frame for each would be taken for a flood.
#[tokio::test]
async fn many_small_messages_come_faster_than_they_are_taken() {
    let world = World::start().await;
    let body = "{\"number\":1}\n".repeat(50_000);
    let answer = world.post("/v1/sum", LINES, &body).await;
    assert_eq!(answer.summary(), sum(50_000, 50_000));
    world.until_idle().await;
}

#[tokio::test]
async fn wrong_messages_are_named() {
    let world = World::start().await;
    let blank = " ".repeat(1024 * 1024);
    let long = format!("{{}}\n{{\"number\":{blank}1}}\n");
    let deep = format!("{{}}\n{}\n", "[".repeat(10_000));
    let long_element = format!("[{{}},{{\"number\":{blank}1}}]");
    let is_413 = "body_too_large: the request body is longer than `1048576` bytes";
    for (media_type, body, expected) in [
        (
            LINES,
            "{}\n{\"nope\":1}\n",
            "400 invalid_json: line `2`: the request body: ",
        ),
        (
            LINES,
            "{}\n\n{}{}\n",
            "400 invalid_json: line `3`: the request body: ",
        ),
        (
            LINES,
            "{\"number\":\"x\"}",
            "400 invalid_json: line `1`: the request body: ",
        ),
        (
            LINES,
            "{\"number\":",
            "400 invalid_json: line `1`: the request body: ",
        ),
        (
            LINES,
            &deep,
            "400 invalid_json: line `2`: the request body: ",
        ),
        (LINES, &long, "413 body_too_large: line `2`: "),
        (ARRAY, &long_element, "413 body_too_large: message `2`: "),
        (
            ARRAY,
            "[{},1]",
            "400 invalid_json: message `2`: the request body: ",
        ),
        (
            ARRAY,
            "[{},]",
            "400 invalid_json: message `2`: the request body: an element of the array is missing",
        ),
        (
            ARRAY,
            "[{}",
            "400 invalid_json: message `1`: the request body: the array does not end",
        ),
        (
            ARRAY,
            "{\"nope\":1}",
            "400 invalid_json: the request body: ",
        ),
    ] {
        let answer = world.post("/v1/sum", media_type, body).await;
        let summary = answer.summary();
        assert!(summary.starts_with(expected), "{body:.40}: {summary}");
    }
    let long = format!("{{\"number\":{blank}1}}");
    let answer = world.post("/v1/sum", ARRAY, &long).await;
    assert_eq!(answer.summary(), format!("413 {is_413}"));
    world.until_idle().await;
}

#[tokio::test]
async fn other_bodies_and_queries_are_refused_before_the_call() {
    let world = World::start().await;
    let types = "the request body must be `application/x-ndjson`, `application/jsonl` or \
                 `application/json`, in utf-8";
    for (uri, media_type, expected) in [
        (
            "/v1/sum",
            "text/plain",
            format!("415 unsupported_media_type: {types}"),
        ),
        (
            "/v1/sum",
            "application/x-ndjson; charset=latin1",
            format!("415 unsupported_media_type: {types}"),
        ),
        (
            "/v1/sum?number=1",
            LINES,
            "400 invalid_query: query parameter `number`: the body sets this field".to_owned(),
        ),
    ] {
        let answer = world.post(uri, media_type, "{}\n").await;
        assert_eq!(answer.summary(), expected);
    }
    assert_eq!(world.echo.begun(), 0);
}

/// The wrong line comes while the client still sends, and nothing more comes of it.
#[tokio::test]
async fn a_wrong_line_is_told_at_once() {
    let world = World::start().await;
    let mut client = world.client(Options::default());
    let (sender, body) = pieces();
    sender.send("{\"number\":1}\n{\"num").await.unwrap();
    let request = post("/v1/sum", LINES, ARRAY, body);
    let answer = tokio::spawn(async move { client.send(request).await.whole().await });
    super::until(|| world.echo.under_way() == 1).await;
    sender.send("ber\":true}\n").await.unwrap();
    let answer = answer.await.unwrap();
    let expected = "400 invalid_json: line `2`: ";
    assert!(
        answer.summary().starts_with(expected),
        "{}",
        answer.summary()
    );
    world.until_idle().await;
}

#[tokio::test]
async fn a_conversation_goes_both_ways_at_once() {
    let world = World::start().await;
    let mut client = world.client(Options::default());
    let (sender, body) = pieces();
    let request = post("/v1/rooms/red/chat", LINES, LINES, body);
    sender.send("{\"text\":\"one\"}\n").await.unwrap();
    let mut answer = client.send(request).await;
    let one = r#"{"room":"red","text":"one","seq":"1"}"#;
    answer.until(&format!("{one}\n")).await;
    // The path has the last word for each message.
    sender
        .send("{\"text\":\"two\",\"room\":\"blue\"}\n")
        .await
        .unwrap();
    let two = r#"{"room":"red","text":"two","seq":"2"}"#;
    answer.until(&format!("{two}\n")).await;
    drop(sender);
    let answer = answer.whole().await;
    assert_eq!(answer.summary(), format!("200 {one}\n{two}\n"));
    assert!(!answer.is_cut);
    world.until_idle().await;
}

#[tokio::test]
async fn a_wrong_line_ends_a_conversation() {
    let world = World::start().await;
    for accept in [LINES, EVENTS, ARRAY] {
        let mut client = world.client(Options::default());
        let (sender, body) = pieces();
        sender.send("{\"text\":\"one\"}\n").await.unwrap();
        let request = post("/v1/rooms/red/chat", LINES, accept, body);
        let mut answer = client.send(request).await;
        answer.until("\"seq\":\"1\"}").await;
        sender.send("nonsense\n").await.unwrap();
        let answer = answer.whole().await;
        let last = answer.body.lines().rfind(|line| !line.is_empty()).unwrap();
        let told = match accept {
            LINES => last.strip_prefix("{\"error\":").unwrap().strip_suffix('}'),
            EVENTS => last.strip_prefix("data: "),
            _ => {
                assert!(answer.is_cut);
                assert!(!answer.body.contains(']'));
                continue;
            }
        };
        assert!(!answer.is_cut);
        let told = problem(told.unwrap());
        assert!(told.starts_with("invalid_json: line `2`: "), "{told}");
        world.until_idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_sends_cancels_the_call() {
    let world = World::start().await;
    for uri in ["/v1/sum", "/v1/rooms/red/chat"] {
        let mut client = world.client(Options::default());
        let (sender, body) = pieces();
        sender.send("{}\n").await.unwrap();
        let request = post(uri, LINES, LINES, body);
        let answer = tokio::spawn(async move { client.send(request).await.whole().await });
        super::until(|| world.echo.under_way() == 1).await;
        answer.abort();
        world.until_idle().await;
        drop(sender);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_is_not_a_short_one() {
    let world = World::start().await;
    let (mut io, _) = world.client(Options::default()).calling.raw();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let head = "POST /v1/sum HTTP/1.1\r\nhost: e\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\nzz\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    super::within(io.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("incomplete_body"), "{answer}");
    world.until_idle().await;
}

/// Nothing of it is held: it is a body without a message.
#[tokio::test]
async fn a_hundred_megabytes_of_whitespace() {
    let world = World::start().await;
    let blank = Bytes::from(vec![b'\n'; 1024 * 1024]);
    for (media_type, messages) in [(LINES, 0), (ARRAY, 0)] {
        let blank = blank.clone();
        let frames = (0..100).map(move |_| Ok(http_body::Frame::data(blank.clone())));
        let body = http_body_util::StreamBody::new(tokio_stream::iter(frames));
        let mut client = world.client(Options::default());
        let request = post("/v1/sum", media_type, ARRAY, body.boxed_unsync());
        let answer = client.send(request).await.whole().await;
        assert_eq!(answer.summary(), sum(0, messages), "{media_type}");
    }
    let empty = Full::new(Bytes::new()).boxed_unsync();
    let mut request = post("/v1/sum", LINES, ARRAY, empty);
    request.headers_mut().remove("content-type");
    let mut client = world.client(Options::default());
    let answer = client.send(request).await.whole().await;
    assert_eq!(answer.summary(), sum(0, 0));
}
