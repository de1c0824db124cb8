//! Every setting of quinn that bounds something, in one place (README.md has the table).
//!
//! What is not named here is not a bound: congestion control, loss detection, fairness.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    EndpointConfig, MtuDiscoveryConfig, ServerConfig, TransportConfig, ValidationTokenConfig,
};

use super::generation::{ConnectionIds, Secret};
use crate::listen::Bounds;

/// Bytes one stream may have in flight toward us; also the most that a stalled request pins.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for all streams of a connection. quinn's default is unlimited.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes we keep for retransmission on one connection: what a client that does not read pins.
const SEND_WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Control stream, QPACK encoder and decoder, and room for reserved types (RFC 9114, 6.2.3).
pub(in crate::listen) const UNI_STREAMS_MAX: u32 = 8;
/// Bytes of a handshake that came out of order. A ClientHello has about 2 KiB with a hybrid key.
const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of the largest datagram we take: Ethernet's 1500 without the heads of IPv4 and UDP.
const DATAGRAM_BYTES_MAX: u16 = 1472;
/// Payload of the largest datagram we send, found by probing: Ethernet's 1500 without IPv6 and UDP.
const DATAGRAM_BYTES_SENT_MAX: u16 = 1452;
/// Connection attempts that the accept loop has not looked at yet; above it quinn refuses.
const INCOMING_MAX: usize = 1_024;
/// Bytes kept for one of those after its first datagram: the rest of a ClientHello. Without
/// early data there is nothing else that could come.
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
/// The same for all of them.
const INCOMING_BYTES_TOTAL_MAX: u64 = 4 * 1024 * 1024;
/// How long a client may take to come back with a Retry token (RFC 9000, 8.1.2).
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);
/// Between two stateless resets: two endpoints must not keep each other busy with them.
const STATELESS_RESET_INTERVAL: Duration = Duration::from_millis(20);
/// PINGs of ours within the idle time, so that a lost one ends nothing.
const KEEP_ALIVES: u32 = 4;
/// QUIC version 1 (RFC 9000); quinn would also take the drafts before it.
const QUIC_V1: u32 = 1;

/// For the socket.
pub(super) fn endpoint(secret: &Secret, ids: ConnectionIds) -> anyhow::Result<EndpointConfig> {
    let mut config = EndpointConfig::new(Arc::new(secret.reset_key()));
    config
        .max_udp_payload_size(DATAGRAM_BYTES_MAX)
        .context("size of datagrams")?
        .min_reset_interval(STATELESS_RESET_INTERVAL)
        .supported_versions(vec![QUIC_V1])
        .cid_generator(move || Box::new(ids.clone()));
    Ok(config)
}

/// For the handshake.
pub(super) fn server(
    tls: Arc<rustls::ServerConfig>,
    bounds: &Bounds,
    secret: &Secret,
) -> anyhow::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls).context("tls configuration for quic")?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    // A token of an earlier connection would only save a round trip, and only while Retry is in
    // force; remembering which were used takes memory all the time.
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config
        .validation_token_config(tokens)
        .token_key(Arc::new(secret.token_key()))
        .retry_token_lifetime(RETRY_TOKEN_LIFETIME)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX)
        // Phones change networks and NATs forget ports; whose request it is stays as it was
        // (DECISIONS.md).
        .migration(true)
        .transport_config(Arc::new(transport(bounds)?));
    Ok(config)
}

/// For each connection.
fn transport(bounds: &Bounds) -> anyhow::Result<TransportConfig> {
    let mut probing = MtuDiscoveryConfig::default();
    probing.upper_bound(DATAGRAM_BYTES_SENT_MAX);
    let mut transport = TransportConfig::default();
    transport
        .mtu_discovery_config(Some(probing))
        .max_concurrent_bidi_streams(bounds.streams_max.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        // HTTP datagrams (RFC 9297) are not offered.
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .max_idle_timeout(Some(bounds.keepalive_timeout.try_into()?))
        // Tunnels and slow answers may be silent for longer; connections without a request are
        // ended by their loop, and vanished clients by the line above.
        .keep_alive_interval(Some(bounds.keepalive_timeout / KEEP_ALIVES));
    Ok(transport)
}
