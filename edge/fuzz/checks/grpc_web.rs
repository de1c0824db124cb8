//! gRPC-Web, binary and text: whatever is sent, the answer is whole frames and one end, and a service
//! is called with nothing but whole frames.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Request;

use super::call::{frames, send};

const RPCS: [&str; 4] = ["Echo", "Register", "Sum", "Chat"];

/// The first byte chooses RPC, form and coding, the second how the rest is cut.
pub(crate) fn check(data: &[u8]) {
    let [choice, cut, body @ ..] = data else {
        return;
    };
    let is_text = choice & 4 != 0;
    let request = Request::builder()
        .method("POST")
        .uri(format!(
            "/palisade.echo.v1.EchoService/{}",
            RPCS[usize::from(choice & 3)]
        ))
        .header(
            "content-type",
            if is_text {
                "application/grpc-web-text"
            } else {
                "application/grpc-web"
            },
        );
    let request = match choice >> 3 & 3 {
        0 => request,
        1 => request.header("grpc-encoding", "gzip"),
        2 => request.header("grpc-encoding", "br"),
        _ => request.header("grpc-encoding", "zstd"),
    };
    let response = send(request.body(body).expect("a request"), usize::from(*cut));
    assert_eq!(response.status(), 200);
    if response.headers().contains_key("grpc-status") {
        assert!(response.body().is_empty());
        return;
    }
    let body = if is_text {
        let groups = response.body().chunks(4);
        groups
            .flat_map(|group| BASE64_STANDARD.decode(group).expect("base64"))
            .collect()
    } else {
        response.body().to_vec()
    };
    let mut frames = frames(&body);
    let (flags, trailers) = frames.pop().expect("an end");
    assert_eq!(flags, 0x80);
    assert!(
        String::from_utf8(trailers)
            .expect("text")
            .contains("grpc-status: ")
    );
    assert!(frames.iter().all(|(flags, _)| *flags <= 1));
}
