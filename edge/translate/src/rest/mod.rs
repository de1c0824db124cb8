//! Plain HTTP: a request bound to an RPC by its method and path.

mod raw_body;
mod unary;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tonic::codegen::StdError;

use crate::json::body;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::status::problem::Rejection;
use crate::translator::{Find, Translator};
use crate::upstream::Upstream;

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
    if raw_body::answers(binding) {
        return raw_body::answer(translator, binding, service, request).await;
    }
    unary::answer(translator, binding, service, request).await
}

fn find<'t, B>(
    translator: &'t Translator,
    request: &Request<B>,
) -> Result<&'t Arc<Binding>, Rejection> {
    match translator.find(request.method(), request.uri().path()) {
        Find::Found(binding) if binding.rpc.is_streaming() && !raw_body::answers(binding) => {
            Err(Rejection::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_implemented",
                "streams are not translated",
            ))
        }
        Find::Found(binding) => Ok(binding),
        Find::MethodNotAllowed { allow } => Err(Rejection::method_not_allowed(&allow)),
        Find::NotFound => Err(Rejection::not_found()),
    }
}
