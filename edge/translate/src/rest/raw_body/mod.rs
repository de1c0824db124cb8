//! Bodies of any type: `google.api.HttpBody` in requests and responses.
//!
//! Invariant: a stream is never held whole. Its upload is read as the service takes it, its download
//! as the client takes it; either side that leaves ends the call.

mod download;
mod form;
mod message;
mod upload;

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::request::Parts;
use http::{Method, Response};
use http_body::{Body as Incoming, Frame};
use http_body_util::{Full, StreamBody};
use prost::Message;
use prost_reflect::DynamicMessage;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;

use self::message::HttpBody;
pub(super) use self::message::{is_given, is_taken};
use self::upload::{Piece, Upload};
use super::client_stream::Verdict;
use crate::framing::PREFIX_BYTES;
use crate::metadata;
use crate::options::Options;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::status::failure::reject;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Reply, Upstream};

/// The messages of an upload, ready to be sent.
pub(super) async fn messages<B>(
    translator: &Arc<Translator>,
    binding: &Arc<Binding>,
    head: &Parts,
    body: B,
) -> Result<(Body, Verdict), Rejection>
where
    B: Incoming<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    let options = translator.options();
    let mut upload = Upload::new(binding, options, body);
    let begun = upload.begin(options, head);
    if let Err(rejection) = begun {
        upload.drain().await;
        return Err(rejection);
    }
    if !binding.rpc.client_streams {
        let frame = collected(options, binding, upload).await?;
        check(translator, binding, &frame)?;
        return Ok((Body::new(Full::new(frame)), Verdict::none()));
    }
    let (refuse, refused) = oneshot::channel();
    let sent = pieces(upload, translator.clone(), binding.clone(), refuse);
    Ok((sent, Verdict::told_by(refused)))
}

/// Calls an RPC that answers with a stream of bytes.
pub(super) async fn stream<S>(
    translator: &Translator,
    binding: &Arc<Binding>,
    mut service: S,
    head: Parts,
    (sent, mut verdict): (Body, Verdict),
) -> Result<Response<ResponseBody>, Rejection>
where
    S: Upstream,
{
    let rpc = &*binding.rpc;
    let is_head = head.method == Method::HEAD;
    let metadata = metadata::request(head.headers);
    let bytes_max = translator.options().response_message_bytes_max;
    let answer = async {
        let opened = upstream::open(&mut service, rpc, metadata, sent, bytes_max).await?;
        download::stream(binding, opened, is_head).await
    };
    let answer = tokio::select! {
        biased;
        // What is wrong with the upload is why the call fails, should it fail, too.
        rejection = poll_fn(|cx| verdict.poll(cx)) => return Err(rejection),
        answer = answer => answer,
    };
    answer.map_err(|failure| verdict.take().unwrap_or_else(|| reject(rpc, failure)))
}

/// An answer of one message.
pub(super) fn whole(binding: &Binding, reply: Reply) -> Result<Response<ResponseBody>, Rejection> {
    download::whole(binding, reply).map_err(|failure| reject(&binding.rpc, failure))
}

/// The whole upload as one message.
async fn collected<B>(
    options: &Options,
    binding: &Binding,
    mut upload: Upload<B>,
) -> Result<Bytes, Rejection>
where
    B: Incoming<Data = Bytes, Error: Into<StdError>>,
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
    B: Incoming<Data = Bytes, Error: Into<StdError>>,
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
    B: Incoming<Data = Bytes, Error: Into<StdError>> + Send + 'static,
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
    B: Incoming<Data = Bytes, Error: Into<StdError>>,
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
