//! A message as a Connect client writes it to the frame of a gRPC call, and back.
//!
//! Invariant: protobuf passes as it is, bounded and not parsed; JSON goes through the reader and the
//! writer that REST has.

use bytes::Bytes;

use crate::compression::Coding;
use crate::dialect::Codec;
use crate::framing::{self, Frame};
use crate::json::read;
use crate::json::reply::{ReplyError, ResponseBody};
use crate::rpc::Rpc;
use crate::status::failure;
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream;

/// The message behind a coding.
pub(super) fn unpacked(
    translator: &Translator,
    coding: Option<Coding>,
    bytes: Bytes,
) -> Result<Bytes, Rejection> {
    match coding {
        Some(coding) => {
            let bytes_max = translator.options().request_message_bytes_max;
            coding
                .decompress(&bytes, bytes_max)
                .map_err(|refused| Rejection::compression("the message", &refused))
        }
        None => Ok(bytes),
    }
}

/// The frame of the call.
pub(super) fn request(
    translator: &Translator,
    rpc: &Rpc,
    codec: Codec,
    bytes: &[u8],
) -> Result<Bytes, Rejection> {
    let too_large = || Rejection::body_too_large(translator.options().request_message_bytes_max);
    match codec {
        Codec::Proto => {
            translator.check_encoded(rpc, bytes)?;
            framing::frame(0, bytes).ok_or_else(too_large)
        }
        Codec::Json => {
            let message = read::message(&rpc.input, bytes, &translator.options().json)
                .map_err(|error| Rejection::json("the message", &error))?;
            translator.check(rpc, &message)?;
            upstream::frame(&message).ok_or_else(too_large)
        }
    }
}

/// What the client is answered.
pub(super) fn response(
    translator: &Translator,
    rpc: &Rpc,
    codec: Codec,
    frame: Frame,
) -> Result<Bytes, Rejection> {
    match codec {
        Codec::Proto => upstream::plain(frame).map_err(|failure| failure::reject(rpc, failure)),
        Codec::Json => {
            // JSON with its names is about twice its message.
            let size_hint = frame.bytes.len().saturating_mul(2);
            let message = upstream::decode(&rpc.output, frame)
                .map_err(|failure| failure::reject(rpc, failure))?;
            ResponseBody::Whole
                .to_json(&message, size_hint, translator.options())
                .map(Bytes::from)
                .map_err(|error| match error {
                    ReplyError::TooLarge(_) => {
                        failure::bad_gateway(rpc, failure::TOO_LARGE, &error)
                    }
                    ReplyError::Json(_) => failure::bad_gateway(rpc, failure::INVALID, &error),
                })
        }
    }
}
