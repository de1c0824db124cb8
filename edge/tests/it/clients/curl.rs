//! curl: REST, Connect by hand, and what goes wrong.

use std::io::Write;

use serde_json::{Value, json};
use tokio::process::Command;

use super::tools::finished;
use super::world;
use crate::calls::{SERVICE, World};
use crate::harness::files::certificate_file;

/// Status and body of what curl got.
async fn curl(world: &World, path: &str, arguments: &[&str]) -> (u16, String) {
    let url = format!("https://localhost:{}{path}", world.edge.https.port());
    let running = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(["--write-out", "\n%{http_code}"])
        .arg("--cacert")
        .arg(certificate_file("ca.pem"))
        .args(arguments)
        .arg(url)
        .kill_on_drop(true)
        .output();
    let output = finished("curl", running).await;
    let text = String::from_utf8(output).expect("text");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_served() {
    let world = world().await;
    for version in ["--http1.1", "--http2"] {
        let (status, body) = curl(&world, "/v1/echo/hallo?number=7", &[version]).await;
        assert_eq!(status, 200, "{version}: {body}");
        assert_eq!(parsed(&body)["said"]["number"], "7", "{version}");

        let json = ["-H", "content-type: application/json"];
        let post = ["--json", "{\"text\": \"grüße\"}"];
        let (status, body) = curl(&world, "/v1/echo", &[&[version][..], &post].concat()).await;
        assert_eq!(status, 200, "{version}: {body}");
        assert_eq!(parsed(&body)["said"]["text"], "grüße", "{version}");

        let failure = json!({ "code": 3, "message": "no", "reason": "EMPTY", "domain": "test" });
        let failure = failure.to_string();
        let fail = [&[version, "--data", &failure][..], &json].concat();
        let (status, body) = curl(&world, "/v1/fail", &fail).await;
        assert_eq!(status, 400, "{version}: {body}");
        assert_eq!(parsed(&body)["reason"], "EMPTY", "{version}: {body}");

        let connect = [&fail[..], &["-H", "connect-protocol-version: 1"]].concat();
        let (status, body) = curl(&world, &format!("{SERVICE}/Fail"), &connect).await;
        assert_eq!(status, 400, "{version}: {body}");
        assert_eq!(parsed(&body)["code"], "invalid_argument", "{version}");

        let look = "/Look?connect=v1&encoding=json&message=%7B%22text%22%3A%22things%2F1%22%7D";
        let (status, body) = curl(&world, &format!("{SERVICE}{look}"), &[version]).await;
        assert_eq!(status, 200, "{version}: {body}");
        assert_eq!(parsed(&body)["said"]["text"], "things/1", "{version}");

        let hasty = [version, "-H", "grpc-timeout: 200m"];
        let (status, body) = curl(&world, "/v1/hang", &hasty).await;
        assert_eq!(status, 504, "{version}: {body}");
        assert_eq!(parsed(&body)["code"], "deadline_exceeded", "{version}");
    }
    world.upstream.idle().await;
}

/// The body as a file, and how it is compressed.
fn packed(body: &[u8]) -> [(&'static str, tempfile::NamedTempFile); 3] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body).expect("memory");
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    brotli.write_all(body).expect("memory");
    let zstd = zstd::encode_all(body, 3).expect("memory");
    let gzip = gzip.finish().expect("memory");
    [("gzip", gzip), ("br", brotli.into_inner()), ("zstd", zstd)].map(|(coding, bytes)| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("written");
        (coding, file)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sends_compressed_bodies() {
    let world = world().await;
    let body = json!({ "text": "a".repeat(2_000) }).to_string();
    let bomb = vec![b' '; 1_000_000];
    for version in ["--http1.1", "--http2"] {
        let rows = packed(body.as_bytes()).into_iter().zip(packed(&bomb));
        for ((coding, file), (_, bomb)) in rows {
            let header = format!("content-encoding: {coding}");
            let post = async |file: &tempfile::NamedTempFile, header: &str| {
                let data = format!("@{}", file.path().display());
                let json = "content-type: application/json";
                let arguments = [version, "--data-binary", &data, "-H", json, "-H", header];
                curl(&world, "/v1/echo", &arguments).await
            };
            let (status, answer) = post(&file, &header).await;
            assert_eq!(status, 200, "{version} {coding}: {answer}");
            let text = parsed(&answer)["said"]["text"].as_str().map(str::len);
            assert_eq!(text, Some(2_000), "{version} {coding}");

            let (status, answer) = post(&bomb, &header).await;
            assert_eq!(status, 400, "{version} {coding}: {answer}");
            assert_eq!(parsed(&answer)["code"], "invalid_compression");

            let (status, answer) = post(&file, "content-encoding: deflate").await;
            assert_eq!(status, 415, "{version} {coding}: {answer}");
            let code = &parsed(&answer)["code"];
            assert_eq!(code, "unsupported_content_encoding");
        }
    }
    world.upstream.idle().await;
}
