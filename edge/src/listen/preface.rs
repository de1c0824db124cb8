//! Which protocol a plain connection speaks: HTTP/2 begins with a preface that is no HTTP/1.1 request.
//!
//! One byte that differs decides, so a short request is never waited for (Pingora waits for all 24).

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::http2::PREFACE;
use super::socket::Socket;

/// Read until it is clear, and give back what was read. An error where it is not clear in time: the
/// client sends nothing, or the preface byte by byte.
pub(super) async fn is_h2(socket: &mut Socket, time: Duration) -> io::Result<bool> {
    tokio::time::timeout(time, detect(socket)).await?
}

async fn detect(socket: &mut Socket) -> io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    let is_h2 = loop {
        if !PREFACE.starts_with(&seen) {
            break false;
        }
        if seen.len() == PREFACE.len() {
            break true;
        }
        let missing = u64::try_from(PREFACE.len() - seen.len()).unwrap_or(0);
        if (&mut *socket).take(missing).read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    socket.unread(seen);
    Ok(is_h2)
}
