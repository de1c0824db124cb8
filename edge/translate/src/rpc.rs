//! One RPC, resolved: what every dialect calls.

use std::fmt;

use http::uri::{InvalidUri, PathAndQuery};
use prost_reflect::{MessageDescriptor, MethodDescriptor};

use crate::json::path;
use crate::options::Options;

/// `google.protobuf.MethodOptions.idempotency_level`, `NO_SIDE_EFFECTS`.
const NO_SIDE_EFFECTS: i32 = 1;

/// The message whose field `data` is a body of any type.
const HTTP_BODY: &str = "google.api.HttpBody";

/// An RPC of the descriptor set, bound to HTTP or not.
pub struct Rpc {
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) name: Box<str>,
    pub(crate) path: PathAndQuery,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    pub(crate) client_streams: bool,
    pub(crate) server_streams: bool,
    /// Connect clients may call it by `GET`.
    pub(crate) is_without_side_effects: bool,
    /// Clients see the names of the proto file.
    proto_names: bool,
    /// Its service chooses statuses and fields of HTTP answers.
    pub(crate) honours_http_metadata: bool,
}

impl Rpc {
    pub(crate) fn new(descriptor: MethodDescriptor, options: &Options) -> Result<Self, InvalidUri> {
        let service = descriptor.parent_service();
        let path = format!("/{}/{}", service.full_name(), descriptor.name());
        let declared = descriptor.method_descriptor_proto().options.as_ref();
        Ok(Self {
            name: descriptor.full_name().into(),
            path: PathAndQuery::try_from(path)?,
            input: descriptor.input(),
            output: descriptor.output(),
            client_streams: descriptor.is_client_streaming(),
            server_streams: descriptor.is_server_streaming(),
            is_without_side_effects: declared.and_then(|declared| declared.idempotency_level)
                == Some(NO_SIDE_EFFECTS),
            proto_names: options.json.proto_names,
            honours_http_metadata: options.honours_http_metadata,
            descriptor,
        })
    }

    /// Full name, for instance `shop.v1.Orders.Get`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `:path` of the gRPC call, for instance `/shop.v1.Orders/Get`.
    #[must_use]
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// As the descriptor set has it, with its options.
    #[must_use]
    pub fn descriptor(&self) -> &MethodDescriptor {
        &self.descriptor
    }

    /// A path to a field of the request, in the names that clients know.
    pub(crate) fn json_path(&self, proto_path: &str) -> String {
        let json = || path::of_proto(&self.input, proto_path);
        let json = if self.proto_names { None } else { json() };
        json.unwrap_or_else(|| proto_path.to_owned())
    }

    /// Whether the client sends a stream, and whether the service does.
    #[must_use]
    pub fn streams(&self) -> (bool, bool) {
        (self.client_streams, self.server_streams)
    }

    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.client_streams || self.server_streams
    }
}

/// Its name: descriptors print all that they are connected with.
impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rpc").field(&self.name).finish()
    }
}

/// Whether a message is a raw body with a type, and not a document.
pub(crate) fn is_http_body(message: &MessageDescriptor) -> bool {
    message.full_name() == HTTP_BODY
}
