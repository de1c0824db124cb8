//! How a translator reads and writes, and how much of it.

use std::time::Duration;

/// Of one translator, for all its requests.
#[derive(Debug, Clone, Hash)]
pub struct Options {
    pub json: JsonOptions,
    pub sse: SseOptions,
    /// Longest request message, in bytes, as JSON or as protobuf; of a stream each one. A parsed
    /// message can take some thirty times its JSON in memory (a list of empty objects), so this
    /// also bounds the memory of one request.
    pub request_message_bytes_max: usize,
    /// Longest gRPC response message, in bytes. Longer ones become 502.
    pub response_message_bytes_max: usize,
    /// Longest JSON form of a response message, in bytes: it can be many times its message.
    pub json_response_bytes_max: usize,
    /// Check request messages by the `buf.validate` rules of the descriptors before the call.
    pub validates: bool,
    /// Services choose status and headers of HTTP answers by `x-http-*` metadata.
    pub honours_http_metadata: bool,
}

/// How JSON is read and written.
#[derive(Debug, Clone, Hash)]
pub struct JsonOptions {
    /// Ignore unknown JSON members and query parameters. Off: they are refused with 400, so that
    /// a misspelt name is noticed. On: unknown enum names are ignored too (ProtoJSON).
    pub ignore_unknown_fields: bool,
    /// Write fields that have their default value. On, unlike ProtoJSON's and Envoy's default: a
    /// REST client expects `{"count":0}` to have a `count`. Unset messages and `optional` fields
    /// are left out either way.
    pub write_defaults: bool,
    /// Names of members as the proto file has them (`user_id`) instead of lowerCamelCase.
    pub proto_names: bool,
    /// Enums as numbers instead of names.
    pub enum_numbers: bool,
    /// Over several lines, with two spaces; documents only, never a line of a stream.
    pub is_indented: bool,
}

/// Server-sent events (the HTML standard, 9.2).
#[derive(Debug, Clone, Hash)]
pub struct SseOptions {
    /// Field of the response message that becomes `id`; messages without it have none.
    pub id_field: Option<Box<str>>,
    /// Field that becomes `event`.
    pub event_field: Option<Box<str>>,
    /// What browsers are told to wait before they connect again.
    pub retry: Option<Duration>,
    /// A comment after this long a silence, so that nobody on the way takes it for dead.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            json: JsonOptions::default(),
            sse: SseOptions::default(),
            request_message_bytes_max: 1024 * 1024,
            response_message_bytes_max: 4 * 1024 * 1024,
            json_response_bytes_max: 16 * 1024 * 1024,
            validates: true,
            honours_http_metadata: false,
        }
    }
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            ignore_unknown_fields: false,
            write_defaults: true,
            proto_names: false,
            enum_numbers: false,
            is_indented: false,
        }
    }
}

impl Default for SseOptions {
    fn default() -> Self {
        Self {
            id_field: None,
            event_field: None,
            retry: None,
            heartbeat: Duration::from_secs(15),
        }
    }
}
