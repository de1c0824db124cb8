//! The QUIC endpoint: limits, accept loop, one task for each connection, drain.
//!
//! Invariant: every quinn and h3 limit that defaults to "unlimited" is set here.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use h3::error::Code;
use h3::quic::SendStream as _;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::connection::{Connection, HeadDeadline, Listener, TlsFacts};
use super::h3::H3Session;
use super::quinn_adapter::{QuicConnection, StreamSignals};
use super::{Accepting, Bounds};

/// Bytes one stream may have in flight toward us; also the most that a stalled request pins.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes all streams of a connection together may have in flight. quinn's default is unlimited.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes we keep for retransmission on one connection.
const SEND_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Control stream, QPACK encoder and decoder, and room for reserved types (RFC 9114, 6.2.3).
const UNI_STREAMS_MAX: u32 = 8;
/// Datagrams queued for connections not yet accepted.
const INCOMING_MAX: usize = 1_024;
/// Above this many handshakes at once a client must prove its address first (RFC 9000, 8.1.2).
const UNVALIDATED_MAX: usize = 256;
/// How long a finished response may wait for the client's acknowledgement before its connection closes.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);
/// One datagram carries about 1.2 KB; the kernel's default buffer holds a few milliseconds of load.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Pings within the idle timeout, which is the client's where that is shorter.
const KEEP_ALIVES: u32 = 4;

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
    tls: Arc<rustls::ServerConfig>,
    bounds: &Bounds,
) -> anyhow::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).context("tls configuration for quic")?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(bounds)?));
    config.max_incoming(INCOMING_MAX);
    let runtime = quinn::default_runtime().context("quic needs a tokio runtime")?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).context("quic endpoint")
}

fn transport(bounds: &Bounds) -> anyhow::Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(bounds.streams_max.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(bounds.keepalive_timeout.try_into()?))
        // Tunnels and slow answers may be silent for longer; connections without a request are
        // ended by the accept loop, and vanished clients by the line above.
        .keep_alive_interval(Some(bounds.keepalive_timeout / KEEP_ALIVES));
    Ok(transport)
}

/// Accept until told to stop, then refuse: a silent endpoint would leave clients in time-outs.
pub(super) async fn serve<A>(endpoint: Endpoint, accepting: Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let connections = TaskTracker::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = accepting.stop.cancelled() => break,
        };
        let Some(incoming) = incoming else { return };
        if endpoint.open_connections() > UNVALIDATED_MAX && !incoming.remote_address_validated() {
            // Only fails for a validated address, which was just ruled out.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = accepting.connections.clone().try_acquire_owned() else {
            accepting.observer.connection_refused("connection_cap");
            incoming.refuse();
            continue;
        };
        connections.spawn(connection(incoming, accepting.clone(), permit));
    }
    connections.close();
    let drained = connections.wait();
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming.refuse(),
                None => break,
            },
        }
    }
    endpoint.close(code(Code::H3_NO_ERROR), b"shutting down");
    endpoint.wait_idle().await;
}

fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

async fn connection<A>(incoming: Incoming, accepting: Accepting<A>, _permit: OwnedSemaphorePermit)
where
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
    if let Err(error) = requests(established, &accepting).await {
        debug!(%client, %error, "h3 connection ended");
    }
}

/// Facts of an established connection; the client's address is the validated one.
fn facts(connection: &quinn::Connection, local: SocketAddr) -> Arc<Connection> {
    let handshake = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let server_name = handshake.and_then(|data| data.server_name);
    let client = connection.remote_address();
    Arc::new(Connection {
        listener: Listener::Http3,
        client: SocketAddr::new(client.ip().to_canonical(), client.port()),
        client_text: Connection::text(client.ip().to_canonical()),
        local,
        tls: Some(TlsFacts {
            version: "TLSv1.3",
            server_name: server_name.map(|name| name.to_ascii_lowercase()),
        }),
        head_deadline: HeadDeadline::default(),
    })
}

/// Accept request streams until the client or the drain ends the connection.
async fn requests<A>(
    connection: quinn::Connection,
    accepting: &Accepting<A>,
) -> Result<(), h3::error::ConnectionError>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let local = connection.local_ip().map_or_else(
        || SocketAddr::from(([0, 0, 0, 0], 0)),
        |address| SocketAddr::new(address, 0),
    );
    let facts = facts(&connection, local);
    let (transport, streams) = QuicConnection::new(connection);
    let mut h3 = h3::server::builder()
        .max_field_section_size(accepting.bounds.header_list_bytes_max.into())
        .send_grease(false)
        .enable_extended_connect(true)
        .build(transport)
        .await?;
    let running = TaskTracker::new();
    // A closed tracker still takes tasks; it only lets `wait` end when there are none.
    running.close();
    let mut draining = false;
    loop {
        let idle = async {
            running.wait().await;
            tokio::time::sleep(accepting.bounds.keepalive_timeout).await;
        };
        let resolver = tokio::select! {
            accepted = h3.accept() => accepted?,
            () = accepting.stop.cancelled(), if !draining => {
                draining = true;
                // 1, not 0: this h3 version announces the last id plus the number, and with 0
                // the client would take its newest request for unprocessed.
                h3.shutdown(1).await?;
                continue;
            }
            () = running.wait(), if draining => return Ok(()),
            () = idle, if !draining => return Ok(()),
        };
        let Some(resolver) = resolver else {
            running.wait().await;
            return Ok(());
        };
        let Some(signals) = streams.take(stream_id(&resolver)) else {
            warn!("request stream without signals");
            continue;
        };
        running.spawn(request(resolver, signals, facts.clone(), accepting.clone()));
    }
}

type Resolver = h3::server::RequestResolver<QuicConnection, bytes::Bytes>;

fn stream_id(resolver: &Resolver) -> h3::quic::StreamId {
    resolver.frame_stream.send_id()
}

/// One request: read its head within the deadline, run it through the application, and stay
/// until the client has acknowledged the response: closing earlier would overtake its last bytes.
async fn request<A>(
    resolver: Resolver,
    signals: StreamSignals,
    facts: Arc<Connection>,
    accepting: Accepting<A>,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let bounds = &accepting.bounds;
    let head = tokio::time::timeout(bounds.head_timeout, resolver.resolve_request()).await;
    let (request, stream) = match head {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => {
            debug!(client = %facts.client, %error, "h3 request head refused");
            return accepting.observer.connection_refused("head_malformed");
        }
        Err(_) => return accepting.observer.connection_refused("head_timeout"),
    };
    signals.head_complete();
    let StreamSignals {
        stopped,
        acknowledged,
        ..
    } = signals;
    let session = match H3Session::new(request, stream, stopped, facts).await {
        Ok(session) => session,
        Err(error) => {
            debug!(%error, "h3 request refused");
            return accepting.observer.connection_refused("head_malformed");
        }
    };
    let session = ServerSession::new_custom(Box::new(session));
    accepting
        .app
        .process_new_http(session, &accepting.shutdown)
        .await;
    let _ = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, acknowledged).await;
}
