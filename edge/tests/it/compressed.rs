//! Answers that are compressed toward the client: the same bytes, over every protocol.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::Method;

use crate::client::{Client, Protocol, Response};
use crate::harness::Edge;
use crate::upstream::behaviour::FIRST;
use crate::upstream::{Origin, pattern};

const LENGTH: usize = 200_000;

async fn start() -> (Edge, Origin) {
    let origin = Origin::h1().await;
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
defaults: {{ compression: {{}}, response_headers: {{ set: {{ content-type: text/plain }} }} }}
routes:
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], cluster: origin }}
  - {{ name: kept, matches: [{{ path: {{ prefix: /fresh-bytes }} }}], cluster: origin, cache: {{}} }}
  - name: never
    matches: [{{ path: {{ prefix: /bytes/200001 }} }}]
    compression: off
    cluster: origin
  - name: own
    matches: [{{ path: /own }}]
    respond: {{ content_type: text/plain, body: \"{}\" }}
  - {{ name: greetings, matches: [{{ path: {{ prefix: /none }} }}], respond: {{ status: 204 }} }}
",
        origin.address,
        "word ".repeat(500)
    );
    (Edge::start(&[("policy.yaml", &policy)]).await, origin)
}

fn decoded(response: &Response) -> Bytes {
    let Some(coding) = response.header("content-encoding") else {
        return response.body.clone();
    };
    let mut plain = Vec::new();
    let read = decode(coding, &response.body, &mut plain);
    read.unwrap_or_else(|error| panic!("{response:?}: {error}"));
    plain.into()
}

fn decode(coding: &str, coded: &[u8], plain: &mut Vec<u8>) -> io::Result<usize> {
    match coding {
        "gzip" => MultiGzDecoder::new(coded).read_to_end(plain),
        "br" => brotli::Decompressor::new(coded, 4096).read_to_end(plain),
        "zstd" => zstd::stream::read::Decoder::new(coded)?.read_to_end(plain),
        other => panic!("coding {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_answers() {
    let (edge, _origin) = start().await;
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("br", Some("br")),
            ("gzip;q=0.8, br;q=0.2", Some("gzip")),
            ("identity", None),
            ("gzip;q=0", None),
        ] {
            let accept = [("accept-encoding", accept)];
            for path in ["/bytes", "/chunked"] {
                let response = client.get_with(&format!("{path}/{LENGTH}"), &accept).await;
                assert_eq!(response.status, 200);
                assert_eq!(response.header("content-encoding"), coding, "{accept:?}");
                assert_eq!(response.header("vary"), Some("accept-encoding"));
                let told = response.header("content-length");
                let length = LENGTH.to_string();
                let expected = (coding.is_none() && path == "/bytes").then_some(&*length);
                assert_eq!(told, expected, "{protocol:?} {accept:?} {path}");
                assert!(decoded(&response) == pattern::whole(LENGTH), "{protocol:?}");
            }
            let own = client.get_with("/own", &accept).await;
            assert_eq!(own.header("content-encoding"), coding);
            assert_eq!(decoded(&own), "word ".repeat(500));
            // The same head, and the connection is good for more.
            let target = format!("/bytes/{LENGTH}");
            let head = client.send(Method::HEAD, &target, &accept, "").await;
            let head = head.expect("an answer");
            assert_eq!(head.header("content-encoding"), coding);
            assert!(head.body.is_empty());
        }
        let accept = [("accept-encoding", "gzip")];
        for (path, status) in [
            ("/bytes/200001", 200),
            ("/bytes/100", 200),
            ("/status/304", 304),
            ("/none", 204),
        ] {
            let response = client.get_with(path, &accept).await;
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.header("content-encoding"), None, "{path}");
        }
    }
}

/// One stored answer serves whoever takes what, and parts are parts of the resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_not_compressed() {
    let (edge, origin) = start().await;
    let target = format!("/fresh-bytes/{LENGTH}");
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        for accept in ["gzip", "br", "zstd", "identity"] {
            let accept = [("accept-encoding", accept)];
            let response = client.get_with(&target, &accept).await;
            assert!(decoded(&response) == pattern::whole(LENGTH), "{protocol:?}");
            let ranged = [accept[0], ("range", "bytes=1000-1999")];
            let part = client.get_with(&target, &ranged).await;
            assert_eq!(part.status, 206);
            assert_eq!(part.header("content-encoding"), None);
            assert_eq!(part.body, pattern::whole(2000).slice(1000..));
        }
    }
    assert_eq!(origin.record().count("/fresh-bytes"), 1);
}

/// What is sent piece by piece arrives so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_on_flowing() {
    let (edge, origin) = start().await;
    let length = 2 * FIRST as usize;
    let target = format!("/gated-chunked/{length}");
    for protocol in Protocol::ALL {
        for coding in ["gzip", "br", "zstd"] {
            origin.close_gate();
            let mut client = Client::connect(protocol, &edge).await;
            let accept = [("accept-encoding", coding)];
            let opened = client.open(Method::GET, &target, &accept, false).await;
            let (_, pending) = opened.expect("an exchange");
            let (head, mut download) = pending.head().await.expect("a head");
            assert_eq!(head.headers["content-encoding"], coding);
            let mut body = BytesMut::new();
            let mut plain = Vec::new();
            // Nothing more comes before the gate opens.
            while plain.len() < FIRST as usize {
                let piece = download.chunk().await.expect("a piece");
                body.extend_from_slice(&piece.expect("no end"));
                plain.clear();
                let _ = decode(coding, &body, &mut plain);
            }
            origin.open_gate();
            while let Some(piece) = download.chunk().await.expect("a piece") {
                body.extend_from_slice(&piece);
            }
            plain.clear();
            decode(coding, &body, &mut plain).expect("whole");
            assert!(plain == pattern::whole(length), "{protocol:?} {coding}");
        }
    }
}
