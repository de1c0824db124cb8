//! `palisade diff`: two folders in the operator's words, and recorded requests decided by both.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Protocol};
use crate::harness::files::Files;
use crate::harness::tokens::{Signer, issuer_from_file};
use crate::harness::{Edge, Ended, palisade};
use crate::upstream::Origin;

const OLD: &str = r#"version: 1
clusters: [{ name: core, endpoints: ["127.0.0.1:1"] }, { name: web, endpoints: ["127.0.0.1:2"] }]
issuers: [{ name: id, issuer: id, audiences: [a], algorithms: [EdDSA], jwks: { url: "https://id.example/" } }]
limits: [{ name: l, key: client_address, rate: 10/m }]
routes:
  - { name: orders, matches: [{ path: { prefix: /orders } }], auth: { issuer: id }, cluster: core }
  - { name: shop, matches: [{ path: { prefix: /shop } }], limits: [l], cluster: web }
  - { name: old, matches: [{ path: /old }], cluster: web }
  - { name: beta, matches: [{ path: { prefix: /shop }, headers: { x-beta: b } }], cluster: core }
  - { name: same, matches: [{ path: /same }], cluster: core }
"#;

fn new() -> String {
    OLD.replace(
        "auth: { issuer: id }",
        "auth: { issuer: id, scopes: [orders:write] }",
    )
    .replace("10/m", "5/m")
    .replace("path: /old", "path: /new")
}

/// Two folders and a log beside them.
struct Case {
    files: Files,
}

impl Case {
    fn new(old: &str, new: &str) -> Self {
        let case = Self {
            files: Files::new(),
        };
        for (folder, text) in [("old", old), ("new", new)] {
            fs::create_dir(case.path(folder)).expect("a folder");
            fs::write(case.path(folder).join("policy.yaml"), text).expect("a file");
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.root().join(name)
    }

    async fn diff(&self, flags: &[&OsStr]) -> Ended {
        let (old, new) = (self.path("old"), self.path("new"));
        let folders = [OsStr::new("diff"), old.as_os_str(), new.as_os_str()];
        palisade(&[&folders, flags].concat()).await
    }

    async fn replay(&self, log: &[u8]) -> (Option<i32>, Value) {
        let path = self.path("access.log");
        fs::write(&path, log).expect("a file");
        let ended = self.diff(&replay_flags(&path)).await;
        let answer: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (ended.code, answer["replay"].clone())
    }
}

fn replay_flags(log: &Path) -> [&OsStr; 4] {
    ["--format", "json", "--replay"]
        .map(OsStr::new)
        .into_iter()
        .chain([log.as_os_str()])
        .collect::<Vec<_>>()
        .try_into()
        .expect("four")
}

/// A line as the edge writes it; without a route the reason is that there is none.
fn line(method: &str, path: &str, route: Option<&str>) -> String {
    let reason = route.is_none().then_some("route_not_found");
    let line = json!({
        "ts": 1_790_000_000.5, "message": "request", "request_id": "0123456789abcdef0123456789abcdef",
        "client": "192.0.2.1", "protocol": "2", "scheme": "https", "tls_version": "1.3",
        "method": method, "host": "shop.example", "path": path, "route": route, "status": 200,
        "reason": reason,
    });
    format!("{line}\n")
}

fn group<'r>(report: &'r Value, path: &str) -> &'r Value {
    let groups = report["groups"].as_array().expect("groups");
    let found = groups.iter().find(|group| group["example"]["path"] == path);
    found.unwrap_or_else(|| panic!("no group of {path}: {report:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_are_told_and_are_exit_code_1() {
    let same = Case::new(OLD, &format!("# Moved.\n{OLD}"));
    let ended = same.diff(&[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "no difference\n"));

    let case = Case::new(OLD, &new());
    let ended = case.diff(&[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "~ route old (policy.yaml:8)
    matches: /old -> /new
~ route orders (policy.yaml:6)
    + auth.scopes: orders:write
~ limit l (policy.yaml:4)
    rate: 10/m -> 5/m
    burst: 10 -> 5
3 differences: 3 changed
"
    );
    let ended = case.diff(&["--format", "json"].map(OsStr::new)).await;
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        answer["changes"][1],
        json!({
            "what": "changed", "kind": "route", "name": "orders", "origin": "policy.yaml:6",
            "settings": [{ "key": "auth.scopes", "old": null, "new": "orders:write" }],
        })
    );
    let colored = case.diff(&["--color", "always"].map(OsStr::new)).await;
    assert!(
        colored.stdout.contains("\u{1b}[33m~ route old"),
        "{colored:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_is_exit_code_2() {
    let broken = Case::new(OLD, &OLD.replace("cluster: web }", "cluster: wbe }"));
    let ended = broken.diff(&[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
    assert!(ended.stderr.contains("did you mean \"web\"?"), "{ended:?}");

    let case = Case::new(OLD, OLD);
    let missing = case.path("missing.log");
    let ended = case.diff(&replay_flags(&missing)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("missing.log"), "{ended:?}");

    let log = case.path("other.log");
    fs::write(&log, "{\"message\":\"listening\"}\nno JSON\n").expect("a file");
    let ended = case.diff(&replay_flags(&log)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("no line of"), "{ended:?}");

    // Cut off in the middle of a member.
    let packed = packed(line("GET", "/same", Some("same")).repeat(1_000).as_bytes());
    fs::write(&log, &packed[..packed.len() / 2]).expect("a file");
    let ended = case.diff(&replay_flags(&log)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("cannot read"), "{ended:?}");
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A thousand orders that are placed, a thousand reads that nothing happens to, and a few of each
/// other kind.
fn recorded() -> String {
    let mut log = String::new();
    for number in 0..3_000 {
        // Reads of others, in a number that no other group has.
        let _ = match number % 3 {
            0 => write!(
                log,
                "{}",
                line("POST", &format!("/orders/{number}"), Some("orders"))
            ),
            1 => write!(log, "{}", line("GET", "/same", Some("same"))),
            _ => Ok(()),
        };
    }
    for _ in 0..7 {
        log += &line("GET", "/shop/a", Some("shop"));
    }
    for _ in 0..5 {
        log += &line("GET", "/old", Some("old"));
    }
    log += &line("GET", "/new", None);
    // The header that led there is not in the log.
    log += &line("GET", "/shop/b", Some("beta"));
    log += "{\"message\":\"policy in force\",\"level\":\"INFO\"}\n\n{\"mess\n";
    log += &format!(
        "{{\"message\":\"request\",\"path\":\"/{}\"}}\n",
        "x".repeat(70_000)
    );
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_grouped_by_what_is_otherwise() {
    let log = recorded();
    let case = Case::new(OLD, &new());
    let (code, report) = case.replay(log.as_bytes()).await;
    assert_eq!(code, Some(1));
    assert_eq!(report["judged"], 2_013);
    assert_eq!(report["otherwise"], 1_013);
    assert_eq!(
        (&report["unlike"], &report["others"], &report["unusable"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let sizes: Vec<_> = report["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| group["requests"].clone())
        .collect();
    assert_eq!(sizes, [1_000, 7, 5, 1], "the largest first");

    let orders = group(&report, "/orders/0");
    assert_eq!(orders["old"], json!({ "route": "orders" }));
    assert_eq!(
        orders["changes"][0]["settings"],
        json!([{ "key": "auth.scopes", "old": null, "new": "orders:write" }])
    );
    assert_eq!(
        orders["example"],
        json!({ "line": 1, "method": "POST", "host": "shop.example", "path": "/orders/0" })
    );
    // Of a limit that the route uses.
    let shop = group(&report, "/shop/a");
    assert_eq!(shop["changes"][0]["kind"], "limit");
    assert_eq!(shop["changes"][0]["settings"][0]["new"], "5/m");
    let gone = group(&report, "/old");
    assert_eq!(
        gone["new"],
        json!({ "answer": { "status": 404, "code": "route_not_found" } })
    );
    assert_eq!(group(&report, "/new")["new"], json!({ "route": "old" }));
    let unlike = &report["unlike_groups"][0];
    assert_eq!(
        (&unlike["logged"]["route"], &unlike["old"]),
        (&json!("beta"), &json!({ "route": "shop" }))
    );
    assert_eq!(
        report["complaints"],
        json!([
            { "line": 2_017, "reason": "not JSON, or cut off" },
            { "line": 2_018, "reason": "longer than 64 KiB" },
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_logs_say_the_same() {
    let case = Case::new(OLD, &new());
    let first = line("POST", "/orders/1", Some("orders")).repeat(5_000);
    let second = line("GET", "/old", Some("old")).repeat(3_000);
    let (_, plain) = case.replay(format!("{first}{second}").as_bytes()).await;
    assert_eq!(plain["otherwise"], 8_000);
    let one = packed(format!("{first}{second}").as_bytes());
    let two = [packed(first.as_bytes()), packed(second.as_bytes())].concat();
    for log in [one, two] {
        assert_eq!(case.replay(&log).await, (Some(1), plain.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_touch_no_recorded_request_are_exit_code_0() {
    let case = Case::new(OLD, &new());
    let log = line("GET", "/same", Some("same"));
    let (code, report) = case.replay(log.as_bytes()).await;
    assert_eq!((code, &report["otherwise"]), (Some(0), &json!(0)));
    let log = case.path("access.log");
    let flags = [OsStr::new("--replay"), log.as_os_str()];
    let ended = case.diff(&flags).await;
    assert!(
        ended
            .stdout
            .ends_with("\n0 of 1 requests would be decided otherwise\n"),
        "{ended:?}"
    );
}

/// What a host asks of handshakes is known of both policies, and taken to be shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_asks_for_certificates_changes_its_requests() {
    let host = "hosts: [{ name: shop, hosts: [shop.example], tls: { client_certificates: { mode: required, ca: ../certs/ca.pem } } }]\n";
    let optional = host.replace("required", "optional");
    let case = Case::new(&format!("{OLD}{optional}"), &format!("{OLD}{host}"));
    let (code, report) = case
        .replay(line("GET", "/same", Some("same")).as_bytes())
        .await;
    assert_eq!(
        (code, &report["otherwise"]),
        (Some(1), &json!(1)),
        "{report:#}"
    );
    let change = &report["groups"][0]["changes"][0];
    assert_eq!(change["kind"], "host");
    assert_eq!(
        change["settings"][0],
        json!({ "key": "tls.client_certificates", "old": "optional", "new": "required" })
    );
}

/// The log that the edge writes is one that the replay understands whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_the_edge_agrees_with_its_own_policy() {
    let origin = Origin::h1().await;
    let signer = Signer::new("one");
    let files = Files::new();
    let keys = files.root().join("keys.json");
    fs::write(&keys, signer.jwks()).expect("a file");
    let policy = format!(
        "version: 1
clusters: [{{ name: origin, endpoints: [\"{}\"] }}]
{}limits: [{{ name: one, key: client_address, rate: 1/h }}]
routes:
  - {{ name: open, matches: [{{ path: {{ prefix: /echo }} }}], cluster: origin }}
  - {{ name: plain, matches: [{{ path: /echo/plain }}], plain_http: true, cluster: origin }}
  - {{ name: private, matches: [{{ path: {{ template: \"/echo/private/{{id}}\" }}, methods: [GET] }}], auth: {{ issuer: main, scopes: [a] }}, cluster: origin }}
  - {{ name: scarce, matches: [{{ path: /echo/scarce }}], limits: [one], cluster: origin }}
  - {{ name: small, matches: [{{ path: /echo/small, methods: [POST] }}], request_body_max: 1B, cluster: origin }}
",
        origin.address,
        issuer_from_file(&keys)
    );
    files.write_policy("policy.yaml", &policy);
    let edge = Edge::start_with(files, &[]).await;
    let bearer = signer.bearer(json!({ "scope": "a" }));
    let mut sent = 0;
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        for (method, path) in [
            (Method::GET, "/echo/a?q=secret"),
            (Method::GET, "/nowhere"),
            (Method::GET, "/echo/private/1"),
            (Method::GET, "/echo/scarce"),
            (Method::GET, "/echo/%7Euser"),
            (Method::GET, "/a/%2e%2e/b"),
            (Method::POST, "/echo/small"),
        ] {
            let fields = [("authorization", &*bearer)];
            let body = if method == Method::POST { "body" } else { "" };
            // Some refusals end the connection.
            let mut client = Client::connect(protocol, &edge).await;
            let answer = client.send(method, path, &fields, body).await;
            answer.unwrap_or_else(|error| panic!("{protocol:?} {path}: {error:?}"));
            sent += 1;
        }
    }
    let mut plain = Client::plain(&edge).await;
    for path in ["/echo/plain", "/echo/a"] {
        plain.get_with(path, &[]).await;
        sent += 1;
    }
    let last = edge.log_line("the last request", |line| {
        line["path"] == "/echo/a" && line["scheme"] == "http"
    });
    assert_eq!(last.await["status"], 308);
    let lines = edge.log_lines(|line| line["message"] == "request");
    assert_eq!(lines.len(), sent);
    let log: String = lines.iter().map(|line| format!("{line}\n")).collect();

    let case = Case::new(
        &policy,
        &policy.replace("prefix: /echo }", "prefix: /other }"),
    );
    let (code, report) = case.replay(log.as_bytes()).await;
    assert_eq!(
        (&report["unlike"], &report["unusable"]),
        (&json!(0), &json!(0)),
        "{report:#}"
    );
    assert_eq!(
        (code, &report["judged"]),
        (Some(1), &json!(sent)),
        "{report:#}"
    );
    // `/echo/a` and `/echo/~user` by three protocols.
    assert_eq!(report["otherwise"], 6, "{report:#}");
}
