//! One RPC, resolved: what every dialect calls.

use std::fmt;

use http::uri::{InvalidUri, PathAndQuery};
use prost_reflect::{MessageDescriptor, MethodDescriptor};

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
    /// Its service chooses statuses and fields of HTTP answers.
    pub(crate) honours_http_metadata: bool,
}

impl Rpc {
    pub(crate) fn new(
        descriptor: MethodDescriptor,
        honours_http_metadata: bool,
    ) -> Result<Self, InvalidUri> {
        let service = descriptor.parent_service();
        let path = format!("/{}/{}", service.full_name(), descriptor.name());
        let options = descriptor.method_descriptor_proto().options.as_ref();
        Ok(Self {
            name: descriptor.full_name().into(),
            path: PathAndQuery::try_from(path)?,
            input: descriptor.input(),
            output: descriptor.output(),
            client_streams: descriptor.is_client_streaming(),
            server_streams: descriptor.is_server_streaming(),
            is_without_side_effects: options.and_then(|options| options.idempotency_level)
                == Some(NO_SIDE_EFFECTS),
            honours_http_metadata,
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
