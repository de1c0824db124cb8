//! The streams of one HTTP/2 connection, each in a task of its own.
//!
//! The loop is ours, so that the connection can be judged as a whole: Pingora's keeps the
//! connection to itself.

use std::sync::Arc;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Ssl};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Accepting;
use super::extended_connect::show_as_upgrade;
use super::stream::DownstreamStream;

/// Requests refused before the application saw them, for each connection.
const MALFORMED_MAX: u32 = 32;

/// Serve until the client ends the connection, is idle for too long, or the drain is over.
pub(super) async fn serve<A>(stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let client = stream.connection().client;
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut connection = match handshake(Box::new(stream), accepting.app.h2_options()).await {
        Ok(connection) => connection,
        Err(error) => {
            debug!(%client, %error, "h2 handshake failed");
            return accepting.observer.connection_refused("handshake_failed");
        }
    };
    let running = TaskTracker::new();
    // A closed tracker still takes tasks; it only lets `wait` end when there are none.
    running.close();
    let mut draining = false;
    let mut malformed = 0;
    loop {
        let idle = async {
            running.wait().await;
            tokio::time::sleep(accepting.bounds.keepalive_timeout).await;
        };
        let accepted = tokio::select! {
            biased;
            () = accepting.stop.cancelled(), if !draining => {
                draining = true;
                connection.graceful_shutdown();
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = idle, if !draining => return,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
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
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                if malformed >= MALFORMED_MAX {
                    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                }
            }
            Ok(None) => return,
            Err(error) => {
                debug!(%client, %error, "h2 connection ended");
                return;
            }
        }
    }
}
