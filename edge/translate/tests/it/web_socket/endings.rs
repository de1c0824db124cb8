//! How a conversation ends, and that its call ends with it.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use palisade_translate::{Options, SseOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tonic::transport::Endpoint;

use super::{World, within};

const COUNT: &str = "/palisade.echo.v1.EchoService/Count";

#[tokio::test]
async fn a_failure_is_a_close_code() {
    let world = World::start().await;
    let long = "ü".repeat(100);
    for (code, message, expected) in [
        (5, "no such room", "4005 no such room".to_owned()),
        (14, "", "4014".to_owned()),
        // 123 bytes are cut at a character.
        (9, &*long, format!("4009 {}", "ü".repeat(61))),
        // What is internal stays inside.
        (
            13,
            "table `x` is gone",
            "4013 The service failed to answer this request.".to_owned(),
        ),
    ] {
        let mut count = world.open(COUNT).await;
        let fail = json!({ "code": code, "message": message });
        let asked = json!({ "to": 9, "failAfter": 1, "fail": fail });
        count.say(&asked.to_string()).await;
        assert_eq!(count.json().await["number"], "0");
        assert_eq!(count.closed().await, expected);
    }
    world.idle().await;
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_call() {
    let world = World::start().await;
    let fragment = |text: &'static [u8], is_final| {
        let frame = Frame::message(text, OpCode::Data(Data::Text), is_final);
        Message::Frame(frame)
    };
    for (frame, expected) in [
        (
            Message::text("{"),
            "4003 the request body: EOF while parsing an object at line 1 column 1",
        ),
        (
            Message::text(r#"{"txt":""}"#),
            "4003 the request body: `txt`: message `palisade.echo.v1.ChatRequest` has no such field at line 1 column 6",
        ),
        (
            Message::binary(Vec::from(*b"{}")),
            "1003 messages are text frames here",
        ),
        (fragment(b"\xff\xfe", true), "1007 the text is not utf-8"),
        (fragment(b"\"", false), ""),
    ] {
        let mut chat = world.open("/v1/rooms/a/chat").await;
        chat.send(frame).await;
        if expected.is_empty() {
            // A new message within a message.
            chat.say("{}").await;
            assert!(chat.closed().await.starts_with("1002 "));
        } else {
            assert_eq!(chat.closed().await, expected);
        }
        world.idle().await;
    }
    let mut chat = world.open_proto("/v1/rooms/a/chat").await;
    chat.send(Message::binary(vec![0x0a, 9])).await;
    let closed = chat.closed().await;
    assert!(closed.starts_with("4003 the message: "), "{closed}");
    let mut chat = world.open_proto("/v1/rooms/a/chat").await;
    chat.say("{}").await;
    assert_eq!(chat.closed().await, "1003 messages are binary frames here");
    world.idle().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_read() {
    let options = Options {
        request_message_bytes_max: 100,
        ..Options::default()
    };
    let world = World::with(options).await;
    for length in [101, 1 << 20] {
        let mut chat = world.open("/v1/rooms/a/chat").await;
        // All of it is thrown away, so that the reason gets through.
        chat.send(Message::text("x".repeat(length))).await;
        let closed = chat.closed().await;
        assert!(closed.starts_with("1009 "), "{closed}");
    }
    let mut chat = world.open("/v1/rooms/a/chat").await;
    for piece in 0..3 {
        let opcode = if piece == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        let frame = Frame::message(vec![b'x'; 50], OpCode::Data(opcode), false);
        chat.send(Message::Frame(frame)).await;
    }
    let closed = chat.closed().await;
    assert!(closed.starts_with("1009 "), "{closed}");
    world.idle().await;
}

#[tokio::test]
async fn what_one_message_is_asked_for_is_one_message() {
    let world = World::start().await;
    let mut count = world.open("/v1/count/0").await;
    count.say("").await;
    assert_eq!(count.json().await["number"], "0");
    count.say("{}").await;
    let refused = within("the end", async {
        loop {
            if let Message::Close(Some(frame)) = count.next().await {
                break frame;
            }
        }
    })
    .await;
    assert_eq!(
        (u16::from(refused.code), refused.reason.as_str()),
        (4003, "no more messages are expected")
    );

    let mut count = world.open(COUNT).await;
    count.say("").await;
    assert_eq!(count.closed().await, "4003 one message is expected");

    let mut sum = world.open("/v1/sum").await;
    sum.say(r#"{"number":1}"#).await;
    // An end may not be taken back.
    sum.socket.feed(Message::text("")).await.unwrap();
    sum.say(r#"{"number":1}"#).await;
    let first = sum.next().await;
    assert!(first.is_text() || first.is_close(), "{first:?}");
    world.idle().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let world = World::start().await;
    // With a Close frame.
    let mut chat = world.open("/v1/rooms/a/chat").await;
    chat.say("{}").await;
    chat.json().await;
    assert_eq!(world.echo.under_way(), 1);
    chat.socket.close(None).await.unwrap();
    assert!(chat.next().await.is_close());
    world.idle().await;
    within("the connection to end", chat.served)
        .await
        .unwrap()
        .unwrap();
    // Without one, while the service speaks.
    for path in ["/v1/count/0", "/v1/rooms/a/chat", "/v1/sum"] {
        let mut socket = world.open(path).await;
        if path == "/v1/count/0" {
            socket.json().await;
        } else {
            socket.say("{}").await;
        }
        within("the call to begin", async {
            while world.echo.under_way() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(socket.socket);
        within("the connection to end", socket.served)
            .await
            .unwrap()
            .unwrap();
        world.idle().await;
    }
}

#[tokio::test]
async fn a_service_that_dies_is_a_failure() {
    let runtime = Runtime::new().unwrap();
    let mut world = runtime.spawn(World::start()).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    world.channel = endpoint.connect_lazy();
    let mut chat = world.open("/v1/rooms/a/chat").await;
    chat.say("{}").await;
    chat.json().await;
    runtime.shutdown_background();
    let unusable = "4014 the service did not give a usable answer";
    assert_eq!(chat.closed().await, unusable);
}

#[tokio::test]
async fn a_deadline_ends_it() {
    let world = World::start().await;
    let fields = [("grpc-timeout", "300m")];
    let chat = world.try_open("/v1/rooms/a/chat", &fields).await;
    let closed = chat.unwrap().closed().await;
    // Whoever notices first.
    assert!(
        closed.starts_with("4004") || closed.starts_with("4001"),
        "{closed}"
    );
    world.idle().await;
}

#[tokio::test]
async fn pings_are_answered_and_sent() {
    let options = Options {
        sse: SseOptions {
            heartbeat: Duration::from_millis(100),
            ..SseOptions::default()
        },
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut chat = world.open("/v1/rooms/a/chat").await;
    let ping = within("a ping", chat.socket.next()).await.unwrap().unwrap();
    assert!(ping.is_ping(), "{ping:?}");
    chat.send(Message::Ping(Bytes::from_static(b"p"))).await;
    within("a pong", async {
        while chat.socket.next().await.unwrap().unwrap() != Message::Pong(Bytes::from_static(b"p"))
        {
        }
    })
    .await;
    chat.say("").await;
    assert_eq!(chat.closed().await, "1000");
}

/// The clock runs by itself while all wait.
#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up() {
    let world = World::start().await;
    let chat = world.open("/v1/rooms/a/chat").await;
    // Read without tungstenite, which would answer.
    let mut io = chat.socket.into_inner();
    let mut read = Vec::new();
    io.read_to_end(&mut read).await.unwrap();
    let close = read.windows(2).any(|pair| pair == 1001_u16.to_be_bytes());
    assert!(read.starts_with(&[0x89, 0]) && close, "{read:?}");
    world.idle().await;
    let _ = io.shutdown().await;
    chat.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_ends_it() {
    let world = World::start().await;
    let expected = "4003 field `room`: value length must be at most 64 characters";
    let mut chat = world.open("/palisade.echo.v1.EchoService/Chat").await;
    chat.say(r#"{"room":"a"}"#).await;
    assert_eq!(chat.json().await["seq"], "1");
    chat.say(&json!({ "room": "x".repeat(65) }).to_string())
        .await;
    assert_eq!(chat.closed().await, expected);
    // Whatever names the field.
    let path = format!("/v1/rooms/{}/chat", "x".repeat(65));
    let mut chat = world.open(&path).await;
    chat.say("{}").await;
    assert_eq!(chat.closed().await, expected);
    world.idle().await;
}
