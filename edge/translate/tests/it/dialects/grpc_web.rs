//! gRPC-Web: frames there, frames and trailers back, in binary and in base64.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use palisade_echo::proto::{
    ChatRequest, ChatResponse, CountRequest, CountResponse, EchoRequest, EchoResponse, FailRequest,
    FieldViolation, SumRequest, SumResponse,
};
use prost::Message;
use tonic_types::StatusExt;

use super::{Answer, Client, frames, message, pieces, post, with};

pub(super) const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// Messages of a type, and the trailers behind them.
fn read<M: Message + Default>(body: &[u8]) -> (Vec<M>, String) {
    let mut frames = frames(body);
    let (flags, trailers) = frames.pop().unwrap();
    assert_eq!(flags, 0x80);
    let messages = frames.into_iter().map(|(flags, message)| {
        assert_eq!(flags, 0);
        M::decode(message.as_slice()).unwrap()
    });
    (messages.collect(), String::from_utf8(trailers).unwrap())
}

/// Base64 of pieces that are padded one by one.
fn unbase64(body: &[u8]) -> Vec<u8> {
    let groups = body.chunks(4);
    groups
        .flat_map(|group| BASE64_STANDARD.decode(group).unwrap())
        .collect()
}

fn details(value: &str) -> tonic_types::ErrorDetails {
    let bytes = BASE64_STANDARD_NO_PAD.decode(value).unwrap();
    tonic::Status::with_details(tonic::Code::Unknown, "", bytes.into()).get_error_details()
}

#[tokio::test]
async fn one_message_each_way() {
    let mut client = Client::of_echo().await;
    let said = EchoRequest {
        text: "hé".to_owned(),
        ..EchoRequest::default()
    };
    for content_type in [BINARY, "application/grpc-web"] {
        let request = post("Echo", content_type, message(&said));
        let answer = client.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(BINARY));
        let (messages, trailers) = read::<EchoResponse>(&answer.body);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].said.as_ref(), Some(&said));
        assert_eq!(trailers, "grpc-status: 0\r\n");
    }
    let text = BASE64_STANDARD.encode(message(&said));
    let answer = client.send(post("Echo", TEXT, text)).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/grpc-web-text+proto")
    );
    let (messages, trailers) = read::<EchoResponse>(&unbase64(&answer.body));
    assert_eq!(messages[0].said.as_ref(), Some(&said));
    assert_eq!(trailers, "grpc-status: 0\r\n");
}

#[tokio::test]
async fn text_may_be_cut_and_padded_anywhere() {
    let mut client = Client::of_echo().await;
    let whole = message(&SumRequest { number: 40 });
    let more = message(&SumRequest { number: 2 });
    let padded = [&whole[..1], &whole[1..3], &whole[3..], &more]
        .map(|piece| BASE64_STANDARD.encode(piece))
        .concat();
    for cut in 1..7 {
        let chunks = padded.as_bytes().chunks(cut);
        let body = pieces(chunks.map(|c| Ok(Bytes::copy_from_slice(c))).collect());
        let mut request = post("Sum", TEXT, "");
        *request.body_mut() = body;
        let answer = client.send(request).await;
        let (messages, trailers) = read::<SumResponse>(&unbase64(&answer.body));
        assert_eq!((messages[0].sum, messages[0].messages), (42, 2), "{cut}");
        assert_eq!(trailers, "grpc-status: 0\r\n");
    }
}

#[tokio::test]
async fn streams_both_ways() {
    let mut client = Client::of_echo().await;
    let count = CountRequest {
        from: 1,
        to: 5,
        ..CountRequest::default()
    };
    let answer = client.send(post("Count", BINARY, message(&count))).await;
    let (messages, trailers) = read::<CountResponse>(&answer.body);
    let numbers: Vec<_> = messages.iter().map(|message| message.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(trailers, "grpc-status: 0\r\n");

    let said = ["a", "b", "c"].map(|text| {
        message(&ChatRequest {
            room: "r".to_owned(),
            text: text.to_owned(),
        })
    });
    let answer = client.send(post("Chat", BINARY, said.concat())).await;
    let (messages, trailers) = read::<ChatResponse>(&answer.body);
    let texts: Vec<_> = messages.iter().map(|m| (m.text.as_str(), m.seq)).collect();
    assert_eq!(texts, [("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(trailers, "grpc-status: 0\r\n");
    client.settled().await;
}

fn failing() -> FailRequest {
    FailRequest {
        code: 3,
        message: "90% né".to_owned(),
        violations: vec![FieldViolation {
            field: "a.b".to_owned(),
            description: "no".to_owned(),
        }],
        reason: "R".to_owned(),
        domain: "d.test".to_owned(),
        answer_metadata: [("x-service-tag".to_owned(), "t".to_owned())].into(),
        ..FailRequest::default()
    }
}

#[tokio::test]
async fn a_failure_without_messages_is_in_the_head() {
    let mut client = Client::of_echo().await;
    let answer = client.send(post("Fail", BINARY, message(&failing()))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(BINARY));
    assert_eq!(answer.header("grpc-status"), Some("3"));
    assert_eq!(answer.header("grpc-message"), Some("90%25 n%C3%A9"));
    assert_eq!(answer.header("x-service-tag"), Some("t"));
    assert!(answer.body.is_empty());
    let details = details(answer.header("grpc-status-details-bin").unwrap());
    let violations = details.bad_request().unwrap();
    assert_eq!(violations.field_violations[0].field, "a.b");
    assert_eq!(details.error_info().unwrap().domain, "d.test");
}

#[tokio::test]
async fn a_failure_behind_messages_is_in_the_trailers() {
    let mut client = Client::of_echo().await;
    let count = CountRequest {
        fail_after: 2,
        fail: Some(failing()),
        ..CountRequest::default()
    };
    let answer = client.send(post("Count", BINARY, message(&count))).await;
    assert_eq!(answer.header("grpc-status"), None);
    let (messages, trailers) = read::<CountResponse>(&answer.body);
    assert_eq!(messages.len(), 2);
    let mut lines: Vec<_> = trailers.split_terminator("\r\n").collect();
    lines.sort_unstable();
    let [message, encoded, status, tag] = lines[..] else {
        panic!("{trailers}");
    };
    assert_eq!(message, "grpc-message: 90%25 n%C3%A9");
    assert_eq!(status, "grpc-status: 3");
    assert_eq!(tag, "x-service-tag: t");
    let encoded = encoded.strip_prefix("grpc-status-details-bin: ").unwrap();
    assert_eq!(details(encoded).error_info().unwrap().reason, "R");
    client.settled().await;
}

/// What the service saw.
fn seen(answer: &Answer) -> std::collections::HashMap<String, String> {
    read::<EchoResponse>(&answer.body).0.remove(0).metadata
}

#[tokio::test]
async fn metadata() {
    let mut client = Client::of_echo().await;
    let said = EchoRequest {
        answer_metadata: [
            ("x-service-tag".to_owned(), "t".to_owned()),
            ("x-service-bin".to_owned(), "AAE".to_owned()),
        ]
        .into(),
        ..EchoRequest::default()
    };
    let request = with(
        post("Echo", BINARY, message(&said)),
        &[
            ("x-grpc-web", "1"),
            ("x-user-agent", "grpc-web-javascript/0.1"),
            ("grpc-accept-encoding", "identity,gzip"),
            ("x-mine", "1"),
            ("x-mine-bin", "AAE="),
            ("accept", BINARY),
        ],
    );
    let answer = client.send(request).await;
    assert_eq!(answer.header("x-service-tag"), Some("t"));
    assert_eq!(answer.header("x-service-bin"), Some("AAE"));
    let seen = seen(&answer);
    let get = |name: &str| seen.get(name).map(String::as_str);
    assert_eq!(get("x-mine"), Some("1"));
    assert_eq!(get("x-mine-bin"), Some("AAE"));
    assert_eq!(get("x-user-agent"), Some("grpc-web-javascript/0.1"));
    assert_eq!(get("x-grpc-web"), None);
    assert_eq!(get("accept"), None);
}
