//! Connect, unary, by `GET` and in streams, JSON and protobuf: whatever is sent, the answer is one
//! message, one error or a stream with one end.

use http::{Request, Response};
use serde_json::Value;

use super::call::{frames, send};

const SERVICE: &str = "/palisade.echo.v1.EchoService";

/// The first byte chooses form, codec, coding and RPC, the second how the rest is cut.
pub(crate) fn check(data: &[u8]) {
    let [choice, cut, rest @ ..] = data else {
        return;
    };
    let codec = if choice & 4 == 0 { "json" } else { "proto" };
    let coding = ["identity", "gzip", "br", "zstd"][usize::from(choice >> 3 & 3)];
    let first = choice & 32 == 0;
    match choice & 3 {
        0 | 1 => {
            let rpc = if first { "Echo" } else { "Register" };
            let request = Request::builder()
                .method("POST")
                .uri(format!("{SERVICE}/{rpc}"))
                .header("content-type", format!("application/{codec}"))
                .header("connect-protocol-version", "1")
                .header("content-encoding", coding);
            let request = request.body(rest).expect("a request");
            unary(&send(request, usize::from(*cut)));
        }
        2 => {
            let Ok(query) = std::str::from_utf8(rest) else {
                return;
            };
            let uri = format!("{SERVICE}/Look?connect=v1&encoding={codec}&{query}");
            if let Ok(request) = Request::builder().uri(uri).body(&[][..]) {
                unary(&send(request, 1));
            }
        }
        _ => {
            let rpc = if first { "Chat" } else { "Sum" };
            let request = Request::builder()
                .method("POST")
                .uri(format!("{SERVICE}/{rpc}"))
                .header("content-type", format!("application/connect+{codec}"))
                .header("connect-accept-encoding", coding)
                .header("connect-content-encoding", coding);
            let request = request.body(rest).expect("a request");
            stream(&send(request, usize::from(*cut)));
        }
    }
}

fn unary(response: &Response<bytes::Bytes>) {
    if response.status() != 200 {
        assert_eq!(response.headers()["content-type"], "application/json");
        error(&serde_json::from_slice(response.body()).expect("an error"));
    }
}

fn stream(response: &Response<bytes::Bytes>) {
    assert_eq!(response.status(), 200);
    let mut frames = frames(response.body());
    let (flags, end) = frames.pop().expect("an end");
    assert_eq!(flags, 2);
    let end: Value = serde_json::from_slice(&end).expect("json");
    if let Some(told) = end.get("error") {
        error(told);
    }
    assert!(frames.iter().all(|(flags, _)| *flags <= 1));
}

fn error(error: &Value) {
    assert!(error["code"].is_string(), "{error}");
    assert!(
        error["message"]
            .as_str()
            .is_none_or(|text| text.len() <= 1100)
    );
}
