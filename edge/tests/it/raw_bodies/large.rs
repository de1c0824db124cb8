//! A gibibyte each way in flat memory.

use bytes::Bytes;
use http::Method;
use palisade_echo::Checksum;
use serde_json::json;

use super::World;
use crate::client::{Client, Protocol};

const GIB: u64 = 1 << 30;
/// A whole number of the file's patterns, so that one piece can be sent again and again.
const PIECE_BYTES: u64 = 251 * 1024;
/// What the edge may grow by meanwhile: windows, buffers of sockets, what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_up_and_down_leaves_memory_flat() {
    let world = World::start().await;
    let (mut up, mut down) = (
        world.client(Protocol::H2).await,
        world.client(Protocol::H1).await,
    );
    // Once small, so that what is made on first use is there.
    upload(&mut up, 4 << 20).await;
    download(&mut down, 4 << 20).await;
    let before = world.edge.rss_bytes();
    let sent = upload(&mut up, GIB).await;
    assert_eq!(download(&mut down, GIB).await, sent);
    let grown = world.edge.peak_rss_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grew by {grown} bytes");
    world.until_under_way(0).await;
}

/// The checksum of what came.
async fn download(client: &mut Client, bytes: u64) -> String {
    let target = format!("/v1/files/a?bytes={bytes}");
    let (_, pending) = client
        .open(Method::GET, &target, &[], false)
        .await
        .expect("a stream");
    let (head, mut download) = pending.head().await.expect("a head");
    assert_eq!(head.headers["content-length"], bytes.to_string());
    let mut sum = Checksum::default();
    while let Some(data) = download.chunk().await.expect("a piece") {
        sum.update(&data);
    }
    sum.to_string()
}

/// The checksum of what was sent.
async fn upload(client: &mut Client, bytes: u64) -> String {
    let length = bytes.to_string();
    let headers = [("content-length", &*length), ("content-type", "a/b")];
    let opened = client
        .open(Method::PUT, "/v1/files/a", &headers, true)
        .await;
    let (mut upload, pending) = opened.expect("a stream");
    let piece: Bytes = palisade_echo::piece(0, PIECE_BYTES);
    let mut sum = Checksum::default();
    let mut left = bytes;
    while left > 0 {
        let now = left.min(PIECE_BYTES);
        let data = piece.slice(..usize::try_from(now).expect("a size"));
        sum.update(&data);
        upload.send(data).await.expect("the edge reads");
        left -= now;
    }
    upload.finish().await.expect("the edge reads");
    let (head, mut download) = pending.head().await.expect("a head");
    assert_eq!(head.status, 200);
    let answer = download
        .chunk()
        .await
        .expect("a piece")
        .expect("a document");
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("json");
    assert_eq!(answer["bytes"], json!(length));
    assert_eq!(answer["checksum"], json!(sum.to_string()));
    sum.to_string()
}
