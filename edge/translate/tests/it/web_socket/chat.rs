//! Messages both ways, under both subprotocols.

use futures::{SinkExt, StreamExt};
use palisade_echo::proto::{ChatRequest, ChatResponse, CountRequest, CountResponse};
use prost::Message as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{World, within};

#[tokio::test]
async fn a_conversation_in_json() {
    let world = World::start().await;
    let mut chat = world.open("/v1/rooms/blue/chat").await;
    assert!(!chat.answer.headers().contains_key("sec-websocket-protocol"));
    for (seq, text) in ["hello", "grüß dich", ""].into_iter().enumerate() {
        // The path has the last word, whatever a message says.
        let said = json!({ "text": text, "room": "red" });
        chat.say(&said.to_string()).await;
        let seq = (seq + 1).to_string();
        let expected = json!({ "room": "blue", "text": text, "seq": seq });
        assert_eq!(chat.json().await, expected);
    }
    chat.say("").await;
    assert_eq!(chat.closed().await, "1000");
    world.idle().await;
}

#[tokio::test]
async fn a_conversation_in_protobuf() {
    let world = World::start().await;
    let mut chat = world.open_proto("/v1/rooms/blue/chat").await;
    let chosen = &chat.answer.headers()["sec-websocket-protocol"];
    assert_eq!(chosen, "palisade.v1.proto");
    for (seq, text) in [(1, "hello"), (2, "")] {
        let text = text.to_owned();
        let said = ChatRequest {
            room: "red".to_owned(),
            text: text.clone(),
        };
        chat.send(Message::binary(said.encode_to_vec())).await;
        let Message::Binary(bytes) = chat.next().await else {
            panic!("not binary");
        };
        let room = "blue".to_owned();
        let expected = ChatResponse { room, text, seq };
        assert_eq!(ChatResponse::decode(bytes).unwrap(), expected);
    }
    // No byte at all is a message of defaults: the end is an empty text.
    chat.send(Message::binary(Vec::new())).await;
    assert!(matches!(chat.next().await, Message::Binary(_)));
    chat.say("").await;
    assert_eq!(chat.closed().await, "1000");
}

#[tokio::test]
async fn a_server_stream_is_asked_for_by_path_and_query() {
    let world = World::start().await;
    let mut count = world.open("/v1/count/3?from=2").await;
    for number in ["2", "3"] {
        assert_eq!(count.json().await["number"], number);
    }
    assert_eq!(count.closed().await, "1000");

    let mut count = world.open_proto("/v1/count/1").await;
    for expected in 0..=1 {
        let Message::Binary(bytes) = count.next().await else {
            panic!("not binary");
        };
        assert_eq!(CountResponse::decode(bytes).unwrap().number, expected);
    }
    assert_eq!(count.closed().await, "1000");
}

#[tokio::test]
async fn by_its_grpc_path_it_is_asked_for_by_the_first_frame() {
    let world = World::start().await;
    let path = "/palisade.echo.v1.EchoService/Count";
    let mut count = world.open(path).await;
    count.say(r#"{"from":7,"to":7}"#).await;
    assert_eq!(count.json().await["number"], "7");
    assert_eq!(count.closed().await, "1000");

    let mut count = world.open_proto(path).await;
    let asked = CountRequest {
        from: 7,
        to: 7,
        ..CountRequest::default()
    };
    count.send(Message::binary(asked.encode_to_vec())).await;
    assert!(matches!(count.next().await, Message::Binary(_)));
    assert_eq!(count.closed().await, "1000");
}

#[tokio::test]
async fn a_client_stream_is_answered_at_its_end() {
    let world = World::start().await;
    let mut sum = world.open("/v1/sum").await;
    for number in 1..=100 {
        sum.say(&json!({ "number": number }).to_string()).await;
    }
    sum.say("").await;
    assert_eq!(
        sum.json().await,
        json!({ "sum": "5050", "messages": "100" })
    );
    assert_eq!(sum.closed().await, "1000");
}

#[tokio::test]
async fn large_messages_pass_whole() {
    let world = World::start().await;
    let mut chat = world.open("/v1/rooms/a/chat").await;
    // In JSON just within the limit of a message, 1 MiB.
    for length in [65_535, 65_536, 1024 * 1024 - 11] {
        let text = "x".repeat(length);
        chat.say(&json!({ "text": text }).to_string()).await;
        assert_eq!(chat.json().await["text"], text);
    }
}

#[tokio::test]
async fn a_long_stream_passes_whole() {
    let world = World::start().await;
    let mut count = world.open("/v1/count/999?paddingBytes=65536").await;
    for number in 0..1000 {
        assert_eq!(count.json().await["number"], number.to_string());
    }
    assert_eq!(count.closed().await, "1000");
}

/// A service that takes nothing more stops its client by the socket alone.
#[tokio::test]
async fn a_full_service_holds_the_client_back() {
    let world = World::start().await;
    let mut chat = world.open("/v1/rooms/a/chat").await;
    // Answers are not read, so that the service stops, and with it what it reads.
    let said = Message::text(json!({ "text": "x".repeat(60_000) }).to_string());
    let mut taken = 0;
    loop {
        let sent = tokio::time::timeout(
            std::time::Duration::from_millis(500),
            chat.socket.send(said.clone()),
        );
        match sent.await {
            Ok(sent) => sent.unwrap(),
            Err(_) => break,
        }
        taken += 1;
        // Sockets, windows of HTTP/2 and a message here and there, both ways: far less than this.
        assert!(taken < 400, "not held back");
    }
    assert!(taken > 0);
    // It goes on where it is read.
    let read = async {
        let mut seen = 0;
        while seen < taken {
            seen += usize::from(matches!(
                chat.socket.next().await,
                Some(Ok(Message::Text(_)))
            ));
        }
    };
    within("all answers", read).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once() {
    let world = std::sync::Arc::new(World::start().await);
    let chats = (0..100).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut chat = world.open(&format!("/v1/rooms/{number}/chat")).await;
            for seq in 1..=20 {
                chat.say(r#"{"text":"hello"}"#).await;
                let answer = chat.json().await;
                assert_eq!(answer["seq"], seq.to_string());
                assert_eq!(answer["room"], number.to_string());
            }
            chat.say("").await;
            assert_eq!(chat.closed().await, "1000");
        })
    });
    for chat in chats.collect::<Vec<_>>() {
        chat.await.unwrap();
    }
    world.idle().await;
    assert_eq!(world.echo.begun(), 100);
}
