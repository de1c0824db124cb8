//! QUIC clients that do not hear all that is sent to them: what a forged address looks like from
//! the edge, since its answers go to somebody who never asked.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connecting, Endpoint, EndpointConfig, UdpPoller};

use super::h3::quic_config;

/// Which datagrams arrive, by their first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hears {
    Nothing,
    /// The address is proved, and then nothing more comes.
    Retry,
}

impl Hears {
    fn hears(self, datagram: &[u8]) -> bool {
        // A long header of type Retry (RFC 9000, 17.2.5).
        let is_retry = datagram.first().is_some_and(|first| first & 0xb0 == 0xb0);
        matches!(self, Self::Retry) && is_retry
    }
}

/// Bytes on the wire.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct DeafSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    hears: Hears,
    /// Sends beyond this are lost.
    sends_max: u64,
    sends: AtomicU64,
    traffic: Arc<Traffic>,
}

impl AsyncUdpSocket for DeafSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        if self.sends.fetch_add(1, Ordering::Relaxed) >= self.sends_max {
            return Ok(());
        }
        self.socket.try_send(transmit)?;
        let bytes = transmit.contents.len() as u64;
        self.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.socket.poll_recv(cx, bufs, meta))?;
        for (datagrams, meta) in bufs.iter().zip(meta.iter_mut()).take(count) {
            let bytes = meta.len as u64;
            self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
            if !self.hears.hears(&datagrams[..meta.len]) {
                meta.len = 0;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }
}

/// One socket, and the handshakes begun from it.
pub(crate) struct DeafClient {
    endpoint: Endpoint,
    pub(crate) traffic: Arc<Traffic>,
    /// Dropping one would tell the edge that it is over.
    connecting: Vec<Connecting>,
}

impl DeafClient {
    /// From an address of this machine, with all sends.
    pub(crate) fn new(from: [u8; 4], hears: Hears) -> Self {
        Self::with_sends(from, hears, u64::MAX)
    }

    pub(crate) fn with_sends(from: [u8; 4], hears: Hears, sends_max: u64) -> Self {
        let runtime = quinn::default_runtime().expect("a runtime");
        let socket =
            UdpSocket::bind(SocketAddr::from((from, 0))).expect("an address of this machine");
        let traffic = Arc::new(Traffic::default());
        let socket = DeafSocket {
            socket: runtime.wrap_udp_socket(socket).expect("a socket"),
            hears,
            sends_max,
            sends: AtomicU64::new(0),
            traffic: traffic.clone(),
        };
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new_with_abstract_socket(config, None, Arc::new(socket), runtime);
        let mut endpoint = endpoint.expect("an endpoint");
        endpoint.set_default_client_config(quic_config());
        Self {
            endpoint,
            traffic,
            connecting: Vec::new(),
        }
    }

    /// Begin handshakes that never end.
    pub(crate) async fn begin(&mut self, edge: SocketAddr, count: usize) {
        for _ in 0..count {
            let connecting = self.endpoint.connect(edge, "localhost");
            self.connecting.push(connecting.expect("a handshake"));
            // The endpoint's own task sends.
            tokio::task::yield_now().await;
        }
    }
}
