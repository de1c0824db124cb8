//! The history of policies and the way back, from the command line and over the admin listener.

use std::ffi::OsStr;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Protocol};
use crate::harness::files::Files;
use crate::harness::waiting::{until, within};
use crate::harness::{Edge, Ended, palisade};
use crate::upstream::Origin;

fn policy(origin: &Origin, edit: &str) -> String {
    format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
routes:
  - name: echo
    matches: [{{ path: {{ prefix: /echo }} }}]
    response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}
    cluster: origin
",
        origin.address
    )
}

async fn edit_now(edge: &Edge) -> Option<String> {
    let mut client = Client::connect(Protocol::H2, edge).await;
    let answer = client.get("/echo").await;
    answer.header("x-test-edit").map(str::to_owned)
}

async fn becomes(edge: &Edge, expected: &str) {
    until(format!("edit {expected}"), || async {
        edit_now(edge).await.filter(|edit| edit == expected)
    })
    .await;
}

async fn command(edge: &Edge, arguments: &[&str]) -> Ended {
    let admin = edge.admin.to_string();
    let all: Vec<&OsStr> = arguments
        .iter()
        .copied()
        .chain(["--admin", &admin])
        .map(OsStr::new)
        .collect();
    palisade(&all).await
}

async fn status(edge: &Edge) -> Value {
    let (_, text) = edge.admin("/policy").await;
    serde_json::from_str::<Value>(&text).expect("JSON")["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_and_forward_again() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("all.yaml", &policy(&origin, "one"))]).await;
    for edit in ["two", "three"] {
        edge.files.write_policy("all.yaml", &policy(&origin, edit));
        becomes(&edge, edit).await;
    }
    let ended = command(&edge, &["rollback"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = "generation 2 is in force again, as generation 4";
    assert!(ended.stdout.starts_with(told), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("the policies folder still holds other files"),
        "{ended:?}"
    );
    assert_eq!(edit_now(&edge).await.as_deref(), Some("two"));
    let now = status(&edge).await;
    assert_eq!(now["origin"], json!({ "rollback": { "to": 2 } }));
    assert_ne!(now["hash"], now["disk_hash"]);

    let ended = command(&edge, &["rollback", "1", "--format", "json"]).await;
    let page: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(page["status"]["generation"], 5);
    assert_eq!(edit_now(&edge).await.as_deref(), Some("one"));

    let ended = command(&edge, &["history"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", ended.stdout);
    assert!(
        lines[1].contains("rollback to 1") && lines[1].contains("in force"),
        "{}",
        lines[1]
    );
    assert!(
        lines[3].contains("reload") && lines[3].contains("1: 0 new, 1 changed, 0 gone"),
        "{}",
        lines[3]
    );
    assert!(lines[5].contains("start"), "{}", lines[5]);
    let ended = command(&edge, &["history", "--format", "json"]).await;
    let page: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(page["history"].as_array().map(Vec::len), Some(5));
    assert!(!ended.stdout.contains("x-test-edit"), "no texts");

    for (arguments, complaint) in [
        (
            &["rollback", "99"][..],
            "generation 99 is not in the history",
        ),
        (&["rollback", "1"], "in force already"),
    ] {
        let ended = command(&edge, arguments).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(complaint), "{ended:?}");
    }
    // The next edit is in force as ever.
    edge.files
        .write_policy("all.yaml", &policy(&origin, "four"));
    becomes(&edge, "four").await;
    assert_eq!(status(&edge).await["origin"], "reload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_edge_no_answer() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = socket.local_addr().expect("an address").to_string();
    drop(socket);
    let ended = palisade(&["history", "--admin", &admin].map(OsStr::new)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("no edge answers"), "{ended:?}");
}

/// What is sent to the admin listener, and the status of the answer.
async fn post(admin: SocketAddr, fields: &str, body: &str) -> u16 {
    let exchange = async {
        let mut socket = TcpStream::connect(admin).await?;
        let request = format!(
            "POST /policy/rollback HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n{fields}\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = within("the admin listener", exchange)
        .await
        .expect("an answer");
    let status = text.split(' ').nth(1).expect("a status");
    status.parse().expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cannot_roll_back() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("all.yaml", &policy(&origin, "one"))]).await;
    edge.files.write_policy("all.yaml", &policy(&origin, "two"));
    becomes(&edge, "two").await;
    let json = "content-type: application/json\r\n";
    let local = "host: 127.0.0.1:9901\r\n";
    for (fields, body, status) in [
        (format!("{local}content-type: text/plain\r\n"), "{}", 415),
        (local.to_owned(), "{}", 415),
        (
            format!("{local}{json}origin: http://evil.example\r\n"),
            "{}",
            403,
        ),
        (
            format!("{local}{json}sec-fetch-site: cross-site\r\n"),
            "{}",
            403,
        ),
        (format!("{json}host: evil.example\r\n"), "{}", 403),
        (format!("{local}{json}"), "{", 400),
        (format!("{local}{json}"), "{\"generaton\": 1}", 422),
        (format!("{local}{json}"), "{\"generation\": 7}", 404),
    ] {
        assert_eq!(
            post(edge.admin, &fields, body).await,
            status,
            "{fields}{body}"
        );
    }
    assert_eq!(edit_now(&edge).await.as_deref(), Some("two"));
    assert_eq!(post(edge.admin, &format!("{local}{json}"), "{}").await, 200);
    assert_eq!(edit_now(&edge).await.as_deref(), Some("one"));
}

/// What was last good is known to the next process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_what_was_good() {
    let origin = Origin::h1().await;
    let edge = Edge::start(&[("all.yaml", &policy(&origin, "one"))]).await;
    edge.files.write_policy("all.yaml", &policy(&origin, "two"));
    becomes(&edge, "two").await;
    let files = edge.stop().await;
    files.write_policy("all.yaml", "version: 1\nrouts: []\n");
    let edge = Edge::start_with(files, &[]).await;
    assert_eq!(edit_now(&edge).await.as_deref(), Some("two"));
    assert_eq!(edge.metric("palisade_policy_files_held").await, Some(1.0));
    let now = status(&edge).await;
    assert_eq!(now["held"][0]["file"], "all.yaml");
    assert!(
        now["last_error"]["text"]
            .as_str()
            .is_some_and(|text| text.contains("routs"))
    );
    let ended = command(&edge, &["rollback"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(edit_now(&edge).await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_answers_503_for_its_own_matches() {
    let origin = Origin::h1().await;
    let text = policy(&origin, "one")
        + "  - { name: bad, hosts: [localhost], matches: [{ path: { prefix: /echo/bad } }], request_timeout: soon, cluster: origin }\n";
    let edge = Edge::start(&[("all.yaml", &text)]).await;
    assert_eq!(edge.metric("palisade_policy_tombstones").await, Some(1.0));
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        assert_eq!(client.get("/echo/bad").await.status, 503, "{protocol:?}");
        let mut client = Client::connect(protocol, &edge).await;
        let sent = client
            .send(http::Method::POST, "/echo/bad", &[], "body")
            .await;
        assert_eq!(sent.expect("an answer").status, 503, "{protocol:?}");
    }
    edge.files
        .write_policy("all.yaml", &text.replace("soon", "5s"));
    until("the route", || async {
        let mut client = Client::connect(Protocol::H2, &edge).await;
        (client.get("/echo/bad").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(edge.metric("palisade_policy_tombstones").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_refuses_what_is_at_fault() {
    let origin = Origin::h1().await;
    let files = Files::with_policies(&[("all.yaml", &policy(&origin, "one"))]);
    let edge = Edge::start_with(files, &["--strict"]).await;
    edge.files.write_policy(
        "bad.yaml",
        "version: 1\nroutes: [{ name: bad, matches: [{ path: /bad }], cluster: nowhere }]\n",
    );
    until("the refusal", || async {
        (!status(&edge).await["last_error"].is_null()).then_some(())
    })
    .await;
    let now = status(&edge).await;
    assert_eq!(
        (&now["generation"], &now["tombstones"]),
        (&json!(1), &json!([]))
    );
}
