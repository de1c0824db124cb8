//! One message there, one message back, as plain HTTP.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;

use super::{check_version, codec, find, get};
use crate::compression::{Coding, Unknown};
use crate::dialect::{Codec, Dialect};
use crate::json::body;
use crate::metadata;
use crate::request_frames::{self, RequestBody};
use crate::rpc::Rpc;
use crate::server::ResponseBody;
use crate::status::connect::put_trailers;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Upstream};

pub(crate) async fn answer<S: Upstream>(
    translator: Arc<Translator>,
    mut service: S,
    codec: Codec,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Rejection> {
    let (head, mut body) = request.into_parts();
    let bytes_max = translator.options().request_message_bytes_max;
    let asked = asked(&translator, codec, &head);
    let read = match asked {
        Ok(Asked { rpc, sent, coding }) => match sent {
            Some(message) => Ok((rpc, message, coding)),
            None => collect(&mut body, bytes_max)
                .await
                .map(|message| (rpc, message, coding)),
        },
        Err(rejection) => Err(rejection),
    };
    let (rpc, message, coding) = match read {
        Ok(read) => read,
        Err(rejection) => {
            request_frames::drain(body).await;
            return Err(rejection);
        }
    };
    let message = codec::unpacked(&translator, coding, message)?;
    let frame = codec::request(&translator, &rpc, codec, &message)?;
    drop(message);
    let metadata = super::metadata(head.headers)?;
    let bytes_max = translator.options().response_message_bytes_max;
    let sent = Body::new(Full::new(frame));
    let reply = upstream::call(&mut service, &rpc, metadata, sent, bytes_max)
        .await
        .map_err(|failure| reject(&rpc, failure))?;
    let mut headers = metadata::headers(reply.initial);
    put_trailers(&mut headers, metadata::headers(reply.trailers));
    let content_type = Dialect::ConnectUnary(codec).content_type();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let message = codec::response(&translator, &rpc, codec, reply.frame)?;
    let body = Full::new(message).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.headers_mut() = headers;
    Ok(response)
}

/// What a client asks for in its head.
struct Asked {
    rpc: Arc<Rpc>,
    /// The message, where it is in the query.
    sent: Option<Bytes>,
    coding: Option<Coding>,
}

fn asked(translator: &Translator, codec: Codec, head: &Parts) -> Result<Asked, Rejection> {
    let dialect = Dialect::ConnectUnary(codec);
    let rpc = find(translator, &head.method, head.uri.path(), dialect)?;
    check_version(&head.headers)?;
    let (sent, coding) = if head.method == Method::GET {
        let (message, coding) = get::message(head.uri.query().unwrap_or_default())?;
        (Some(message), coding)
    } else {
        let coding = Coding::sent_by(&head.headers, CONTENT_ENCODING)
            .map_err(|Unknown| Rejection::coding_unknown())?;
        (None, coding)
    };
    Ok(Asked { rpc, sent, coding })
}

async fn collect(body: &mut RequestBody, bytes_max: usize) -> Result<Bytes, Rejection> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| body::incomplete())?.into_data() else {
            continue;
        };
        if data.len() > bytes_max - collected.len() {
            return Err(Rejection::body_too_large(bytes_max));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}
