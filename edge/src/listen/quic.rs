//! The QUIC endpoint: limits, accept loop, one task for each connection, drain.
//!
//! Invariant: every limit of quinn is set in `settings`, and whoever cannot be told from a
//! forged address gets no state of ours while there are many of them.

pub(super) mod settings;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use h3::error::Code;
use h3::quic::SendStream as _;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use quinn::{Endpoint, Incoming};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::conduct::{CHECK_INTERVAL, Conduct};
use super::connection::{Connection, HeadDeadline, Listener, TlsFacts};
use super::h3::H3Session;
use super::quinn_adapter::QuicConnection;
use super::quinn_errors::code;
use super::stream_signals::StreamSignals;
use super::{Accepting, Bounds};

/// Handshakes at once above which a client must first prove its address (RFC 9000, 8.1.2).
const UNVALIDATED_MAX: usize = 64;
/// Handshakes at once in all: each holds keys, a transcript and what it sent.
const HANDSHAKES_MAX: usize = 1_024;
/// How long a finished response may wait for the client's acknowledgement before its connection closes.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);
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
    tls: Arc<rustls::ServerConfig>,
    bounds: &Bounds,
) -> anyhow::Result<Endpoint> {
    let runtime = quinn::default_runtime().context("quic needs a tokio runtime")?;
    let server = settings::server(tls, bounds)?;
    Endpoint::new(settings::endpoint()?, Some(server), socket, runtime).context("quic endpoint")
}

/// Accept until told to stop, then refuse: a silent endpoint would leave clients in time-outs.
pub(super) async fn serve<A>(endpoint: Endpoint, accepting: Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let connections = TaskTracker::new();
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = accepting.stop.cancelled() => break,
        };
        let Some(incoming) = incoming else { return };
        let under_way = HANDSHAKES_MAX - handshakes.available_permits();
        if under_way >= UNVALIDATED_MAX && !incoming.remote_address_validated() {
            accepting.observer.address_asked();
            // Only fails for a validated address, which was just ruled out.
            let _ = incoming.retry();
            continue;
        }
        let Ok(handshake) = handshakes.clone().try_acquire_owned() else {
            accepting.observer.connection_refused("handshake_cap");
            incoming.refuse();
            continue;
        };
        let Ok(permit) = accepting.connections.clone().try_acquire_owned() else {
            accepting.observer.connection_refused("connection_cap");
            incoming.refuse();
            continue;
        };
        let permits = Permits {
            handshake,
            _connection: permit,
        };
        connections.spawn(connection(incoming, accepting.clone(), permits));
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
    endpoint.close(code(Code::H3_NO_ERROR.value()), b"shutting down");
    endpoint.wait_idle().await;
}

/// Given back by dropping them.
struct Permits {
    handshake: OwnedSemaphorePermit,
    _connection: OwnedSemaphorePermit,
}

async fn connection<A>(incoming: Incoming, accepting: Accepting<A>, permits: Permits)
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
    drop(permits.handshake);
    if let Err(error) = requests(established, client, &accepting).await {
        debug!(%client, %error, "h3 connection ended");
    }
}

/// Facts of an established connection. The client's address is the one that the handshake has
/// validated, also after a migration: quinn reports a new one before that is validated.
fn facts(connection: &quinn::Connection, client: SocketAddr) -> Arc<Connection> {
    let local = connection.local_ip().map_or_else(
        || SocketAddr::from(([0, 0, 0, 0], 0)),
        |address| SocketAddr::new(address, 0),
    );
    let handshake = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let server_name = handshake.and_then(|data| data.server_name);
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
    client: SocketAddr,
    accepting: &Accepting<A>,
) -> Result<(), h3::error::ConnectionError>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let facts = facts(&connection, client);
    let conduct = Conduct::new(connection.clone(), accepting.observer.clone());
    let field_section_bytes_max = accepting.bounds.header_list_bytes_max;
    let (transport, streams) =
        QuicConnection::new(connection, conduct.clone(), field_section_bytes_max);
    let mut h3 = h3::server::builder()
        .max_field_section_size(field_section_bytes_max.into())
        .send_grease(false)
        .build(transport)
        .await?;
    let running = TaskTracker::new();
    // A closed tracker still takes tasks; it only lets `wait` end when there are none.
    running.close();
    let mut draining = false;
    let mut accepted = 0;
    // PINGs keep a QUIC connection open; without requests it closes all the same.
    let mut quiet = Duration::ZERO;
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let enough = tokio::select! {
            resolver = h3.accept() => {
                let Some(resolver) = resolver? else {
                    running.wait().await;
                    return Ok(());
                };
                let Some(signals) = streams.take(stream_id(&resolver)) else {
                    warn!("request stream without signals");
                    continue;
                };
                running.spawn(request(resolver, signals, facts.clone(), accepting.clone()));
                quiet = Duration::ZERO;
                accepted += 1;
                accepted >= accepting.bounds.keepalive_requests_max
            }
            () = running.wait(), if draining => return Ok(()),
            () = accepting.stop.cancelled(), if !draining => true,
            _ = checks.tick() => {
                conduct.check_transport();
                quiet = if running.is_empty() { quiet + CHECK_INTERVAL } else { Duration::ZERO };
                quiet >= accepting.bounds.keepalive_timeout
            }
        };
        if enough && !draining {
            draining = true;
            // 1, not 0: this h3 version announces the last id plus the number, and with 0 the
            // client would take its newest request for unprocessed.
            h3.shutdown(1).await?;
        }
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
        ending,
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
    if ending.is_finished() {
        let _ = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, acknowledged).await;
    }
}
