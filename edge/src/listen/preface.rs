//! Which protocol a plain connection speaks: HTTP/2 begins with a preface that is no HTTP/1.1 request.
//!
//! One byte that differs decides, so a short request is never waited for (Pingora waits for all 24).
//! The stream's head deadline ends a client that sends nothing, or the preface byte by byte.

use std::io;

use tokio::io::AsyncReadExt;

use super::http2::PREFACE;
use super::stream::DownstreamStream;

/// Read until it is clear, and give back what was read.
pub(super) async fn is_h2(stream: &mut DownstreamStream) -> io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    let is_h2 = loop {
        if !PREFACE.starts_with(&seen) {
            break false;
        }
        if seen.len() == PREFACE.len() {
            break true;
        }
        let missing = u64::try_from(PREFACE.len() - seen.len()).unwrap_or(0);
        if (&mut *stream).take(missing).read_buf(&mut seen).await? == 0 {
            break false;
        }
    };
    stream.unread(seen);
    Ok(is_h2)
}
