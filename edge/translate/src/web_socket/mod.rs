//! Streams of messages on a WebSocket (RFC 6455): a frame is a message, the close code is the status.
//!
//! Invariant: of each direction one message is held. The next frame is read once the call took the
//! last one, the next message once the socket took the last one. When the client leaves the call is
//! reset, never ended: half of what it had to say is not all of it.

mod call;
mod conversation;
mod ending;
mod handshake;
mod messages;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade;
use tokio::time::timeout;

use self::call::Call;
use self::conversation::Conversation;
use self::handshake::Handshake;
pub(crate) use self::handshake::is_handshake;
use self::messages::Messages;
use crate::metadata;
use crate::server::ResponseBody;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::Upstream;

/// How long a service may take to refuse before the client is let in. Many send their head with
/// their first message only, which may be an answer to a client's, and that comes after the 101.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);

/// What follows the 101, on the same connection.
pub(crate) type Upgraded = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Begins the call that the handshake is for, and answers 101.
///
/// # Errors
/// There is none, the handshake is none, or the service refused at once.
pub(crate) async fn open<B, S>(
    translator: &Arc<Translator>,
    service: S,
    mut request: Request<B>,
) -> Result<(Response<ResponseBody>, Upgraded), Rejection>
where
    B: Send,
    S: Upstream,
{
    let upgraded = upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let handshake = Handshake::read(&head.headers)?;
    let messages = Messages::of(translator.clone(), &head.uri, handshake.codec)?;
    let (sender, body) = messages.requests()?;
    let mut fields = head.headers;
    handshake::forget(&mut fields);
    let rpc = messages.rpc().clone();
    let bytes_max = translator.options().response_message_bytes_max;
    let mut call = Call::begin(
        service,
        rpc.clone(),
        metadata::request(fields),
        body,
        bytes_max,
    );
    if let Ok(Err(failure)) = timeout(REFUSAL_WAIT, call.opened()).await {
        return Err(reject(&rpc, failure));
    }
    let conversation = Conversation::new(messages, call, sender);
    let body = Empty::new().map_err(|never| match never {});
    let response = handshake.accepted(body.boxed_unsync());
    Ok((response, Box::pin(conversation.run(upgraded))))
}
