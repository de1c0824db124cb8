//! The request streams of one QUIC connection, each in a task of its own, and its farewell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h3::error::Code;
use h3::quic::{RecvStream as _, SendStream as _};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::listen::Accepting;
use crate::listen::connection::{Connection, Listener, TLS13, TlsFacts, Tunnel};
use crate::listen::h3::H3Session;
use crate::listen::h3::conduct::{CHECK_INTERVAL, Conduct};
use crate::listen::h3::quinn_adapter::QuicConnection;
use crate::listen::h3::stream_signals::StreamSignals;
use crate::listen::tls;

/// How long after the first GOAWAY requests are still taken: those sent before it arrived
/// (RFC 9114, 5.2) must not fail. Many round trips.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// The first GOAWAY names the largest id there is (RFC 9114, 5.2): nothing is refused yet.
const ANY_REQUEST: usize = usize::MAX;
/// How long a finished response may wait for the client's acknowledgement before its connection closes.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);

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
        local,
        tls: Some(TlsFacts {
            version: TLS13,
            server_name: server_name.as_deref().map(tls::canonical),
            // Names that ask for client certificates are refused by the handshake.
            trust_domain: None,
            client: None,
        }),
        tunnel: Tunnel::default(),
        body_clock: Arc::default(),
        recall: Arc::default(),
    })
}

/// Accept request streams until the client or the drain ends the connection, or it had enough.
pub(super) async fn serve<A>(
    connection: quinn::Connection,
    client: SocketAddr,
    accepting: &Accepting<A>,
) -> Result<(), h3::error::ConnectionError>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let bounds = &accepting.bounds;
    let facts = facts(&connection, client);
    let conduct = Conduct::new(connection.clone(), accepting.observer.clone());
    let (transport, streams) =
        QuicConnection::new(connection, conduct.clone(), bounds.header_list_bytes_max);
    let mut h3 = h3::server::builder()
        .max_field_section_size(bounds.header_list_bytes_max.into())
        .enable_extended_connect(true)
        .send_grease(false)
        .build(transport)
        .await?;
    let running = TaskTracker::new();
    // A closed tracker still takes tasks; it only lets `wait` end when there are none.
    running.close();
    let lame_duck = async {
        accepting.stop.cancelled().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    tokio::pin!(lame_duck);
    let (mut accepted, mut announced, mut closing) = (0, false, false);
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
                if closing {
                    reject(resolver);
                    continue;
                }
                let Some(signals) = streams.take(stream_id(&resolver)) else {
                    warn!("request stream without signals");
                    continue;
                };
                running.spawn(request(resolver, signals, facts.clone(), accepting.clone()));
                quiet = Duration::ZERO;
                accepted += 1;
                accepted >= bounds.keepalive_requests_max
            }
            // Before the first request this h3 version could only announce that it will refuse it.
            () = accepting.stop.cancelled(), if accepted > 0 && !announced => {
                announced = true;
                h3.shutdown(ANY_REQUEST).await?;
                continue;
            }
            () = &mut lame_duck, if !closing => true,
            () = running.wait(), if closing => return Ok(()),
            _ = checks.tick() => {
                conduct.check_transport();
                quiet = if running.is_empty() { quiet + CHECK_INTERVAL } else { Duration::ZERO };
                quiet >= bounds.keepalive_timeout
            }
        };
        if enough && !closing {
            closing = true;
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

/// The client was told that this one is not processed, and may send it elsewhere.
fn reject(mut resolver: Resolver) {
    let code = Code::H3_REQUEST_REJECTED.value();
    resolver.frame_stream.reset(code);
    resolver.frame_stream.stream.stop_sending(code);
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
