//! `palisade explain` as operators call it: on a folder, and asking the running edge.

use std::ffi::OsStr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Protocol};
use crate::harness::files::replace;
use crate::harness::waiting::within;
use crate::harness::{Edge, Ended, palisade};
use crate::upstream::Origin;

fn policy(origin: &Origin) -> String {
    format!(
        r#"version: 1
clusters: [{{ name: web, endpoints: ["{}"] }}]
limits: [{{ name: few, key: client_address, rate: 1/h, burst: 3 }}]
routes: [{{ name: echo, matches: [{{ path: /echo }}], limits: [few], cluster: web }}]
"#,
        origin.address
    )
}

async fn explained(edge: &Edge, flags: &[&str]) -> Ended {
    let policies = edge.files.policies();
    let admin = edge.admin.to_string();
    let mut arguments: Vec<&OsStr> = ["explain", "GET", "https://localhost/echo", "--admin"]
        .map(OsStr::new)
        .into();
    arguments.extend([
        OsStr::new(&admin),
        OsStr::new("--policies"),
        policies.as_os_str(),
    ]);
    arguments.extend(flags.iter().map(OsStr::new));
    palisade(&arguments).await
}

async fn json_of(edge: &Edge, flags: &[&str]) -> Value {
    let ended = explained(edge, &[&["--format", "json"], flags].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_limits_are_seen_and_not_used_up() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("policy.yaml", &policy(&origin))]).await;
    let mut client = Client::connect(Protocol::H1, &edge).await;
    for left in [2, 1, 0] {
        for _ in 0..2 {
            let live = json_of(&edge, &["--live"]).await;
            assert_eq!(live["limits"][0]["remaining"], left, "{live}");
            assert_eq!(live["outcome"]["forwarded"]["cluster"], "web", "{live}");
            let address = origin.address.to_string();
            assert_eq!(live["upstream"]["endpoint"], address, "{live}");
        }
        assert_eq!(client.get("/echo").await.status, 200);
    }
    let live = json_of(&edge, &["--live"]).await;
    assert_eq!(
        live["outcome"]["answered"]["code"], "rate_limited",
        "{live}"
    );
    client
        .get("/echo")
        .await
        .assert_problem(429, "rate_limited");
    // Another client, and a folder, have all of it.
    let other = json_of(&edge, &["--live", "--client", "192.0.2.1"]).await;
    assert_eq!(other["limits"][0]["remaining"], 2, "{other}");
    let offline = json_of(&edge, &[]).await;
    assert_eq!(offline["limits"][0]["remaining"], 2, "{offline}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_questions_are_told() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("policy.yaml", &policy(&origin))]).await;
    for (flags, said) in [
        (&["--at", "yesterday"][..], "`yesterday` is not a time"),
        (&["-H", "nonsense"], "a header has no colon"),
        (&["-H", "a b: c"], "`a b` is not a header field"),
        (&["--request-id", "7"], "`7` is not a request id"),
        (&["--live", "--request-id", "7"], "`7` is not a request id"),
        (
            &["--claims", "/nowhere.json"],
            "cannot read `/nowhere.json`",
        ),
    ] {
        let ended = explained(&edge, flags).await;
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.stdout);
        assert!(ended.stderr.contains(said), "{flags:?}: {}", ended.stderr);
    }
    let nobody = [
        "explain",
        "GET",
        "https://localhost/",
        "--live",
        "--admin",
        "127.0.0.1:1",
    ];
    let ended = palisade(&nobody.map(OsStr::new)).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    let said = "no edge answers at `127.0.0.1:1`";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let claims = edge.files.root().join("claims.json");
    replace(&claims, b"[1]");
    let ended = explained(&edge, &["--claims", &claims.display().to_string()]).await;
    assert!(
        ended.stderr.contains("is not a JSON object"),
        "{}",
        ended.stderr
    );
    edge.files
        .write_policy("policy.yaml", "version: 1\nrouts: []\n");
    let ended = explained(&edge, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("[P012]"), "{}", ended.stderr);
}

/// Status of a POST to `/explain` by hand.
async fn post(edge: &Edge, host: &str, content_type: &str, body: &str) -> u16 {
    let exchange = async {
        let mut socket = TcpStream::connect(edge.admin).await?;
        let head = format!(
            "POST /explain HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await?;
        // An answer may come, and the connection end, before all of it was sent.
        let _ = socket.write_all(body.as_bytes()).await;
        let mut text = Vec::new();
        let _ = socket.read_to_end(&mut text).await;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = within("the admin listener", exchange)
        .await
        .expect("an answer");
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {text}"))
}

/// A page in a browser on the same machine can neither send JSON nor choose an address as its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cannot_ask() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("policy.yaml", &policy(&origin))]).await;
    let question = json!({ "method": "GET", "url": "https://localhost/echo" }).to_string();
    let address = edge.admin.to_string();
    for (host, content_type, expected) in [
        (address.as_str(), "application/json", 200),
        ("localhost:9901", "application/json", 200),
        ("[::1]:9901", "application/json", 200),
        ("evil.example", "application/json", 403),
        ("evil.example:9901", "application/json", 403),
        (&address, "text/plain", 415),
        (&address, "application/x-www-form-urlencoded", 415),
    ] {
        assert_eq!(
            post(&edge, host, content_type, &question).await,
            expected,
            "{host} {content_type}"
        );
    }
    let large = json!({ "method": "GET", "url": "a".repeat(300 * 1024) }).to_string();
    assert_eq!(post(&edge, &address, "application/json", &large).await, 413);
    let unknown = json!({ "method": "GET", "url": "https://localhost/", "x": 1 }).to_string();
    assert_eq!(
        post(&edge, &address, "application/json", &unknown).await,
        422
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_logged_nowhere() {
    let origin = Origin::h1().await;
    let edge = Edge::start_with(
        crate::harness::files::Files::with_policies(&[("policy.yaml", &policy(&origin))]),
        &["--log", "trace"],
    )
    .await;
    let secret = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2VjcmV0";
    let live = explained(
        &edge,
        &["--live", "--token", secret, "-H", "cookie: hush-hush"],
    )
    .await;
    assert_eq!(live.code, Some(0), "{}", live.stderr);
    let log = edge.log_lines(|_| true);
    for text in [live.stdout, live.stderr, format!("{log:?}")] {
        assert!(
            !text.contains(secret) && !text.contains("hush-hush"),
            "{text}"
        );
    }
}
