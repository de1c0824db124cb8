//! What becomes of requests under way when their own route, or what let them in, goes away.

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use prost::Message;

use crate::client::{Client, Download, Protocol, Upload};
use crate::harness::Edge;
use crate::harness::waiting::until;
use crate::upstream::Origin;
use crate::upstream::grpc::{CHAT, Greeter, HelloRequest};
use crate::upstream::tunnel::{EchoTunnel, Tunnel};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

struct World {
    edge: Edge,
    origin: Origin,
    echo: EchoTunnel,
    greeter: Greeter,
}

/// The routes in question, each with its own `on_reload`; `edit` is in every part of the text that
/// does not concern who may have a stream.
fn policy(world: (&Origin, &EchoTunnel, &Greeter), edit: &str, on_reload: &str) -> String {
    let (origin, echo, greeter) = world;
    format!(
        "version: 1
clusters:
  - {{ name: origin, endpoints: [\"{}\"] }}
  - {{ name: echo, endpoints: [\"{}\"] }}
  - {{ name: greeter, endpoints: [\"{}\"], protocol: grpc }}
routes:
  - {{ name: edit, matches: [{{ path: /echo }}], response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}, cluster: origin }}
  - {{ name: tunnel, matches: [{{ path: /tunnel }}], on_reload: {on_reload}, response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}, websocket: {{}}, cluster: echo }}
  - {{ name: download, matches: [{{ path: {{ prefix: /gated }} }}], on_reload: {on_reload}, response_headers: {{ set: {{ x-test-edit: \"{edit}\" }} }}, cluster: origin }}
  - {{ name: chat, matches: [{{ path: {{ prefix: /test.v1.Greeter }} }}], on_reload: {on_reload}, cluster: greeter }}
",
        origin.address, echo.address, greeter.address
    )
}

impl World {
    async fn start(on_reload: &str, flags: &[&str]) -> Self {
        let (origin, echo) = (Origin::h1().await, EchoTunnel::start().await);
        let greeter = Greeter::start().await;
        let text = policy((&origin, &echo, &greeter), "0", on_reload);
        let files = crate::harness::files::Files::with_policies(&[("all.yaml", &text)]);
        Self {
            edge: Edge::start_with(files, flags).await,
            origin,
            echo,
            greeter,
        }
    }

    fn policy(&self, edit: &str, on_reload: &str) -> String {
        policy((&self.origin, &self.echo, &self.greeter), edit, on_reload)
    }

    /// Wait until the text is in force; its edit is shown by answers.
    async fn put(&self, edit: &str, text: &str) {
        self.edge.files.write_policy("all.yaml", text);
        until(format!("edit {edit}"), || async {
            let mut client = Client::connect(Protocol::H2, &self.edge).await;
            let response = client.get("/echo").await;
            (response.header("x-test-edit") == Some(edit)).then_some(())
        })
        .await;
    }

    async fn streams(&self) -> Streams {
        let mut downloads = Vec::new();
        for protocol in Protocol::ALL {
            let mut client = Client::connect(protocol, &self.edge).await;
            let opened = client.open(Method::GET, "/gated/100000", &[], false).await;
            let (_, pending) = opened.expect("a stream");
            let (head, download) = pending.head().await.expect("an answer");
            assert_eq!(head.status, 200, "{protocol:?}");
            downloads.push((protocol, client, download));
        }
        let mut chats = Vec::new();
        for protocol in [Protocol::H2, Protocol::H3] {
            let mut client = Client::connect(protocol, &self.edge).await;
            let opened = client.open(Method::POST, CHAT, &GRPC, true).await;
            let (mut upload, pending) = opened.expect("a stream");
            upload.send(message()).await.expect("the edge reads");
            let (head, mut download) = pending.head().await.expect("an answer");
            assert_eq!(head.status, 200, "{protocol:?}");
            assert!(download.chunk().await.expect("a reply").is_some());
            chats.push((client, upload, download));
        }
        Streams {
            tunnel: Tunnel::open(self.edge.https, "/tunnel").await,
            downloads,
            chats,
        }
    }

    /// All that is recalled by now.
    async fn recalled(&self, on_reload: &str) -> f64 {
        let mut total = 0.0;
        for route in ["tunnel", "download", "chat"] {
            let series = format!(
                "palisade_streams_recalled_total{{http_route=\"{route}\",on_reload=\"{on_reload}\"}}"
            );
            total += self.edge.metric(&series).await.unwrap_or(0.0);
        }
        total
    }
}

/// One of each, over every protocol that has it.
struct Streams {
    tunnel: Tunnel,
    downloads: Vec<(Protocol, Client, Download)>,
    chats: Vec<(Client, Upload, Download)>,
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

/// As `grpc-status` writes it.
const UNAVAILABLE: &str = "14";

impl Streams {
    async fn go_on(&mut self) {
        self.tunnel
            .echo("still here")
            .await
            .expect("an open tunnel");
        for (_, upload, download) in &mut self.chats {
            upload.send(message()).await.expect("the edge reads");
            assert!(download.chunk().await.expect("a reply").is_some());
        }
    }

    /// Nothing was sent by the upstreams meanwhile: what ends them is the edge.
    async fn are_broken(mut self, close: u16) {
        let (code, reason) = self.tunnel.closed().await.expect("a Close frame");
        assert_eq!((code, reason.as_str()), (close, "route_changed"));
        for (protocol, _client, download) in &mut self.downloads {
            let received = download.check().await;
            assert!(received.is_err(), "{protocol:?}: {received:?}");
        }
        for (_client, _upload, download) in &mut self.chats {
            // A call ends with a status, also where nobody behind the edge gave one.
            let next = download.chunk().await.expect("an end");
            assert!(next.is_none(), "{next:?}");
            let trailers = download
                .trailers()
                .await
                .expect("an end")
                .expect("trailers");
            assert_eq!(trailers["grpc-status"], UNAVAILABLE, "{trailers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_ends_them_at_once() {
    let world = World::start("cut", &["--drain-seconds", "240"]).await;
    let mut streams = world.streams().await;
    world.put("1", &world.policy("1", "cut")).await;
    streams.go_on().await;
    assert_eq!(
        world.recalled("cut").await,
        0.0,
        "nothing that concerns them"
    );
    // Their routes lead elsewhere: to a cluster of another name.
    let moved = world
        .policy("2", "cut")
        .replace("origin", "origin2")
        .replace("echo,", "echo2,")
        .replace("cluster: echo ", "cluster: echo2 ")
        .replace("greeter", "greeter2");
    world.put("2", &moved).await;
    streams.are_broken(1008).await;
    assert_eq!(world.recalled("cut").await, 6.0);
    // Who comes again is served.
    let mut again = world.streams().await;
    again.go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_gives_them_time() {
    let world = World::start("drain", &["--drain-seconds", "240"]).await;
    let mut streams = world.streams().await;
    let gone = world.policy("1", "drain");
    let gone: String = gone
        .lines()
        .filter(|line| !line.contains("on_reload"))
        .fold(String::new(), |text, line| text + line + "\n");
    world.put("1", &gone).await;
    let closed = streams.tunnel.closed().await.expect("a Close frame");
    assert_eq!(closed, (1001, "route_changed".to_owned()));
    for (_, upload, download) in &mut streams.chats {
        upload.send(message()).await.expect("the edge reads");
        assert!(download.chunk().await.expect("a reply").is_some());
    }
    world.origin.open_gate();
    for (protocol, _client, download) in &mut streams.downloads {
        let received = download.check().await.expect("a whole body");
        assert!(received.is_intact(), "{protocol:?}");
    }
    assert_eq!(world.recalled("drain").await, 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_has_an_end() {
    let world = World::start("drain", &["--drain-seconds", "1"]).await;
    let streams = world.streams().await;
    let closed = world
        .policy("1", "drain")
        .replace("on_reload: drain", "auth: { issuer: id }, on_reload: drain")
        + "issuers: [{ name: id, issuer: id, audiences: [x], algorithms: [EdDSA], jwks: { file: jwks.json } }]\n";
    world.put("1", &closed).await;
    streams.are_broken(1001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_leaves_them_alone() {
    let world = World::start("keep", &[]).await;
    let mut streams = world.streams().await;
    let gone = world.policy("1", "keep");
    let gone: String = gone
        .lines()
        .filter(|line| !line.contains("on_reload"))
        .fold(String::new(), |text, line| text + line + "\n");
    world.put("1", &gone).await;
    streams.go_on().await;
    world.origin.open_gate();
    for (protocol, _client, download) in &mut streams.downloads {
        let received = download.check().await.expect("a whole body");
        assert!(received.is_intact(), "{protocol:?}");
    }
}

/// The connection of an HTTP/1.1 client outlives what one of its requests was tied to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_requests_of_a_connection_are_not_recalled() {
    let world = World::start("cut", &[]).await;
    world.origin.open_gate();
    let mut clients = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &world.edge).await;
        assert_eq!(client.get("/gated/10").await.status, 200, "{protocol:?}");
        clients.push((protocol, client));
    }
    let moved = world.policy("1", "cut").replace("origin", "origin2");
    world.put("1", &moved).await;
    for (protocol, client) in &mut clients {
        assert_eq!(client.get("/gated/10").await.status, 200, "{protocol:?}");
    }
    assert_eq!(world.recalled("cut").await, 0.0);
}
