//! The requests of one HTTP/1.1 connection, one after the other.
//!
//! The loop is ours, because the head deadline must be armed again before each request.

use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::http::ServerSession;

use super::Accepting;
use super::stream::DownstreamStream;

/// Serve until the client or the application ends the connection.
pub(super) async fn serve<A>(stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let connection = stream.connection();
    let mut session = ServerSession::new_http1(Box::new(stream));
    session.set_keepalive(Some(accepting.bounds.keepalive_timeout.as_secs()));
    session.set_keepalive_reuses_remaining(Some(accepting.bounds.keepalive_requests_max));
    loop {
        let next = accepting
            .app
            .process_new_http(session, &accepting.shutdown)
            .await;
        let Some((stream, settings)) = next.map(|reused| reused.consume()) else {
            return;
        };
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            HttpPersistentSettings::apply_to_session(settings, &mut session);
        }
        connection.head_deadline.arm_again();
    }
}
