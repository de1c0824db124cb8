//! A thousand reloads under load: not one failed request, not one cut stream.
//!
//! Every kind of change that editors, deployments and accidents make, one after the other, each
//! awaited until the edge says what became of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use prost::Message as _;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Download, Protocol, Upload};
use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::until;
use crate::upgrade::load::{Load, Style};
use crate::upstream::Origin;
use crate::upstream::grpc::{CHAT, Greeter, HelloRequest};
use crate::websocket::client as websocket;
use crate::websocket::origin::Origin as WebSocketOrigin;

const RELOADS: u64 = 1_000;
const WEBSOCKETS: usize = 100;
/// On four connections.
const CALLS: usize = 100;
/// Streams are spoken on after so many rounds of changes.
const ROUNDS_BETWEEN: usize = 40;
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const LOAD: [(Protocol, Style, usize); 4] = [
    (Protocol::H1, Style::KeepAlive, 1),
    (Protocol::H2, Style::KeepAlive, 1),
    (Protocol::H3, Style::KeepAlive, 1),
    (Protocol::H2, Style::Fresh, 1),
];
/// What a broken edit looks like: half a file, a slip, a name that nothing has, a value.
const BROKEN: [&str; 4] = [
    "version: 1\nroutes:\n  - { name: edited, matches: [{ path: /ed",
    "version: 1\nrouts: []\n",
    "version: 1\nroutes: [{ name: edited, matches: [{ path: /edited }], cluster: nowhere }]\n",
    "version: 1\nroutes: [{ name: edited, matches: [{ path: /edited }], request_timeout: soon, cluster: origin }]\n",
];

/// The routes of all that is under way; never edited. A reload that touched them would cut.
fn base(origin: &Origin, sockets: &WebSocketOrigin, greeter: &Greeter) -> String {
    format!(
        "version: 1
clusters:
  - {{ name: origin, endpoints: [\"{}\"] }}
  - {{ name: sockets, endpoints: [\"{}\"] }}
  - {{ name: greeter, endpoints: [\"{}\"], protocol: grpc, timeouts: {{ read: 1h }} }}
routes:
  - {{ name: sockets, matches: [{{ path: {{ prefix: /open }} }}], on_reload: cut, websocket: {{ idle_timeout: 1h }}, cluster: sockets }}
  - {{ name: calls, matches: [{{ path: {{ prefix: /test.v1.Greeter }} }}], on_reload: cut, cluster: greeter }}
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], on_reload: cut, cluster: origin }}
",
        origin.address, sockets.address, greeter.address
    )
}

fn route(name: &str, edit: usize) -> String {
    format!(
        "version: 1\nroutes: [{{ name: {name}, matches: [{{ path: /{name} }}], response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}, cluster: origin }}]\n"
    )
}

fn message() -> Bytes {
    let request = HelloRequest {
        name: "ada".to_owned(),
        language: String::new(),
    };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(request.encoded_len()).expect("short"));
    request.encode(&mut frame).expect("room");
    frame.freeze()
}

struct Streams {
    sockets: Vec<websocket::Client>,
    calls: Vec<(Upload, Download)>,
    _clients: Vec<Client>,
}

impl Streams {
    async fn open(edge: &Edge) -> Self {
        let mut sockets = Vec::new();
        for number in 0..WEBSOCKETS {
            let protocol = Protocol::ALL[number % Protocol::ALL.len()];
            let opened = websocket::Client::connect(protocol, edge.https, "/open/echo", &[]);
            sockets.push(opened.await.expect("a websocket"));
        }
        let (mut clients, mut calls) = (Vec::new(), Vec::new());
        for protocol in [Protocol::H2, Protocol::H3, Protocol::H2, Protocol::H3] {
            let mut client = Client::connect(protocol, edge).await;
            for _ in 0..CALLS / 4 {
                let opened = client.open(Method::POST, CHAT, &GRPC, true).await;
                let (mut upload, pending) = opened.expect("a stream");
                upload.send(message()).await.expect("the edge reads");
                let (head, mut download) = pending.head().await.expect("an answer");
                assert_eq!(head.status, 200, "{protocol:?}");
                assert!(download.chunk().await.expect("a reply").is_some());
                calls.push((upload, download));
            }
            clients.push(client);
        }
        Self {
            sockets,
            calls,
            _clients: clients,
        }
    }

    /// Each of them still works.
    async fn go_on(&mut self) {
        for socket in &mut self.sockets {
            socket.echo(Message::text("still here")).await;
        }
        for (upload, download) in &mut self.calls {
            upload.send(message()).await.expect("the edge reads");
            assert!(download.chunk().await.expect("a reply").is_some());
        }
    }
}

/// The record of reloads, as far as changes are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    generation: u64,
    failed: u64,
    is_clean: bool,
}

async fn record(edge: &Edge) -> Record {
    let (_, text) = edge.admin("/policy").await;
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let number = |key: &str| page["status"][key].as_u64().expect("a number");
    Record {
        generation: number("generation"),
        failed: number("reloads_failed"),
        is_clean: page["status"]["last_error"].is_null(),
    }
}

struct Operator<'e> {
    edge: &'e Edge,
    now: Record,
    reloads: u64,
}

impl Operator<'_> {
    async fn becomes(&mut self, what: &str, holds: impl Fn(Record, Record) -> bool) {
        let before = self.now;
        self.now = until(
            format!("{what}, after {} reloads: {before:?}", self.reloads),
            || async {
                let now = record(self.edge).await;
                holds(before, now).then_some(now)
            },
        )
        .await;
        self.reloads += 1;
    }

    async fn is_in_force(&mut self, what: &str) {
        let next = |before: Record, now: Record| now.generation > before.generation && now.is_clean;
        self.becomes(what, next).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.edge.files.policies().join(name)
    }

    async fn unrelated_edit(&mut self, round: usize) {
        self.edge
            .files
            .write_policy("edited.yaml", &route("edited", round));
        self.is_in_force("an unrelated edit").await;
    }

    async fn broken_edit(&mut self, round: usize) {
        let text = BROKEN[round % BROKEN.len()];
        // In place, as a careless editor does.
        fs::write(self.path("edited.yaml"), text).expect("a file");
        let refused = |before: Record, now: Record| {
            now.failed > before.failed && now.generation == before.generation && !now.is_clean
        };
        self.becomes("a broken edit", refused).await;
        self.edge
            .files
            .write_policy("edited.yaml", &route("edited", round));
        let restored =
            |before: Record, now: Record| now.is_clean && now.generation == before.generation;
        self.becomes("a broken edit taken back", restored).await;
    }

    async fn file_removed_and_put_back(&mut self) {
        let aside = self.edge.files.root().join("aside.yaml");
        fs::rename(self.path("moved.yaml"), &aside).expect("a file");
        self.is_in_force("a file removed").await;
        fs::rename(&aside, self.path("moved.yaml")).expect("a file");
        self.is_in_force("a file put back").await;
    }

    async fn swapped_links(&mut self, round: usize) {
        swap(&self.edge.files, round);
        self.is_in_force("a symlink swap").await;
        if round > 0 {
            let old = self.path(&format!("..version-{}", round - 1));
            fs::remove_dir_all(old).expect("a folder");
        }
    }
}

/// As Kubernetes mounts a ConfigMap.
fn swap(files: &Files, round: usize) {
    let folder = files.policies();
    let dir = folder.join(format!("..version-{round}"));
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("mounted.yaml"), route("mounted", round)).expect("a file");
    let fresh = folder.join("..data_tmp");
    symlink(dir.file_name().expect("a name"), &fresh).expect("a link");
    fs::rename(fresh, folder.join("..data")).expect("a link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_lose_nothing() {
    let (origin, sockets) = (Origin::h1().await, WebSocketOrigin::start().await);
    let greeter = Greeter::start().await;
    let files = Files::with_policies(&[
        ("all.yaml", &base(&origin, &sockets, &greeter)),
        ("edited.yaml", &route("edited", 0)),
        ("moved.yaml", &route("moved", 0)),
    ]);
    swap(&files, 0);
    symlink("..data/mounted.yaml", files.policies().join("mounted.yaml")).expect("a link");
    let edge = Edge::start_with(files, &[]).await;
    let mut streams = Streams::open(&edge).await;
    let load = Load::of(&LOAD, edge.https);
    load.answers(20).await;
    let mut operator = Operator {
        edge: &edge,
        now: record(&edge).await,
        reloads: 0,
    };
    let mut round = 0;
    while operator.reloads < RELOADS {
        round += 1;
        operator.unrelated_edit(round).await;
        operator.broken_edit(round).await;
        operator.file_removed_and_put_back().await;
        operator.swapped_links(round).await;
        if round % ROUNDS_BETWEEN == 0 {
            streams.go_on().await;
            load.answers(1).await;
        }
    }
    streams.go_on().await;
    let (answered, _) = load.finish().await;
    assert!(answered > 100, "there was hardly any load: {answered}");
    let recalled = "palisade_streams_recalled_total";
    let (_, metrics) = edge.admin("/metrics").await;
    assert!(
        !metrics.contains(&format!("{recalled}{{")),
        "a stream was recalled"
    );
}
