//! Ten upgrades in a row under load: every request is answered, every transfer is whole.

use bytes::Bytes;
use http::Method;

use super::load::{Load, Style};
use super::{PATIENT, Site};
use crate::client::{Client, Download, Pending, Protocol, Upload};
use crate::upstream::tunnel::Tunnel;

const UPGRADES: usize = 10;
/// More than what sockets and windows hold.
const BODY: u64 = 16 * 1024 * 1024;
/// Many packets, which the kernel joins.
const PIECE: &[u8] = &[0; 100_000];

/// Something begun before an upgrade.
struct Begun<T> {
    protocol: Protocol,
    inner: T,
    _client: Client,
}

/// Downloads of which the second part waits for the origin's gate.
async fn downloads(site: &Site) -> Vec<Begun<Download>> {
    let mut all = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &site.edge).await;
        let (_, pending) = client
            .open(Method::GET, &format!("/gated/{BODY}"), &[], false)
            .await
            .expect("a stream");
        let (head, inner) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
        all.push(Begun {
            protocol,
            inner,
            _client: client,
        });
    }
    all
}

async fn whole(downloads: Vec<Begun<Download>>) {
    for mut begun in downloads {
        let received = begun.inner.check().await;
        let received = received.unwrap_or_else(|broken| panic!("{:?}: {broken:?}", begun.protocol));
        assert_eq!(
            (received.bytes, received.is_intact()),
            (BODY, true),
            "{:?}",
            begun.protocol
        );
    }
}

/// Uploads that go on for as long as the test sends.
async fn begin_uploads(site: &Site, protocols: &[Protocol]) -> Vec<Begun<(Upload, Pending)>> {
    let mut all = Vec::new();
    for protocol in protocols {
        let protocol = *protocol;
        let mut client = Client::connect(protocol, &site.edge).await;
        let inner = client
            .open(Method::POST, "/count", &[], true)
            .await
            .expect("a stream");
        all.push(Begun {
            protocol,
            inner,
            _client: client,
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_upgrades_under_load_lose_nothing() {
    let mut site = Site::start(PATIENT).await;
    let load = Load::start(site.edge.https);
    // Those of the first process live through all of it.
    let mut tunnels = Vec::new();
    let mut uploads = begin_uploads(&site, &Protocol::ALL).await;
    let mut sent = 0;
    let mut replaced = Vec::new();
    for number in 1..=UPGRADES {
        let downloads = downloads(&site).await;
        tunnels.push(Tunnel::open(site.edge.https, "/tunnel").await);
        uploads.extend(begin_uploads(&site, &[Protocol::H3]).await);
        load.answers(50).await;
        replaced.push(site.upgrade(PATIENT).await);
        load.answers(50).await;
        for tunnel in &mut tunnels {
            tunnel.echo("still here").await.expect("an open tunnel");
        }
        for upload in &mut uploads {
            let piece = Bytes::from_static(PIECE);
            let taken = upload.inner.0.send(piece).await;
            taken.unwrap_or_else(|broken| panic!("{:?}: {broken:?}", upload.protocol));
            sent += PIECE.len() as u64;
        }
        let all_of_it = |record: &crate::upstream::Record| record.upload_bytes == sent;
        site.origin
            .wait(&format!("uploads after upgrade {number}"), all_of_it)
            .await;
        site.origin.open_gate();
        whole(downloads).await;
        site.origin.close_gate();
    }
    for upload in uploads {
        let (body, pending) = upload.inner;
        body.finish().await.expect("the edge reads to the end");
        let (head, _) = pending.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{:?}", upload.protocol);
    }
    drop(tunnels);
    let (answered, reconnected) = load.finish().await;
    assert!(answered > 100 * UPGRADES && reconnected > 0);
    let record = site.origin.record();
    assert_eq!(record.count("/bytes"), answered, "a request came twice");
    let generation = site.edge.metric("palisade_process_generation").await;
    assert_eq!(generation, Some(UPGRADES as f64 + 1.0));
    let relayed = "palisade_quic_relayed_total{result=\"delivered\"}";
    assert!(
        site.edge.metric(relayed).await > Some(0.0),
        "the first process had no datagrams"
    );
    for old in replaced {
        let ended = old.ended().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(
            ended.stdout.contains("\"drained\""),
            "cut at the deadline: {ended:?}"
        );
    }
}

/// A handshake of several round trips, of which each process sees a part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_at_the_switch_succeed() {
    let mut site = Site::start(PATIENT).await;
    let kinds = [
        (Protocol::H1, Style::Fresh, 4),
        (Protocol::H2, Style::Fresh, 4),
        (Protocol::H3, Style::Fresh, 16),
    ];
    let load = Load::of(&kinds, site.edge.https);
    let mut replaced = Vec::new();
    for _ in 0..5 {
        load.answers(100).await;
        replaced.push(site.upgrade(PATIENT).await);
    }
    load.answers(100).await;
    load.finish().await;
    for old in replaced {
        assert_eq!(old.ended().await.code, Some(0));
    }
}
