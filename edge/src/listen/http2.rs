//! The streams of one HTTP/2 connection, each in a task of its own.
//!
//! The loop is ours, so that the connection can be judged as a whole: by the frames that its client
//! sends (`guard`), by the requests it was refused, by the tasks it keeps running. Whoever goes too
//! far gets a GOAWAY that says so, and the socket is closed.

mod frames;
mod budget;
mod guard;
mod options;
mod quiet;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use h2::Reason;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{
    Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Ssl, Stream,
};
use pingora_error::Error;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Accepting;
use super::extended_connect::show_as_upgrade;
use super::stream::DownstreamStream;
use budget::Breach;
use guard::Watch;
use quiet::until_quiet;

pub(super) use frames::PREFACE;
pub(super) use guard::{FrameGuard, Watch as FrameWatch};

/// Requests refused before the application saw them, for each connection.
const MALFORMED_MAX: u32 = 32;
/// Tasks for each stream that a client may have open: a task may still be at work, connecting to an
/// upstream for instance, when its stream was reset and another one took its place.
const TASKS_PER_STREAM: usize = 2;
/// How long the last frames, with the reason for the end among them, may take to leave.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection without requests may stay once we are draining: a client that lives answers
/// our PING and is let go at once.
const DRAIN_QUIET: Duration = Duration::from_secs(5);

type Connection = h2::server::Connection<Stream, Bytes>;

/// What the loop woke up for.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each request: a box would be one more allocation"
)]
enum Event {
    Draining,
    Accepted(HttpSession),
    Malformed,
    Breach(Breach),
    /// The connection is over, with the error that ended it if one did.
    Ended(Option<Box<Error>>),
    Idle,
    NoSettings,
}

/// Serve until the client ends the connection, breaks a bound, is idle for too long, or the drain is
/// over.
pub(super) async fn serve<A>(mut stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let client = stream.connection().client;
    let watch = stream.guard_frames();
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let bounds = &accepting.bounds;
    // The connection preface is 24 bytes and SETTINGS (RFC 9113, 3.4): one deadline for both.
    let greeting = tokio::time::sleep(bounds.head_timeout);
    let mut greeting = pin!(greeting);
    let options = Some(options::options(bounds));
    let connection = tokio::select! {
        connection = handshake(Box::new(stream), options) => connection,
        () = &mut greeting => return accepting.observer.connection_refused("h2_preface_timeout"),
    };
    let mut connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            debug!(%client, %error, "h2 handshake failed");
            return accepting.observer.connection_refused("handshake_failed");
        }
    };
    let running = TaskTracker::new();
    // A closed tracker still takes tasks; it only lets `wait` end when there are none.
    running.close();
    let tasks_max = TASKS_PER_STREAM * usize::try_from(bounds.streams_max).unwrap_or(usize::MAX);
    let mut draining = false;
    let mut malformed = 0;
    let breach = loop {
        let silence = if draining {
            DRAIN_QUIET
        } else {
            bounds.keepalive_timeout
        };
        let event = tokio::select! {
            biased;
            () = accepting.stop.cancelled(), if !draining => Event::Draining,
            event = next(&mut connection, &digest, &watch) => event,
            () = &mut greeting, if !watch.is_greeted() => Event::NoSettings,
            () = until_quiet(&running, &watch, silence) => Event::Idle,
        };
        match event {
            Event::Draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            Event::Accepted(_) if running.len() >= tasks_max => {
                break Breach::calm("h2_task_backlog");
            }
            Event::Accepted(session) => spawn(session, &running, accepting),
            Event::Malformed => malformed += 1,
            Event::Breach(breach) => break breach,
            // They came while we waited.
            Event::NoSettings if watch.is_greeted() => {}
            Event::NoSettings => break Breach::new("h2_preface_timeout", Reason::SETTINGS_TIMEOUT),
            Event::Ended(error) => return report(error, client, accepting),
            Event::Idle => return,
        }
        if malformed >= MALFORMED_MAX {
            break Breach::calm("h2_malformed_flood");
        }
    };
    debug!(%client, reason = breach.name, "h2 connection closed");
    accepting.observer.connection_refused(breach.name);
    connection.abrupt_shutdown(breach.reason);
    let last_frames = poll_fn(|cx| connection.poll_closed(cx));
    let _ = tokio::time::timeout(GOAWAY_TIMEOUT, last_frames).await;
}

/// The next event of the connection. Nothing is lost when it is dropped half way.
async fn next(connection: &mut Connection, digest: &Arc<Digest>, watch: &Watch) -> Event {
    let mut accept = pin!(HttpSession::from_h2_conn(connection, digest.clone()));
    poll_fn(|cx| {
        let accepted = accept.as_mut().poll(cx);
        if let Some(breach) = watch.breach() {
            return Poll::Ready(Event::Breach(breach));
        }
        let event = match accepted {
            Poll::Pending => {
                watch.end_turn();
                return Poll::Pending;
            }
            Poll::Ready(Ok(Some(H2Accept::Session(session)))) => Event::Accepted(session),
            Poll::Ready(Ok(Some(H2Accept::Rejected))) => Event::Malformed,
            Poll::Ready(Ok(None)) => Event::Ended(None),
            Poll::Ready(Err(error)) => Event::Ended(Some(error)),
        };
        Poll::Ready(event)
    })
    .await
}

fn spawn<A>(mut session: HttpSession, running: &TaskTracker, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    // Reset by the client already: nobody waits for this answer.
    if session.idle().now_or_never().is_some() {
        return;
    }
    let (app, shutdown) = (accepting.app.clone(), accepting.shutdown.clone());
    running.spawn(async move {
        let mut session = ServerSession::new_http2(session);
        if show_as_upgrade(session.req_header_mut()).is_err() {
            let _ = session.respond_error(400).await;
            return;
        }
        app.process_new_http(session, &shutdown).await;
    });
}

/// Count what the h2 crate closed a connection for; clients that just go are no news.
fn report<A>(error: Option<Box<Error>>, client: SocketAddr, accepting: &Accepting<A>) {
    let Some(error) = error else {
        return;
    };
    debug!(%client, %error, "h2 connection ended");
    let cause = error.cause.as_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    match cause
        .filter(|cause| cause.is_library())
        .map(h2::Error::reason)
    {
        Some(Some(Reason::ENHANCE_YOUR_CALM)) => accepting.observer.connection_refused("h2_flood"),
        Some(_) => accepting.observer.connection_refused("h2_protocol_error"),
        None => {}
    }
}
