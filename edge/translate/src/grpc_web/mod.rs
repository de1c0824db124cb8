//! gRPC-Web: the frames of gRPC over any HTTP, with the trailers as the last of them.
//!
//! Source: gRPC's PROTOCOL-WEB document. Frames pass as they are, compressed or not, so a service sees
//! what a gRPC client would have sent. An answer without messages has its trailers in the head.

pub(crate) mod text;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use tonic::Code;

use crate::answer_frames::{AnswerFrames, Write, failed};
use crate::compression::Coding;
use crate::dialect::Dialect;
use crate::framing::{self, COMPRESSED, Frame};
use crate::metadata;
use crate::request_frames::{self, RequestBody, RequestFrames};
use crate::rpc::Rpc;
use crate::server::ResponseBody;
use crate::status::failure;
use crate::status::problem::Rejection;
use crate::status::render::Told;
use crate::translator::Translator;
use crate::upstream::{self, Upstream};

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// How messages are compressed is between the client and the service.
const ENCODINGS: [HeaderName; 2] = [
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

pub(crate) async fn answer<S: Upstream>(
    translator: Arc<Translator>,
    mut service: S,
    dialect: Dialect,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Rejection> {
    let (head, body) = request.into_parts();
    let rpc = match find(&translator, &head.method, head.uri.path()) {
        Ok(rpc) => rpc,
        Err(rejection) => {
            request_frames::drain(body).await;
            return Err(rejection);
        }
    };
    let is_text = dialect == Dialect::GrpcWeb { is_text: true };
    let bytes_max = translator.options().request_message_bytes_max;
    let encodings = encodings(&head.headers);
    let convert = {
        let (translator, rpc) = (translator.clone(), rpc.clone());
        let coding = coding(&encodings);
        move |frame| convert(&translator, &rpc, coding, frame)
    };
    let frames = RequestFrames::new(body, is_text, bytes_max, convert);
    let (body, refused) = frames.into_call(&rpc).await?;
    let mut sent = metadata::request(head.headers);
    sent.extend(encodings);
    let bytes_max = translator.options().response_message_bytes_max;
    let opened = upstream::open(&mut service, &rpc, sent, body, bytes_max)
        .await
        .map_err(|failure| failed(&rpc, &refused, failure))?;
    let encodings = self::encodings(&opened.initial);
    let mut headers = metadata::headers(opened.initial);
    headers.extend(encodings);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(dialect.content_type()),
    );
    let writer = Writer {
        rpc: rpc.clone(),
        is_text,
    };
    let body = AnswerFrames::new(rpc, opened.messages, refused, writer);
    let mut response = Response::new(body.boxed_unsync());
    *response.headers_mut() = headers;
    Ok(response)
}

fn find(translator: &Translator, method: &Method, path: &str) -> Result<Arc<Rpc>, Rejection> {
    if *method != Method::POST {
        return Err(Rejection::method_not_allowed(&[Method::POST]));
    }
    let rpc = translator.rpc(path).ok_or_else(Rejection::rpc_not_found)?;
    Ok(rpc.clone())
}

fn encodings(headers: &HeaderMap) -> HeaderMap {
    let mut found = HeaderMap::new();
    for name in ENCODINGS {
        if let Some(value) = headers.get(&name) {
            found.insert(name, value.clone());
        }
    }
    found
}

/// Of the request's messages, where it is one that is known here too.
fn coding(encodings: &HeaderMap) -> Option<Coding> {
    let [sent, _] = &ENCODINGS;
    Coding::of(encodings.get(sent)?.to_str().ok()?)
}

/// Passes a message on as it is, once it keeps to the rules that it has.
fn convert(
    translator: &Translator,
    rpc: &Rpc,
    coding: Option<Coding>,
    frame: Frame,
) -> Result<Bytes, Rejection> {
    // Trailers are the service's to send.
    if frame.flags > COMPRESSED {
        let reason = format!("a message with the flags `{:#04x}`", frame.flags);
        return Err(Rejection::bad_request("malformed_body", reason));
    }
    if frame.flags == 0 {
        translator.check_encoded(rpc, &frame.bytes)?;
    } else if translator.checks(rpc) {
        let bytes_max = translator.options().request_message_bytes_max;
        let message = coding
            .ok_or_else(Rejection::coding_unknown)?
            .decompress(&frame.bytes, bytes_max)
            .map_err(|refused| Rejection::compression("the message", &refused))?;
        translator.check_encoded(rpc, &message)?;
    }
    framing::frame(frame.flags, &frame.bytes)
        .ok_or_else(|| Rejection::body_too_large(frame.bytes.len()))
}

struct Writer {
    rpc: Arc<Rpc>,
    is_text: bool,
}

impl Writer {
    fn encode(&self, frame: Bytes) -> Bytes {
        if self.is_text {
            text::encode(&frame)
        } else {
            frame
        }
    }
}

impl Write for Writer {
    fn message(&mut self, frame: Frame) -> Result<Bytes, Rejection> {
        if frame.flags > COMPRESSED {
            let cause = upstream::Failure::Protocol(format!("flags `{:#04x}`", frame.flags));
            return Err(failure::reject(&self.rpc, cause));
        }
        framing::frame(frame.flags, &frame.bytes)
            .map(|frame| self.encode(frame))
            .ok_or_else(|| {
                let cause = upstream::Failure::TooLarge(frame.bytes.len());
                failure::reject(&self.rpc, cause)
            })
    }

    fn end(&mut self, end: Result<HeaderMap, Rejection>) -> Bytes {
        let mut trailers = HeaderMap::new();
        match end {
            Ok(sent) => {
                let ok = Told {
                    code: Code::Ok,
                    message: "",
                    details: &[],
                    pool: None,
                };
                ok.put_trailers(&mut trailers);
                metadata::append(&mut trailers, sent);
            }
            Err(rejection) => {
                rejection.tell(|told| told.put_trailers(&mut trailers));
                metadata::append(&mut trailers, rejection.metadata());
            }
        }
        let frame = framing::frame(TRAILERS, &block(&trailers)).unwrap_or_default();
        self.encode(frame)
    }
}

/// As HTTP/1.1 writes header fields, names in lower case, without the empty line behind them.
fn block(trailers: &HeaderMap) -> Bytes {
    let mut block = BytesMut::new();
    for (name, value) in trailers {
        block.put_slice(name.as_str().as_bytes());
        block.put_slice(b": ");
        block.put_slice(value.as_bytes());
        block.put_slice(b"\r\n");
    }
    block.freeze()
}
