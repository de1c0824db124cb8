//! Frames to the messages of one RPC, and back.
//!
//! Invariant: as in a plain request the path has the last word, in each message: no frame can name
//! another resource than the one that the edge's route and its access rules looked at.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body_util::Full;
use prost_reflect::DynamicMessage;
use tokio::sync::mpsc::Sender;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tonic::body::Body;

use super::call::{self, Said};
use super::ending::Ending;
use crate::dialect::Codec;
use crate::framing::Frame;
use crate::json::{body, reply, request};
use crate::options::Options;
use crate::rpc::Rpc;
use crate::rules::binding::{Binding, BoundMethod, RequestBody};
use crate::status::failure::{self, reject};
use crate::status::problem::Rejection;
use crate::translator::{Find, Translator};
use crate::upstream;

/// The methods of rules, in the order in which they are looked up: a handshake is always a GET.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// What frames are to an RPC under one path.
pub(super) struct Messages {
    translator: Arc<Translator>,
    binding: Arc<Binding>,
    /// Reads a frame as the whole message.
    whole: Binding,
    uri: Uri,
    codec: Codec,
}

/// What a frame says.
pub(super) enum Heard {
    Message(Bytes),
    /// The client has no more messages.
    End,
}

impl Messages {
    /// For the RPC of the path, and of the variables of path and query.
    pub(super) fn of(
        translator: Arc<Translator>,
        uri: &Uri,
        codec: Codec,
    ) -> Result<Self, Rejection> {
        let binding = find(&translator, uri.path())?;
        let messages = Self {
            whole: whole(binding.rpc.clone()),
            uri: uri.clone(),
            translator,
            binding,
            codec,
        };
        // What is wrong with the path or the query is no frame's fault.
        messages.variables(&mut messages.empty())?;
        Ok(messages)
    }

    pub(super) fn rpc(&self) -> &Arc<Rpc> {
        &self.binding.rpc
    }

    pub(super) fn options(&self) -> &Options {
        self.translator.options()
    }

    /// The call's body, and where it takes messages from frames the way to hand them over.
    pub(super) fn requests(&self) -> Result<(Option<Sender<Said>>, Body), Rejection> {
        let is_one = !self.rpc().client_streams;
        if is_one && matches!(self.binding.body, RequestBody::None) {
            let mut message = self.empty();
            self.variables(&mut message)?;
            let frame = self.framed(&message)?;
            return Ok((None, Body::new(Full::new(frame))));
        }
        let (sender, body) = call::channel();
        Ok((Some(sender), body))
    }

    /// An empty text frame is the end of the client's messages whatever the subprotocol: browsers
    /// cannot half close a WebSocket, an empty binary frame is a message of defaults, and no JSON
    /// text is empty.
    pub(super) fn heard(&self, frame: &Message) -> Result<Heard, Ending> {
        let rejected = |rejection| Ending::rejected(&rejection);
        match (self.codec, frame) {
            (_, Message::Text(text)) if text.is_empty() => Ok(Heard::End),
            (Codec::Json, Message::Text(text)) => self.read_json(text.as_bytes()).map_err(rejected),
            (Codec::Proto, Message::Binary(bytes)) => {
                self.read_proto(bytes.clone()).map_err(rejected)
            }
            (Codec::Json, _) => Err(unsupported("text")),
            (Codec::Proto, _) => Err(unsupported("binary")),
        }
    }

    fn read_json(&self, json: &[u8]) -> Result<Heard, Rejection> {
        let reader = match self.binding.body {
            RequestBody::None => &self.whole,
            _ => &self.binding,
        };
        let mut message = body::parse(reader, json, self.options())?;
        self.variables(&mut message)?;
        self.framed(&message).map(Heard::Message)
    }

    fn read_proto(&self, bytes: Bytes) -> Result<Heard, Rejection> {
        let input = self.rpc().input.clone();
        let mut message = DynamicMessage::decode(input, bytes).map_err(|error| {
            Rejection::bad_request("invalid_protobuf", format!("the message: {error}"))
        })?;
        self.variables(&mut message)?;
        self.framed(&message).map(Heard::Message)
    }

    fn empty(&self) -> DynamicMessage {
        DynamicMessage::new(self.rpc().input.clone())
    }

    fn variables(&self, message: &mut DynamicMessage) -> Result<(), Rejection> {
        let (path, query) = (self.uri.path(), self.uri.query());
        request::variables(&self.binding, self.options(), path, query, message)
    }

    fn framed(&self, message: &DynamicMessage) -> Result<Bytes, Rejection> {
        self.translator.check(self.rpc(), message)?;
        let bytes_max = self.options().request_message_bytes_max;
        upstream::frame(message).ok_or_else(|| Rejection::body_too_large(bytes_max))
    }

    /// A message of the answer as a frame.
    pub(super) fn told(&self, answer: Frame) -> Result<Message, Ending> {
        let rpc = self.rpc();
        let rejected = |rejection| Ending::rejected(&rejection);
        if self.codec == Codec::Proto && answer.flags == 0 {
            return Ok(Message::Binary(answer.bytes));
        }
        // JSON with its names is about twice its message.
        let size_hint = answer.bytes.len().saturating_mul(2);
        let message = upstream::decode(&rpc.output, answer)
            .map_err(|failure| rejected(reject(rpc, failure)))?;
        let json = self
            .binding
            .response
            .to_json(&message, size_hint, self.options())
            .map_err(|error| rejected(failure::bad_gateway(rpc, failure::INVALID, &error)))?;
        let text = String::from_utf8(json)
            .map_err(|error| rejected(failure::bad_gateway(rpc, failure::INVALID, &error)))?;
        Ok(Message::text(text))
    }
}

fn unsupported(kind: &str) -> Ending {
    let reason = format!("messages are {kind} frames here");
    Ending::close(CloseCode::Unsupported, &reason)
}

/// The path of a gRPC call, or that of a rule of a streaming RPC, whichever its method.
fn find(translator: &Translator, path: &str) -> Result<Arc<Binding>, Rejection> {
    if let Some(rpc) = translator.rpc(path) {
        let binding = Arc::new(whole(rpc.clone()));
        return streaming(&binding).ok_or_else(unary);
    }
    let mut is_bound = false;
    for method in METHODS {
        match translator.find(&method, path) {
            Find::Found(binding) => {
                if let Some(binding) = streaming(binding) {
                    return Ok(binding);
                }
                is_bound = true;
            }
            Find::MethodNotAllowed { .. } => is_bound = true,
            Find::NotFound => return Err(Rejection::not_found()),
        }
    }
    Err(if is_bound {
        unary()
    } else {
        Rejection::not_found()
    })
}

fn streaming(binding: &Arc<Binding>) -> Option<Arc<Binding>> {
    binding.rpc.is_streaming().then(|| binding.clone())
}

fn unary() -> Rejection {
    Rejection::new(
        StatusCode::BAD_REQUEST,
        "websocket_not_supported",
        "what this path is bound to answers requests, not websocket connections",
    )
}

/// What `body: "*"` would be without a path of its own.
fn whole(rpc: Arc<Rpc>) -> Binding {
    Binding {
        rpc,
        method: BoundMethod::Any,
        template: "".into(),
        verb_bytes: 0,
        captures: Vec::new(),
        body: RequestBody::Whole,
        response: reply::ResponseBody::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use palisade_echo::DESCRIPTORS;
    use palisade_echo::proto::ChatRequest;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::framing::PREFIX_BYTES;

    static TRANSLATOR: LazyLock<Arc<Translator>> = LazyLock::new(|| {
        Arc::new(Translator::from_descriptor_set(DESCRIPTORS, Options::default()).unwrap())
    });

    fn chat(codec: Codec) -> Messages {
        let uri = Uri::from_static("/v1/rooms/blue/chat");
        Messages::of(TRANSLATOR.clone(), &uri, codec).unwrap()
    }

    /// The message that a frame becomes, where it becomes one.
    fn heard(messages: &Messages, frame: &Message) -> Option<ChatRequest> {
        match messages.heard(frame) {
            Ok(Heard::Message(mut bytes)) => {
                let message = bytes.split_off(PREFIX_BYTES);
                Some(ChatRequest::decode(message).unwrap())
            }
            Ok(Heard::End) | Err(Ending::Close(_)) => None,
            Err(Ending::Client) => panic!("a frame is no end"),
        }
    }

    proptest! {
        #[test]
        fn no_frame_names_another_room(
            text in prop_oneof![any::<String>(), r#"\{("room":"[a-z]*",?)?("text":"[a-z]*")?\}"#],
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            room: String,
        ) {
            let whole = ChatRequest { room, text: text.clone() }.encode_to_vec();
            for codec in [Codec::Json, Codec::Proto] {
                let messages = chat(codec);
                for frame in [
                    Message::text(text.clone()),
                    Message::binary(bytes.clone()),
                    Message::binary(whole.clone()),
                ] {
                    if let Some(message) = heard(&messages, &frame) {
                        prop_assert_eq!(message.room, "blue");
                    }
                }
            }
            let kept = heard(&chat(Codec::Proto), &Message::binary(whole)).map(|said| said.text);
            prop_assert_eq!(kept, Some(text));
        }
    }
}
