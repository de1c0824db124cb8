//! When processes end, and what of an upgrade depends on addresses and folders.

use std::net::SocketAddr;

use http::Method;
use rustix::process::Signal;

use super::{PATIENT, Site};
use crate::client::h3::quic;
use crate::client::{Client, Protocol};
use crate::harness::Edge;
use crate::harness::files::{Files, replace, set_mode};
use crate::harness::waiting::{until, within};
use crate::upstream::tunnel::Tunnel;

const NOTHING: &[(&str, &str)] = &[("all.yaml", "version: 1\nroutes: []\n")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_edge_ends_when_its_last_request_has() {
    let mut site = Site::start(PATIENT).await;
    let mut tunnel = Tunnel::open(site.edge.https, "/tunnel").await;
    let mut downloads = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &site.edge).await;
        let opened = client.open(Method::GET, "/gated/100000", &[], false).await;
        let (head, download) = opened.expect("a stream").1.head().await.expect("an answer");
        assert_eq!(head.status, 200, "{protocol:?}");
        downloads.push((client, download));
    }
    let mut old = site.upgrade(PATIENT).await;
    tunnel
        .echo("before the drain")
        .await
        .expect("an open tunnel");
    // The new process serves alone by now, and the old one has its own connections only.
    until("the old process to drain", || async {
        let line = old.log_lines(|line| line["message"] == "draining");
        (!line.is_empty()).then_some(())
    })
    .await;
    assert!(old.is_running(), "answers are still owed");
    site.origin.open_gate();
    for (_client, download) in &mut downloads {
        assert!(download.check().await.expect("a whole body").is_intact());
    }
    tunnel.echo("in the drain").await.expect("an open tunnel");
    assert!(old.is_running(), "the tunnel is still open");
    drop(tunnel);
    let ended = old.ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
    assert!(site.edge.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_hold_a_replaced_edge() {
    let mut site = Site::start(PATIENT).await;
    let mut idle = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &site.edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
        idle.push(client);
        // And one that never asked for anything.
        idle.push(Client::connect(protocol, &site.edge).await);
    }
    let ended = site.upgrade(PATIENT).await.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_signal_reaches_both_processes() {
    let mut site = Site::start(PATIENT).await;
    let mut idle = Client::connect(Protocol::H1, &site.edge).await;
    assert_eq!(idle.get("/echo").await.status, 200);
    let old = site.upgrade(PATIENT).await;
    old.signal(Signal::TERM);
    let ended = old.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let socket = site.edge.files.state().join("upgrade.sock");
    assert!(socket.exists(), "the new process can be replaced");
    site.edge.signal(Signal::TERM);
    let ended = site.edge.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!socket.exists(), "nobody is there to be replaced");
}

/// Datagrams are told apart by connection id, not by where they come from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_moves_stays_with_the_replaced_process() {
    const BODY: u64 = 2_000_000;
    let mut site = Site::start(PATIENT).await;
    let mut client = Client::connect(Protocol::H3, &site.edge).await;
    let opened = client
        .open(Method::GET, &format!("/gated/{BODY}"), &[], false)
        .await;
    let (head, mut download) = opened.expect("a stream").1.head().await.expect("an answer");
    assert_eq!(head.status, 200);
    let old = site.upgrade(PATIENT).await;
    let Client::H3(moving) = &client else {
        panic!("this is the h3 client");
    };
    moving.rebind();
    site.origin.open_gate();
    let received = download.check().await.expect("a whole body");
    assert_eq!((received.bytes, received.is_intact()), (BODY, true));
    client.disconnect();
    let ended = old.ended().await;
    assert!(ended.stdout.contains("\"drained\""), "{ended:?}");
}

/// The reset key is shared: a client of a dead process learns at once that it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_a_killed_process_are_reset_by_the_new_one() {
    let mut site = Site::start(PATIENT).await;
    let (_endpoint, connection) = quic(site.edge.https, None).await.expect("a connection");
    let old = site.upgrade(PATIENT).await;
    old.signal(Signal::KILL);
    assert_eq!(old.ended().await.code, None);
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    send.write_all(&[0; 100]).await.expect("a window");
    let closed = within("the reset", connection.closed()).await;
    assert!(
        matches!(closed, quinn::ConnectionError::Reset),
        "{closed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nobody_to_replace_the_edge_starts() {
    let files = Files::with_policies(NOTHING);
    let edge = Edge::start_with(files, &["--upgrade"]).await;
    let first = edge.log_line("a start", |line| line["generation"] == 1);
    assert_eq!(first.await["message"], "listening");
    // It leaves its socket behind.
    edge.signal(Signal::KILL);
    let files = edge.files.clone();
    assert_eq!(edge.ended().await.code, None);
    assert!(files.state().join("upgrade.sock").exists());
    for flags in [&["--upgrade"][..], &[]] {
        let binary = std::path::Path::new(crate::harness::BINARY);
        let edge = Edge::start_as(binary, files.clone(), flags).await;
        let (status, _) = edge.admin("/readyz").await;
        assert_eq!(status, 200, "{flags:?}");
        edge.signal(Signal::KILL);
        assert_eq!(edge.ended().await.code, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_edge_in_the_same_folder_leaves_the_first_alone() {
    let edge = Edge::start(NOTHING).await;
    let binary = std::path::Path::new(crate::harness::BINARY);
    let second = Edge::start_as(binary, edge.files.clone(), &[]).await;
    let warned = second.log_line("a warning", |line| {
        line["error"] == "another process serves from this folder"
    });
    assert_eq!(warned.await["level"], "WARN");
    // Whoever it started would replace the first.
    second.signal(Signal::USR2);
    let ignored = second.log_line("the signal to be refused", |line| {
        line["message"] == "SIGUSR2 ignored: this process can be restarted, not replaced"
    });
    assert_eq!(ignored.await["level"], "ERROR");
    let successor = edge.successor(&[]).await;
    assert_eq!(successor.https, edge.https);
    assert_eq!(edge.ended().await.code, Some(0));
    assert_eq!(second.admin("/readyz").await.0, 200);
}

fn free_port() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_may_change_with_the_process() {
    let mut site = Site::start(PATIENT).await;
    let (http, https) = (free_port(), free_port());
    let mut h3 = Client::connect(Protocol::H3, &site.edge).await;
    let flags = ["--http", &http.to_string(), "--https", &https.to_string()];
    let moved = site.edge.successor(&flags).await;
    assert_eq!((moved.http, moved.https), (http, https));
    assert_eq!(moved.admin, site.edge.admin);
    let old = std::mem::replace(&mut site.edge, moved);
    // It reads its own UDP socket to the end.
    assert_eq!(h3.get("/echo").await.status, 200);
    for protocol in Protocol::ALL {
        let mut client = Client::connect(protocol, &site.edge).await;
        assert_eq!(client.get("/echo").await.status, 200, "{protocol:?}");
    }
    let (was_http, was_https) = (old.http, old.https);
    assert_eq!(old.ended().await.code, Some(0));
    for address in [was_http, was_https] {
        let refused = tokio::net::TcpStream::connect(address).await;
        assert!(refused.is_err(), "{address} is still open");
    }
}

/// Everything that systemd is told, as it comes.
async fn told(manager: &tokio::net::UnixDatagram) -> String {
    let mut text = vec![0; 4096];
    let length = within("systemd to be told", manager.recv(&mut text)).await;
    text.truncate(length.expect("a datagram"));
    String::from_utf8(text).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_which_process_serves() {
    let files = Files::with_policies(NOTHING);
    let (socket, wrapper) = (files.root().join("notify"), files.root().join("palisade"));
    let manager = tokio::net::UnixDatagram::bind(&socket).expect("a socket");
    let script = format!(
        "#!/bin/sh\nNOTIFY_SOCKET='{}' exec '{}' \"$@\"\n",
        socket.display(),
        crate::harness::BINARY
    );
    replace(&wrapper, script.as_bytes());
    set_mode(&wrapper, 0o755);
    let files = std::sync::Arc::new(files);
    let first = Edge::start_as(&wrapper, files.clone(), &[]).await;
    let expected = format!("READY=1\nMAINPID={}\n", first.process_id());
    assert_eq!(told(&manager).await, expected);
    let second = Edge::start_as(&wrapper, files.clone(), &["--upgrade"]).await;
    let expected = format!("READY=1\nMAINPID={}\n", second.process_id());
    assert_eq!(told(&manager).await, expected);
    assert_eq!(first.ended().await.code, Some(0));
}
