//! Connect streams: messages with prefixes both ways, and an end that says how it went.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use palisade_echo::proto::{CountRequest, CountResponse, SumRequest, SumResponse};
use prost::Message;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::StdError;

use super::{Client, frame, frames, message, post, with};
use crate::packing::{brotli, gzip};

pub(super) const JSON: &str = "application/connect+json";
pub(super) const PROTO: &str = "application/connect+proto";

/// The messages of a body, and its end.
pub(super) fn read(body: &[u8]) -> (Vec<(u8, Vec<u8>)>, Value) {
    let mut frames = frames(body);
    let (flags, end) = frames.pop().unwrap();
    assert_eq!(flags, 2);
    (frames, serde_json::from_slice(&end).unwrap())
}

fn read_json(body: &[u8]) -> (Vec<Value>, Value) {
    let (messages, end) = read(body);
    let messages = messages.into_iter().map(|(flags, message)| {
        assert_eq!(flags, 0);
        serde_json::from_slice(&message).unwrap()
    });
    (messages.collect(), end)
}

#[tokio::test]
async fn a_stream_of_answers() {
    let mut client = Client::of_echo().await;
    let asked = frame(0, br#"{"from":"1","to":"3"}"#);
    let answer = client.send(post("Count", JSON, asked)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(JSON));
    let (messages, end) = read_json(&answer.body);
    let numbers: Vec<_> = messages.iter().map(|message| &message["number"]).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert_eq!(end, json!({}));

    let asked = CountRequest {
        to: 2,
        ..CountRequest::default()
    };
    let answer = client.send(post("Count", PROTO, message(&asked))).await;
    assert_eq!(answer.header("content-type"), Some(PROTO));
    let (messages, end) = read(&answer.body);
    let number =
        |(_, message): &(u8, Vec<u8>)| CountResponse::decode(message.as_slice()).unwrap().number;
    let numbers: Vec<_> = messages.iter().map(number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(end, json!({}));
    client.settled().await;
}

#[tokio::test]
async fn a_stream_of_requests() {
    let mut client = Client::of_echo().await;
    let said: Vec<u8> = [r#"{"number":"40"}"#, r#"{"number":2}"#]
        .iter()
        .flat_map(|json| frame(0, json.as_bytes()))
        .collect();
    let answer = client.send(post("Sum", JSON, said)).await;
    let (messages, end) = read_json(&answer.body);
    assert_eq!(messages, [json!({"sum": "42", "messages": "2"})]);
    assert_eq!(end, json!({}));

    let said = [40, 2].map(|number| message(&SumRequest { number }));
    let answer = client.send(post("Sum", PROTO, said.concat())).await;
    let (messages, _) = read(&answer.body);
    let sum = SumResponse::decode(messages[0].1.as_slice()).unwrap();
    assert_eq!((sum.sum, sum.messages), (42, 2));

    let answer = client.send(post("Sum", PROTO, "")).await;
    assert_eq!(read(&answer.body).0, [(0, Vec::new())]);
}

#[tokio::test]
async fn a_conversation() {
    let mut client = Client::of_echo().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<_, StdError>>(1);
    let mut request = post("Chat", JSON, "");
    *request.body_mut() = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
    let say = |text: &str| {
        let json = json!({"room": "r", "text": text}).to_string();
        let frame = Bytes::from(frame(0, json.as_bytes()));
        sender.send(Ok(http_body::Frame::data(frame)))
    };
    say("a").await.unwrap();
    let mut answer = client.begin(request).await.into_body();
    let mut next = async || {
        let frame = answer.frame().await.unwrap().unwrap();
        frames(&frame.into_data().unwrap()).remove(0)
    };
    for (seq, text) in (1..).zip(["a", "b", "c"]) {
        if seq > 1 {
            say(text).await.unwrap();
        }
        // Each answer is here before the next is said.
        let (flags, message) = next().await;
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(flags, 0);
        let expected = json!({"room": "r", "text": text, "seq": seq.to_string()});
        assert_eq!(message, expected);
    }
    drop(sender);
    assert_eq!(next().await, (2, b"{}".to_vec()));
    client.settled().await;
}

#[tokio::test]
async fn compressed_messages() {
    let mut client = Client::of_echo().await;
    let json = br#"{"number":"1"}"#;
    for (coding, packed) in [
        ("gzip", gzip(json)),
        ("br", brotli(json)),
        ("zstd", zstd::encode_all(json.as_slice(), 3).unwrap()),
    ] {
        // Each message says whether it is compressed; an empty one never is.
        let body = [frame(1, &packed), frame(0, json), frame(1, &packed)].concat();
        let request = with(
            post("Sum", JSON, body),
            &[("connect-content-encoding", coding)],
        );
        let answer = client.send(request).await;
        let (messages, end) = read_json(&answer.body);
        assert_eq!(messages[0]["sum"], "3", "{coding}");
        assert_eq!(end, json!({}));
    }
    for coding in ["gzip", "br", "zstd"] {
        let asked = frame(0, br#"{"to":"1","paddingBytes":4000}"#);
        let accepted = format!("snappy, {coding}");
        let headers = [("connect-accept-encoding", accepted.as_str())];
        let answer = client
            .send(with(post("Count", JSON, asked), &headers))
            .await;
        assert_eq!(answer.header("connect-content-encoding"), Some(coding));
        let accepts = answer.header("connect-accept-encoding");
        assert_eq!(accepts, Some("gzip, br, zstd"));
        let (messages, _) = read(&answer.body);
        for (flags, packed) in messages {
            assert_eq!(flags, 1, "{coding}");
            let message: Value = serde_json::from_slice(&unpack(coding, &packed)).unwrap();
            assert!(message["padding"].as_str().unwrap().len() > 4000);
        }
    }
}

fn unpack(coding: &str, packed: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn std::io::Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(packed)),
        "br" => Box::new(brotli::Decompressor::new(packed, 4096)),
        _ => Box::new(zstd::Decoder::new(packed).unwrap()),
    };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_failure_is_told_in_the_end() {
    let mut client = Client::of_echo().await;
    let fail = json!({
        "code": 9, "message": "no", "reason": "R", "domain": "d.test",
        "answerMetadata": {"x-service-tag": "t"},
    });
    for (after, messages) in [(2, 2), (0, 0)] {
        // The latter fails before its first message.
        let asked = if after == 0 {
            json!({"pause": "-1s"})
        } else {
            json!({"failAfter": after, "fail": fail})
        };
        let asked = frame(0, asked.to_string().as_bytes());
        let answer = client.send(post("Count", JSON, asked)).await;
        assert_eq!(answer.status, 200);
        let (seen, end) = read_json(&answer.body);
        assert_eq!(seen.len(), messages);
        if after == 0 {
            assert_eq!(end["error"]["code"], "invalid_argument");
            continue;
        }
        let info = b"\x0a\x01R\x12\x06d.test";
        let expected = json!({
            "error": {
                "code": "failed_precondition",
                "message": "no",
                "details": [{
                    "type": "google.rpc.ErrorInfo",
                    "value": BASE64_STANDARD_NO_PAD.encode(info),
                    "debug": {"reason": "R", "domain": "d.test"},
                }],
            },
            "metadata": {"x-service-tag": ["t"]},
        });
        assert_eq!(end, expected);
    }
    client.settled().await;
}
