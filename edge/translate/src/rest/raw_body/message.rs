//! `google.api.HttpBody` on the wire, alone or as a field.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use crate::framing::{Frame, PREFIX_BYTES};
use crate::json::reply::ResponseBody;
use crate::rpc;
use crate::rules::binding::{Binding, RequestBody};
use crate::upstream::{self, Failure};

/// Without its `extensions`: they are nothing to HTTP.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpBody {
    #[prost(string, tag = "1")]
    pub(super) content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

/// Whether the binding's request body is one.
pub(in crate::rest) fn is_taken(binding: &Binding) -> bool {
    match &binding.body {
        RequestBody::None => false,
        RequestBody::Whole => rpc::is_http_body(&binding.rpc.input),
        RequestBody::Field(field) => is_http_body(field),
    }
}

/// Whether the binding's response body is one.
pub(in crate::rest) fn is_given(binding: &Binding) -> bool {
    match &binding.response {
        ResponseBody::Whole => rpc::is_http_body(&binding.rpc.output),
        ResponseBody::Field(field) => is_http_body(field),
    }
}

fn is_http_body(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => !field.is_list() && rpc::is_http_body(&message),
        _ => false,
    }
}

/// A request message with its prefix. `fields` come last and so have the last word, as the path
/// must. `None` when its length does not fit there.
pub(super) fn frame(
    binding: &Binding,
    body: &HttpBody,
    fields: Option<&DynamicMessage>,
) -> Option<Bytes> {
    let tag = match &binding.body {
        RequestBody::Field(field) => Some(field.number()),
        RequestBody::Whole | RequestBody::None => None,
    };
    let body_bytes = match tag {
        Some(tag) => message::encoded_len(tag, body),
        None => body.encoded_len(),
    };
    let length = body_bytes + fields.map_or(0, Message::encoded_len);
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).ok()?);
    match tag {
        Some(tag) => message::encode(tag, body, &mut frame),
        None => body.encode_raw(&mut frame),
    }
    if let Some(fields) = fields {
        fields.encode_raw(&mut frame);
    }
    Some(frame.freeze())
}

/// The body in a response message.
pub(super) fn read(binding: &Binding, frame: Frame) -> Result<HttpBody, Failure> {
    match &binding.response {
        ResponseBody::Whole if frame.flags != 0 => Err(upstream::compressed()),
        ResponseBody::Whole => {
            HttpBody::decode(frame.bytes).map_err(|error| Failure::Protocol(error.to_string()))
        }
        ResponseBody::Field(field) => {
            let message = upstream::decode(&binding.rpc.output, frame)?;
            Ok(match &*message.get_field(field) {
                Value::Message(body) => inner(body),
                _ => HttpBody::default(),
            })
        }
    }
}

fn inner(body: &DynamicMessage) -> HttpBody {
    let field = |number| body.get_field_by_number(number);
    HttpBody {
        content_type: field(1)
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
        data: field(2)
            .and_then(|value| value.as_bytes().cloned())
            .unwrap_or_default(),
    }
}
