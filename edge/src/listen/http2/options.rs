//! Every limit of the h2 crate, set on purpose.

use std::time::Duration;

use h2::server::Builder;

use crate::listen::Bounds;

/// Request body bytes in flight on one stream: 20 MiB/s at a round trip of 12 ms.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for all streams of a connection together: what uploads to slow upstreams can make us hold.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The smallest that is allowed (RFC 9113, 4.2); what is being read is held whole.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Dynamic table of the decoder (RFC 7541, 4.2): its default, which every client knows how to use.
const HEADER_TABLE_BYTES: u32 = 4 * 1024;
/// Response bytes that wait for a stream's window.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that the client reset before the loop saw them. A turn of the guard is shorter than this,
/// so only resets within one read come near it.
const PENDING_RESETS_MAX: usize = 64;
/// Streams reset by us of which frames may still come; those are ignored, later ones are errors.
const REMEMBERED_RESETS_MAX: usize = 64;
/// How long those are remembered: some round trips.
const REMEMBERED_RESETS_FOR: Duration = Duration::from_secs(5);
/// Streams that the client made us reset, over the life of a connection: malformed requests, frames
/// on closed streams, windows over their maximum (CVE-2025-8671), more streams than allowed. A client
/// that opens too many before it has read our SETTINGS is right to, once.
const FORCED_RESETS_MAX: usize = 256;

pub(super) fn options(bounds: &Bounds) -> Builder {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(bounds.streams_max)
        .max_header_list_size(bounds.header_list_bytes_max)
        .header_table_size(HEADER_TABLE_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_concurrent_reset_streams(REMEMBERED_RESETS_MAX)
        .reset_stream_duration(REMEMBERED_RESETS_FOR)
        .max_local_error_reset_streams(Some(FORCED_RESETS_MAX))
        // RFC 8441: WebSockets; every other `:protocol` is refused by the stages.
        .enable_connect_protocol();
    options
}
