//! Two endpoints on one socket, as two processes have them, and a client between them.

use std::sync::Arc;

use futures::future::join;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connecting, ConnectionError, Endpoint};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use std::time::Duration;

use super::*;
use crate::listen::{Listener, Relay};

struct Nobody;

impl Observer for Nobody {
    fn connection_opened(&self, _: Listener) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    fn connection_refused(&self, _: &'static str) {}

    fn address_asked(&self) {}

    fn datagrams_relayed(&self, _: bool) {}
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

struct Process {
    endpoint: Endpoint,
    routed: Arc<RoutedSocket>,
}

/// What both processes load from the same files.
struct Site {
    socket: UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Site {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a configuration");
        Self {
            socket: bind(([127, 0, 0, 1], 0).into()).expect("a port"),
            tls: Arc::new(tls),
            certificate: cert.der().clone(),
        }
    }

    fn process(&self, generation: Generation) -> Process {
        let socket = self.socket.try_clone().expect("a descriptor");
        let bounds = Bounds::default();
        let (endpoint, routed) = endpoint(
            socket,
            generation,
            Arc::new(Nobody),
            self.tls.clone(),
            &bounds,
        )
        .expect("an endpoint");
        Process { endpoint, routed }
    }

    /// The one that is replaced, the one that replaces it, and what leads from there to here.
    fn switch(&self, old: &Process) -> (Process, Relay) {
        let (next, relay) = old.routed.successor().expect("a generation");
        // Nobody reads until the new process does.
        let (_, nothing) = old.routed.successor().expect("a generation");
        old.routed.read_relay(nothing);
        (self.process(next), relay)
    }

    fn connect(&self) -> (Endpoint, Connecting) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let crypto = QuicClientConfig::try_from(tls).expect("a configuration");
        let client = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let address = self.socket.local_addr().expect("an address");
        let connecting = client.connect_with(config, address, "localhost");
        (client, connecting.expect("a connection"))
    }
}

/// Far longer than anything takes: a test that waits in vain fails.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, future)
        .await
        .expect("an end")
}

async fn accept(process: &Process) -> Incoming {
    let incoming = within(process.endpoint.accept()).await;
    incoming.expect("an open endpoint")
}

async fn established(incoming: Incoming) -> quinn::Connection {
    let connecting = incoming.accept().expect("an open endpoint");
    connecting.await.expect("a handshake")
}

/// RFC 9000, 8.1.2: the token is good at whoever has the key.
#[tokio::test]
async fn a_client_sent_away_by_one_process_comes_back_to_another() {
    for old_lives in [true, false] {
        let site = Site::new();
        let old = site.process(Generation::first().expect("a generation"));
        let (_client, connecting) = site.connect();
        let incoming = accept(&old).await;
        let (new, relay) = site.switch(&old);
        if old_lives {
            old.routed.read_relay(relay);
        } else {
            drop(relay);
        }
        incoming.retry().expect("not validated yet");
        let returned = accept(if old_lives { &old } else { &new }).await;
        assert!(returned.remote_address_validated());
        let (served, connected) = within(join(established(returned), connecting)).await;
        assert_eq!(connected.expect("a handshake").close_reason(), None);
        assert_eq!(served.close_reason(), None);
    }
}

/// Its first packets carry an id of its own choice, the others one of ours.
#[tokio::test]
async fn a_handshake_begun_with_the_old_process_is_finished_there() {
    let site = Site::new();
    let old = site.process(Generation::first().expect("a generation"));
    let (_client, connecting) = site.connect();
    let incoming = accept(&old).await;
    let (_new, relay) = site.switch(&old);
    old.routed.read_relay(relay);
    let (served, connected) = within(join(established(incoming), connecting)).await;
    let connected = connected.expect("a handshake");
    let (mut sending, _) = connected.open_bi().await.expect("a stream");
    sending
        .write_all(b"to the old one")
        .await
        .expect("a window");
    sending.finish().expect("an open stream");
    let (_, mut receiving) = within(served.accept_bi()).await.expect("a stream");
    let received = within(receiving.read_to_end(100)).await.expect("a stream");
    assert_eq!(received, b"to the old one");
}

/// RFC 9000, 10.3: who has the key can end what another has left behind.
#[tokio::test]
async fn connections_of_a_dead_process_are_reset() {
    let site = Site::new();
    let old = site.process(Generation::first().expect("a generation"));
    let (_client, connecting) = site.connect();
    let incoming = accept(&old).await;
    let (_served, connected) = within(join(established(incoming), connecting)).await;
    let connected = connected.expect("a handshake");
    let (_new, relay) = site.switch(&old);
    drop(relay);
    let (mut sending, _) = connected.open_bi().await.expect("a stream");
    sending.write_all(&[0; 100]).await.expect("a window");
    let closed = within(connected.closed()).await;
    assert!(matches!(closed, ConnectionError::Reset), "{closed:?}");
}
