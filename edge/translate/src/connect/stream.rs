//! Streams: messages with prefixes, and the status in the last of them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;

use super::{check_version, codec, find};
use crate::answer_frames::{AnswerFrames, Write, failed};
use crate::compression::{Coding, Unknown};
use crate::dialect::{Codec, Dialect};
use crate::framing::{self, COMPRESSED, Frame};
use crate::metadata;
use crate::request_frames::{self, RequestBody, RequestFrames};
use crate::rpc::Rpc;
use crate::server::ResponseBody;
use crate::status::connect;
use crate::status::failure;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Upstream};

const ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");

/// What a client asks for in its head.
struct Asked {
    rpc: Arc<Rpc>,
    /// Of its messages.
    sent: Option<Coding>,
    /// Of those it is answered with.
    accepted: Option<Coding>,
}

pub(crate) async fn answer<S: Upstream>(
    translator: Arc<Translator>,
    mut service: S,
    codec: Codec,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Rejection> {
    let dialect = Dialect::ConnectStream(codec);
    let (head, body) = request.into_parts();
    let asked = find(&translator, &head.method, head.uri.path(), dialect)
        .and_then(|rpc| asked(rpc, &head.headers));
    let Asked {
        rpc,
        sent,
        accepted,
    } = match asked {
        Ok(asked) => asked,
        Err(rejection) => {
            request_frames::drain(body).await;
            return Err(rejection);
        }
    };
    let bytes_max = translator.options().request_message_bytes_max;
    let convert = {
        let (translator, rpc) = (translator.clone(), rpc.clone());
        move |frame| convert(&translator, &rpc, codec, sent, frame)
    };
    let frames = RequestFrames::new(body, false, bytes_max, convert);
    let (body, refused) = frames.into_call(&rpc).await?;
    let metadata = super::metadata(head.headers)?;
    let bytes_max = translator.options().response_message_bytes_max;
    let opened = upstream::open(&mut service, &rpc, metadata, body, bytes_max)
        .await
        .map_err(|failure| failed(&rpc, &refused, failure))?;
    let mut headers = metadata::headers(opened.initial);
    let content_type = HeaderValue::from_static(dialect.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Coding::NAMES));
    if let Some(coding) = accepted {
        headers.insert(ENCODING, HeaderValue::from_static(coding.name()));
    }
    let writer = Writer {
        translator,
        rpc: rpc.clone(),
        codec,
        coding: accepted,
    };
    let body = AnswerFrames::new(rpc, opened.messages, refused, writer);
    let mut response = Response::new(body.boxed_unsync());
    *response.headers_mut() = headers;
    Ok(response)
}

fn asked(rpc: Arc<Rpc>, headers: &HeaderMap) -> Result<Asked, Rejection> {
    check_version(headers)?;
    let accepted = headers.get(ACCEPT_ENCODING);
    Ok(Asked {
        rpc,
        sent: Coding::sent_by(headers, ENCODING).map_err(|Unknown| Rejection::coding_unknown())?,
        accepted: accepted.and_then(|list| Coding::accepted(list.to_str().ok()?)),
    })
}

/// The frame of the call.
fn convert(
    translator: &Translator,
    rpc: &Rpc,
    codec: Codec,
    coding: Option<Coding>,
    frame: Frame,
) -> Result<Bytes, Rejection> {
    let refuse = |reason: String| Err(Rejection::bad_request("malformed_body", reason));
    let coding = match frame.flags {
        0 => None,
        COMPRESSED if coding.is_some() => coding,
        COMPRESSED => {
            return refuse("a compressed message without `connect-content-encoding`".to_owned());
        }
        flags => return refuse(format!("a message with the flags `{flags:#04x}`")),
    };
    let message = codec::unpacked(translator, coding, frame.bytes)?;
    codec::request(translator, rpc, codec, &message)
}

struct Writer {
    translator: Arc<Translator>,
    rpc: Arc<Rpc>,
    codec: Codec,
    coding: Option<Coding>,
}

impl Write for Writer {
    fn message(&mut self, frame: Frame) -> Result<Bytes, Rejection> {
        let message = codec::response(&self.translator, &self.rpc, self.codec, frame)?;
        let compressed = self.coding.and_then(|coding| coding.compress(&message));
        match compressed {
            Some(small) => framing::frame(COMPRESSED, &small),
            None => framing::frame(0, &message),
        }
        .ok_or_else(|| {
            let cause = upstream::Failure::TooLarge(message.len());
            failure::reject(&self.rpc, cause)
        })
    }

    fn end(&mut self, end: Result<HeaderMap, Rejection>) -> Bytes {
        match end {
            Ok(metadata) => connect::end(None, &metadata),
            Err(rejection) => {
                let metadata = rejection.metadata();
                rejection.tell(|told| connect::end(Some(told), &metadata))
            }
        }
    }
}
