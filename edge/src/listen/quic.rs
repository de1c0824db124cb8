//! The QUIC endpoint: limits, accept loop, one task for each connection, drain.
//!
//! Invariant: every limit of quinn is set in `settings`, and whoever cannot be told from a
//! forged address gets no state of ours while there are many of them.

pub mod generation;
mod relay;
pub(super) mod routed_socket;
pub(super) mod settings;
mod requests;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use h3::error::Code;
use pingora_core::apps::HttpServerApp;
use quinn::{Endpoint, Incoming};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::generation::Generation;
use self::routed_socket::RoutedSocket;
use super::caps::{self, HandshakePlace, Place};
use super::connection::Listener;
use super::h3::quinn_errors::code;
use super::{Accepting, Bounds, Observer};

/// Handshakes at once above which a client must first prove its address (RFC 9000, 8.1.2).
const UNVALIDATED_MAX: usize = 64;
/// One datagram carries about 1.2 KB; the kernel's default buffer holds a few milliseconds of load.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Bind the UDP socket with buffers that hold a burst.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // The kernel grants what `net.core.rmem_max` allows; less is slower, not wrong.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The endpoint over a bound socket.
pub(super) fn endpoint(
    socket: UdpSocket,
    generation: Generation,
    observer: Arc<dyn Observer>,
    tls: Arc<rustls::ServerConfig>,
    bounds: &Bounds,
) -> anyhow::Result<(Endpoint, Arc<RoutedSocket>)> {
    let server = settings::server(tls, bounds, &generation.secret)?;
    let runtime = quinn::default_runtime().context("quic needs a tokio runtime")?;
    let network = runtime.wrap_udp_socket(socket).context("quic socket")?;
    let secret = generation.secret.clone();
    let socket = Arc::new(RoutedSocket::new(network, generation, observer));
    let shared = settings::endpoint(&secret, socket.ids().clone())?;
    let endpoint =
        Endpoint::new_with_abstract_socket(shared, Some(server), socket.clone(), runtime)
            .context("quic endpoint")?;
    Ok((endpoint, socket))
}

/// Accept until told to stop, then refuse: a silent endpoint would leave clients in time-outs.
/// Once replaced, all that still comes are handshakes begun with us: those are accepted.
pub(super) async fn serve<A>(endpoint: Endpoint, socket: Arc<RoutedSocket>, accepting: Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = accepting.leave.cancelled() => break,
        };
        let Some(incoming) = incoming else { return };
        if accepting.caps.quic_handshakes() >= UNVALIDATED_MAX
            && !incoming.remote_address_validated()
        {
            accepting.observer.address_asked();
            // Only fails for a validated address, which was just ruled out.
            let _ = incoming.retry();
            continue;
        }
        admit(incoming, &connections, accepting.renewed());
    }
    connections.close();
    let drained = connections.wait();
    tokio::pin!(drained);
    loop {
        tokio::select! {
            biased;
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if socket.is_relayed() {
                    admit(incoming, &connections, accepting.clone());
                } else {
                    incoming.refuse();
                }
            }
            () = &mut drained => break,
        }
    }
    endpoint.close(code(Code::H3_NO_ERROR.value()), b"shutting down");
    endpoint.wait_idle().await;
}

/// Begin a handshake, or refuse it over a cap.
fn admit<A>(incoming: Incoming, connections: &TaskTracker, accepting: Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (caps, bounds) = (&accepting.caps, &accepting.bounds);
    let proved = incoming.remote_address_validated();
    let peer = proved.then(|| incoming.remote_address().ip().to_canonical());
    let places = caps.connection(bounds).and_then(|place| {
        let handshake = caps.handshake(caps::Transport::Quic, peer, bounds)?;
        Ok((place, handshake))
    });
    match places {
        Ok(places) => {
            connections.spawn(connection(incoming, accepting, places));
        }
        Err(reason) => {
            accepting.observer.connection_refused(reason);
            incoming.refuse();
        }
    }
}

async fn connection<A>(
    incoming: Incoming,
    accepting: Accepting<A>,
    (_place, handshake_place): (Place, HandshakePlace),
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let _open = accepting.observer.connection_opened(Listener::Http3);
    let client = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let established =
        match tokio::time::timeout(accepting.bounds.handshake_timeout, handshake).await {
            Ok(Ok(established)) => established,
            Ok(Err(error)) => {
                debug!(%client, %error, "quic handshake failed");
                return accepting.observer.connection_refused("handshake_failed");
            }
            Err(_) => return accepting.observer.connection_refused("handshake_timeout"),
        };
    drop(handshake_place);
    // Not before the handshake, which proves the address: anybody can send in another's name.
    let address = established.remote_address().ip().to_canonical();
    let _address = match accepting.caps.address(address, &accepting.bounds) {
        Ok(place) => place,
        Err(reason) => {
            established.close(
                code(Code::H3_EXCESSIVE_LOAD.value()),
                b"too many connections",
            );
            return accepting.observer.connection_refused(reason);
        }
    };
    if let Err(error) = requests::serve(established, client, &accepting).await {
        debug!(%client, %error, "h3 connection ended");
    }
}

#[cfg(test)]
mod tests;
