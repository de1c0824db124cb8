//! Plain HTTP: a request bound to an RPC by its method and path.

mod accept;
mod call;
mod client_stream;
mod events;
mod raw_body;
mod server_stream;
mod split;
mod unary;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::StdError;

use self::client_stream::Verdict;
use crate::json::body;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::status::problem::Rejection;
use crate::translator::{Find, Translator};
use crate::upstream::Upstream;

pub use client_stream::is_lines;

/// Answers a request by the binding of its path.
///
/// What a service says in its initial metadata becomes response headers.
pub(crate) async fn answer<B, S>(
    translator: &Arc<Translator>,
    service: S,
    request: Request<B>,
) -> Result<Response<ResponseBody>, Rejection>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    S: Upstream,
{
    let binding = match find(translator, &request) {
        Ok(binding) => binding,
        Err(rejection) => {
            body::drain(pin!(request.into_body())).await;
            return Err(rejection);
        }
    };
    let (head, body) = request.into_parts();
    let sent = if raw_body::is_taken(binding) {
        raw_body::messages(translator, binding, &head, body).await?
    } else if binding.rpc.client_streams {
        client_stream::messages(translator, binding, &head, body)?
    } else {
        let frame = unary::frame(translator, binding, &head, body).await?;
        (Body::new(Full::new(frame)), Verdict::none())
    };
    if binding.rpc.server_streams {
        return match raw_body::is_given(binding) {
            true => raw_body::stream(translator, binding, service, head, sent).await,
            false => server_stream::answer(translator, binding.clone(), service, head, sent).await,
        };
    }
    let reply = client_stream::call(translator, binding, service, head.headers, sent).await?;
    match raw_body::is_given(binding) {
        true => raw_body::whole(binding, reply),
        false => unary::json(translator.options(), binding, reply),
    }
}

fn find<'t, B>(
    translator: &'t Translator,
    request: &Request<B>,
) -> Result<&'t Arc<Binding>, Rejection> {
    match translator.find(request.method(), request.uri().path()) {
        Find::Found(binding) => Ok(binding),
        Find::MethodNotAllowed { allow } => Err(Rejection::method_not_allowed(&allow)),
        Find::NotFound => Err(Rejection::not_found()),
    }
}
