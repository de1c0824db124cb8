//! Which protocol a plain connection speaks: HTTP/2 begins with a preface that is no HTTP/1.1 request.
//!
//! One byte that differs decides, so a short request is never waited for (Pingora waits for all 24).

use std::future::poll_fn;
use std::io;

use super::http2::PREFACE;
use super::stream::DownstreamStream;

/// Read ahead until it is clear. What was read stays in the stream.
pub(super) async fn is_h2(stream: &mut DownstreamStream) -> io::Result<bool> {
    loop {
        let held = stream.guard().held();
        if held.starts_with(PREFACE) {
            return Ok(true);
        }
        if !PREFACE.starts_with(held) || poll_fn(|cx| stream.poll_fill(cx)).await? == 0 {
            return Ok(false);
        }
    }
}
