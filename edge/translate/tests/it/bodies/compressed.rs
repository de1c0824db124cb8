//! Compressed request bodies: JSON, raw bodies, forms, streams of messages.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use palisade_translate::Options;
use serde_json::json;

use super::forms::{FORM, form};
use super::{Answer, Client, Echo, checksum, pattern, request, streaming, within};
use crate::packing;

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const CODING: &str = "content-encoding";
const CODINGS: &str = "gzip, br, zstd";

async fn say(client: &mut Client, coding: &str, body: impl Into<Bytes>) -> Answer {
    let headers = [JSON, (CODING, coding)];
    client
        .send(request("POST", "/v1/echo", &headers, body))
        .await
}

#[tokio::test]
async fn json() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let text = json!({ "text": "a", "tags": vec!["b"; 1000] }).to_string();
    let [gzip, brotli, zstd] = packing::each(text.as_bytes()).map(|(_, packed)| packed);
    for (coding, body) in [
        ("gzip", gzip.clone()),
        ("GZIP", gzip.clone()),
        ("x-gzip", [&gzip[..], &packing::gzip(b" ")].concat()),
        ("br", brotli),
        ("zstd", zstd),
        ("identity", text.clone().into_bytes()),
        ("", text.into_bytes()),
    ] {
        let answer = say(&mut client, coding, body).await;
        assert_eq!(answer.status, 200, "{coding}: {:?}", answer.body);
        let json = answer.json();
        assert_eq!(json["said"]["text"], "a", "{coding}");
        assert_eq!(json["said"]["tags"].as_array().unwrap().len(), 1000);
        // It is the length of what no service sees.
        let length = json["metadata"].get("x-http-content-length");
        assert_eq!(length, None, "{coding}");
    }
    // Nothing is not compressed.
    let answer = say(&mut client, "br", "").await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

#[tokio::test]
async fn codings_that_are_not_taken() {
    let echo = Echo::start().await;
    let gzip = packing::gzip(b"{}");
    let bodies: [(&str, (&str, &str), Vec<u8>); 4] = [
        ("/v1/echo", JSON, gzip.clone()),
        ("/v1/sum", LINES, gzip.clone()),
        ("/v1/mirror", ("content-type", "a/b"), gzip.clone()),
        ("/v1/files", ("content-type", "a/b"), vec![1; 500_000]),
    ];
    for (path, media_type, body) in bodies {
        for codings in [
            &["deflate"][..],
            &["gzip, br"],
            &["gzip", "gzip"],
            &["identity", "gzip"],
            &["zstd;q=1"],
        ] {
            let mut client = echo.client();
            let mut headers = vec![media_type];
            headers.extend(codings.iter().map(|coding| (CODING, *coding)));
            let answer = client
                .send(request("POST", path, &headers, body.clone()))
                .await;
            assert_eq!(
                answer.problem(),
                format!(
                    "415 unsupported_content_encoding: the request body may be compressed by one of `{CODINGS}`"
                ),
                "{path} {codings:?}"
            );
            assert_eq!(answer.header("accept-encoding"), Some(CODINGS));
        }
    }
    assert_eq!(echo.service.begun(), 0);
}

#[tokio::test]
async fn json_that_is_no_such_coding_or_too_much_costs_no_call() {
    let echo = Echo::start().await;
    let small = Options {
        request_message_bytes_max: 1000,
        ..Options::default()
    };
    let mut small = echo.client_with(small);
    let mut client = echo.client();
    let spaces = vec![b' '; 1_000_000];
    for (coding, bomb) in packing::each(&spaces) {
        let answer = say(&mut client, coding, bomb.clone()).await;
        assert_eq!(
            answer.problem(),
            "400 invalid_compression: the request body: it becomes more than 100 times as long"
        );
        let too_large = "413 body_too_large: the request body is longer than `1000` bytes";
        let answer = say(&mut small, coding, bomb.clone()).await;
        assert_eq!(answer.problem(), too_large, "{coding}");

        let (_, packed) = packing::each(&pattern(0, 500))
            .into_iter()
            .find(|(name, _)| *name == coding)
            .unwrap();
        let malformed = format!("400 invalid_compression: the request body: it is not {coding}");
        let half = packed[..packed.len() / 2].to_vec();
        let longer = [&packed[..], b"{}"].concat();
        for body in [half, longer, b"{}".to_vec()] {
            let answer = say(&mut client, coding, body).await;
            assert_eq!(answer.problem(), malformed);
        }
    }
    assert_eq!(echo.service.begun(), 0);
}

#[tokio::test]
async fn raw_bodies_and_forms() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let numbers: String = (0..60_000).map(|at| format!("{at},")).collect();
    let data = [&pattern(0, 200_000)[..], numbers.as_bytes()].concat();
    let (bytes, sum) = (data.len().to_string(), checksum(&data));
    let file = ("name=file; filename=a", "content-type: a/b\r\n", &*data);
    let form = form(&[file, ("name=title", "", b"t")]);
    let raw = packing::each(&data).map(|packed| (("content-type", "a/b"), "", packed));
    let form = packing::each(&form).map(|packed| (FORM[0], "t", packed));
    for (media_type, title, (coding, body)) in raw.into_iter().chain(form) {
        let headers = [media_type, (CODING, coding)];
        let answer = client
            .send(request("PUT", "/v1/files/n", &headers, body))
            .await;
        let mut seen = answer.json();
        seen["messages"] = json!("many");
        let expected = json!({
            "name": "n", "title": title, "contentType": "a/b",
            "bytes": bytes, "messages": "many", "checksum": sum,
        });
        assert_eq!(seen, expected, "{coding}");
    }
    for (coding, body) in packing::each(&data) {
        let headers = [("content-type", "a/b"), (CODING, coding)];
        let answer = client
            .send(request("POST", "/v1/mirror", &headers, body))
            .await;
        assert_eq!(answer.body, data, "{coding}");
    }
}

#[tokio::test]
async fn streams_of_messages() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let numbers = (0..20_000).map(|at| format!("{{\"number\":{at}}}"));
    let numbers: Vec<_> = numbers.collect();
    let lines = numbers.join("\n");
    let array = format!("[{}]", numbers.join(","));
    for (media_type, body) in [(LINES, lines), (JSON, array)] {
        for (coding, packed) in packing::each(body.as_bytes()) {
            let headers = [media_type, (CODING, coding)];
            let answer = client
                .send(request("POST", "/v1/sum", &headers, packed))
                .await;
            let expected = json!({ "sum": "199990000", "messages": "20000" });
            assert_eq!(answer.json(), expected, "{coding}");
        }
    }
}

#[tokio::test]
async fn a_message_is_sent_as_soon_as_it_can_be_unpacked() {
    let echo = Echo::start().await;
    let mut client = echo.client();
    let headers = [LINES, ("accept", LINES.1), (CODING, "gzip")];
    let (mut body, chat) = streaming("POST", "/v1/rooms/r/chat", &headers);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"{\"text\":\"a\"}\n{\"te").unwrap();
    encoder.flush().unwrap();
    let first = std::mem::take(encoder.get_mut());
    let answer = client.calling.send_request(chat);
    // In the middle of the coding's own header, too.
    let (head, rest) = first.split_at(5);
    for piece in [head, rest] {
        let piece = Bytes::copy_from_slice(piece);
        body.send_data(piece).await.unwrap();
    }
    let mut answers = within("a head", answer).await.unwrap().into_body();
    let first = within("an answer", answers.frame()).await.unwrap().unwrap();
    let first = first.into_data().unwrap();
    assert_eq!(first, "{\"room\":\"r\",\"text\":\"a\",\"seq\":\"1\"}\n");
    encoder.write_all(b"xt\":\"b\"}\n").unwrap();
    let rest = encoder.finish().unwrap();
    body.send_data(rest.into()).await.unwrap();
    drop(body);
    let rest = within("the rest", answers.collect()).await.unwrap();
    let rest = rest.to_bytes();
    assert_eq!(rest, "{\"room\":\"r\",\"text\":\"b\",\"seq\":\"2\"}\n");
    echo.until_idle().await;
}

#[tokio::test]
async fn streams_that_are_no_such_coding_or_too_much_break_off() {
    let echo = Echo::start().await;
    let zeros = vec![b'0'; 32 * 1024 * 1024];
    let lines = "{\"number\":2}\n".repeat(200);
    for (media_type, path) in [(LINES, "/v1/sum"), (("content-type", "a/b"), "/v1/files")] {
        let bombs = packing::each(&zeros);
        for ((coding, bomb), (_, packed)) in bombs.into_iter().zip(packing::each(lines.as_bytes()))
        {
            let half = packed[..packed.len() - 2].to_vec();
            for (body, reason) in [
                (bomb, "becomes more than 100 times as long".to_owned()),
                (half, format!("is not {coding}")),
            ] {
                let headers = [media_type, (CODING, coding)];
                let mut client = echo.client();
                let answer = client.send(request("POST", path, &headers, body)).await;
                let problem = answer.problem();
                let is_long = problem.contains("is longer than `1048576` bytes");
                let is_named = problem.starts_with("400 invalid_compression: ")
                    && problem.ends_with(&format!("the request body: it {reason}"));
                assert!(is_named || (is_long && media_type == LINES), "{problem}");
            }
        }
    }
    echo.until_idle().await;
}
