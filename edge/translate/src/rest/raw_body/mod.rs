//! Bodies of any type: `google.api.HttpBody` in requests and responses.
//!
//! Invariant: a stream is never held whole. Its upload is read as the service takes it, its download
//! as the client takes it; either side that leaves ends the call.

mod download;
mod form;
mod message;
mod upload;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::{Body as Incoming, Frame};
use http_body_util::{Full, StreamBody};
use prost::Message;
use prost_reflect::DynamicMessage;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;

use self::message::HttpBody;
use self::upload::{Piece, Upload};
use super::unary;
use crate::framing::PREFIX_BYTES;
use crate::metadata;
use crate::options::Options;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Failure, Upstream};

/// Whether the binding has such a body, and no stream of anything else.
pub(super) fn answers(binding: &Binding) -> bool {
    let (is_taken, is_given) = (message::is_taken(binding), message::is_given(binding));
    (is_taken || is_given && !binding.rpc.client_streams)
        && (is_given || !binding.rpc.server_streams)
}

pub(super) async fn answer<B, S>(
    translator: &Arc<Translator>,
    binding: &Arc<Binding>,
    service: S,
    request: Request<B>,
) -> Result<Response<ResponseBody>, Rejection>
where
    B: Incoming<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    S: Upstream,
{
    let options = translator.options();
    let (head, body) = request.into_parts();
    if !message::is_taken(binding) {
        let frame = unary::frame(translator, binding, &head, body).await?;
        return call(options, binding, service, head, Body::new(Full::new(frame))).await;
    }
    let mut upload = Upload::new(binding, options, body);
    let begun = upload.begin(options, &head);
    if let Err(rejection) = begun {
        upload.drain().await;
        return Err(rejection);
    }
    if !binding.rpc.client_streams {
        let frame = whole(options, binding, upload).await?;
        check(translator, binding, &frame)?;
        return call(options, binding, service, head, Body::new(Full::new(frame))).await;
    }
    let (refuse, mut refused) = oneshot::channel();
    let sent = pieces(upload, translator.clone(), binding.clone(), refuse);
    let answer = call(options, binding, service, head, sent);
    tokio::select! {
        biased;
        // What is wrong with the upload is why the call fails, should it fail, too.
        Ok(rejection) = &mut refused => Err(rejection),
        answer = answer => answer,
    }
}

/// The whole upload as one message.
async fn whole<B>(
    options: &Options,
    binding: &Binding,
    mut upload: Upload<B>,
) -> Result<Bytes, Rejection>
where
    B: Incoming<Data = Bytes>,
{
    let read = collect(options, binding, &mut upload).await;
    if read.is_err() {
        upload.drain().await;
    }
    read
}

async fn collect<B>(
    options: &Options,
    binding: &Binding,
    upload: &mut Upload<B>,
) -> Result<Bytes, Rejection>
where
    B: Incoming<Data = Bytes>,
{
    let bytes_max = options.request_message_bytes_max;
    let mut data = BytesMut::new();
    let mut content_type = String::new();
    let mut fields = DynamicMessage::new(binding.rpc.input.clone());
    while let Some(piece) = upload.next().await? {
        if data.len() + piece.data.len() > bytes_max {
            return Err(Rejection::body_too_large(bytes_max));
        }
        data.extend_from_slice(&piece.data);
        content_type.push_str(&piece.content_type);
        if let Some(told) = piece.fields {
            // Cannot fail: it is of the same type.
            let _ = fields.merge(told.encode_to_vec().as_slice());
        }
    }
    let data = data.freeze();
    let body = HttpBody { content_type, data };
    message::frame(binding, &body, Some(&fields))
        .ok_or_else(|| Rejection::body_too_large(bytes_max))
}

/// The upload as a stream of messages. What is wrong with it is told to `refuse`.
fn pieces<B>(
    upload: Upload<B>,
    translator: Arc<Translator>,
    binding: Arc<Binding>,
    refuse: oneshot::Sender<Rejection>,
) -> Body
where
    B: Incoming<Data = Bytes> + Send + 'static,
{
    let state = (upload, translator, binding, refuse);
    let frames = stream::try_unfold(state, async |state| {
        let (mut upload, translator, binding, refuse) = state;
        match next(&mut upload, &translator, &binding).await {
            Ok(frame) => {
                let frame = frame.map(Frame::data);
                Ok(frame.map(|frame| (frame, (upload, translator, binding, refuse))))
            }
            Err(rejection) => {
                upload.drain().await;
                // Nobody listens where the service has answered already.
                let _ = refuse.send(rejection);
                Err(Status::cancelled("the upload broke off"))
            }
        }
    });
    Body::new(StreamBody::new(frames))
}

async fn next<B>(
    upload: &mut Upload<B>,
    translator: &Translator,
    binding: &Binding,
) -> Result<Option<Bytes>, Rejection>
where
    B: Incoming<Data = Bytes>,
{
    let Some(piece) = upload.next().await? else {
        return Ok(None);
    };
    // Messages behind the first have no fields, and fields of a form may follow its file: only the
    // service can check these.
    let is_checked = piece.fields.is_some() && !upload.is_form();
    let frame = frame(binding, piece)?;
    if is_checked {
        check(translator, binding, &frame)?;
    }
    Ok(Some(frame))
}

fn check(translator: &Translator, binding: &Binding, frame: &[u8]) -> Result<(), Rejection> {
    let message = frame.get(PREFIX_BYTES..).unwrap_or_default();
    translator.check_encoded(&binding.rpc, message)
}

fn frame(binding: &Binding, piece: Piece) -> Result<Bytes, Rejection> {
    let Piece {
        fields,
        content_type,
        data,
    } = piece;
    let bytes = data.len();
    let body = HttpBody { content_type, data };
    message::frame(binding, &body, fields.as_ref()).ok_or_else(|| Rejection::body_too_large(bytes))
}

async fn call<S>(
    options: &Options,
    binding: &Arc<Binding>,
    mut service: S,
    head: Parts,
    sent: Body,
) -> Result<Response<ResponseBody>, Rejection>
where
    S: Upstream,
{
    let rpc = &*binding.rpc;
    let reject = |failure: Failure| reject(rpc, failure);
    let is_head = head.method == Method::HEAD;
    let metadata = metadata::request(head.headers);
    let bytes_max = options.response_message_bytes_max;
    if rpc.server_streams {
        let opened = upstream::open(&mut service, rpc, metadata, sent, bytes_max);
        let opened = opened.await.map_err(reject)?;
        return download::stream(binding, opened, is_head)
            .await
            .map_err(reject);
    }
    let reply = upstream::call(&mut service, rpc, metadata, sent, bytes_max);
    let reply = reply.await.map_err(reject)?;
    match message::is_given(binding) {
        true => download::whole(binding, reply).map_err(reject),
        false => unary::json(options, binding, reply),
    }
}
