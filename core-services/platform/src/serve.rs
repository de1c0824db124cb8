//! The gRPC server: every limit it runs under, and its graceful end.
//! Invariant: mutual TLS is always on except within the process, nothing a peer
//! sends is unbounded.
//! Refuses HTTP/1 and compression: the edge translates, and a compressed
//! message may be a bomb.

use std::{future::Future, time::Duration};

use tonic::{
    service::Routes,
    transport::{Server, ServerTlsConfig},
};

use crate::{config::MeshTls, listen::Listener, memory::Incoming, rpc::RpcLayer};

/// Edge replicas times their connections, with room for other services.
pub const CONNECTIONS_MAX: usize = 256;
/// One request message; the largest today is below 1 KiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Calls at a time on one connection; the process-wide cap is in `rpc`.
const STREAMS_MAX: u32 = 256;
/// A token of 8 KiB, ids and forwarded headers fit; hyper refuses the rest.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Holding a slot without finishing the handshake costs nothing but this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds peers that vanished without closing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Rapid reset (CVE-2023-44487): opened and cancelled streams we put up with.
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_ERROR_RESETS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("gRPC server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `routes` behind `layer` until `stop`, then sends GOAWAY and waits for
/// the calls in flight. The caller bounds that wait: hyper can hang on a peer
/// that never answers (hyperium/hyper#4170).
///
/// # Errors
/// TLS material that rustls refuses.
pub async fn grpc(
    listener: Listener,
    tls: MeshTls,
    layer: RpcLayer,
    routes: Routes,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let tls = ServerTlsConfig::new()
        .identity(tls.identity)
        .client_ca_root(tls.client_ca)
        .timeout(HANDSHAKE_TIMEOUT);
    server()
        .tls_config(tls)?
        .layer(layer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(Box::pin(listener.into_stream()), stop)
        .await?;
    Ok(())
}

/// The same for callers within the process.
///
/// # Errors
/// None today; a pipe that breaks ends its connection only.
pub async fn memory(
    incoming: Incoming,
    layer: RpcLayer,
    routes: Routes,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    server()
        .layer(layer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop)
        .await?;
    Ok(())
}

/// How long a call may take is bounded in `rpc`: tonic would answer CANCELLED.
fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS_MAX))
}
