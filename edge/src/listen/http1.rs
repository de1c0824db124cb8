//! The requests of one HTTP/1.1 connection, one after the other.
//!
//! The loop is ours, because a head must be judged before anything is built on it: `head` says
//! what a good one is, `guard` hands out one request at a time, and here is how long each may take.

pub mod refusal;
mod field;
mod start_line;
pub mod head;
pub mod chunked;
pub(super) mod guard;

use std::future::poll_fn;

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use self::head::HeadReader;
use self::refusal::Refusal;
use super::Accepting;
use super::stream::DownstreamStream;

/// Serve until the client or the application ends the connection.
pub(super) async fn serve<A>(stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let bounds = &accepting.bounds;
    let mut stream = Box::new(stream);
    // The first head is due from the moment of the accept.
    let mut deadline = Some(Instant::now() + bounds.head_timeout);
    for requests_left in (0..bounds.keepalive_requests_max).rev() {
        let head = match next_head(&mut stream, accepting, deadline.take()).await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(refusal) => return refuse(*stream, accepting, refusal).await,
        };
        let mut session = HttpSession::new(stream);
        // Pingora parses these bytes before it reads any, and finds the whole head in them.
        session.set_pipelined_prefix(head);
        session.set_keepalive_reuses_remaining(Some(requests_left));
        let session = ServerSession::H1(session);
        let next = accepting
            .app
            .process_new_http(session, &accepting.shutdown)
            .await;
        let reused = next.map(|reused| reused.consume().0.into_any().downcast());
        let Some(Ok(reused)) = reused else {
            return;
        };
        stream = reused;
    }
}

/// The next head, judged; none where the connection ended, or was silent for too long.
async fn next_head<A>(
    stream: &mut DownstreamStream,
    accepting: &Accepting<A>,
    deadline: Option<Instant>,
) -> Result<Option<BytesMut>, Refusal> {
    let bounds = &accepting.bounds;
    if stream.guard().held().is_empty() {
        let silence_ends = deadline.unwrap_or_else(|| Instant::now() + bounds.keepalive_timeout);
        let first = tokio::select! {
            biased;
            first = timeout_at(silence_ends, fill(stream)) => first,
            // Nothing is owed to a client that has asked for nothing.
            () = accepting.close_idle.cancelled() => return Ok(None),
        };
        if !matches!(first, Ok(true)) {
            return Ok(None);
        }
    }
    let deadline = deadline.unwrap_or_else(|| Instant::now() + bounds.head_timeout);
    timeout_at(deadline, read_head(stream))
        .await
        .unwrap_or(Err(Refusal::TooSlow))
}

async fn read_head(stream: &mut DownstreamStream) -> Result<Option<BytesMut>, Refusal> {
    let mut reader = HeadReader::default();
    loop {
        if let Some(head) = reader.advance(stream.guard().held())? {
            return Ok(Some(stream.guard_mut().begin(&head)));
        }
        if !fill(stream).await {
            return Ok(None);
        }
    }
}

/// Read ahead; false where the connection ended.
async fn fill(stream: &mut DownstreamStream) -> bool {
    matches!(poll_fn(|cx| stream.poll_fill(cx)).await, Ok(1..))
}

/// Tell the client, and close: nobody knows where its next request begins.
async fn refuse<A>(mut stream: DownstreamStream, accepting: &Accepting<A>, refusal: Refusal) {
    let answer = accepting
        .answers
        .head_refused(&stream.connection(), refusal);
    if refusal == Refusal::TooSlow {
        stream.abandon();
    }
    let write = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    // A client that does not read its answer is not waited for.
    let _ = timeout(accepting.bounds.head_timeout, write).await;
}
