//! How a cluster's RPCs are shown to clients that do not speak gRPC, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::Field;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TranslationDoc {
    /// JSON members and query parameters that the message does not have.
    ///
    /// `refuse` `ignore`; `refuse`
    pub(crate) unknown_json_fields: Field<UnknownFieldsDoc>,
    /// Fields that have their default value, in answers.
    ///
    /// `write` `omit`; `write`
    pub(crate) default_values: Field<DefaultValuesDoc>,
    /// Names of members in answers: `camel` is ProtoJSON's `userId`, `proto` is `user_id` as the proto
    /// file has it.
    ///
    /// `camel` `proto`; `camel`
    pub(crate) json_names: Field<JsonNamesDoc>,
    /// Enums in answers.
    ///
    /// `names` `numbers`; `names`
    pub(crate) json_enums: Field<JsonEnumsDoc>,
    /// Answers over several lines; streams never are.
    ///
    /// boolean; `false`
    pub(crate) indented_json: Field<bool>,
    /// Field of a message that becomes `id` of its server-sent event.
    ///
    /// name of a field; none
    pub(crate) event_id: Field<String>,
    /// Field of a message that becomes `event` of its server-sent event.
    ///
    /// name of a field; none
    pub(crate) event_name: Field<String>,
    /// What a browser waits before it connects again to a stream of events.
    ///
    /// duration, 1ms to 1h; its own
    pub(crate) event_retry: Field<String>,
    /// Silence in a stream of events or on a WebSocket after which a sign of life is sent.
    ///
    /// duration, 100ms to 1h; `15s`
    pub(crate) heartbeat: Field<String>,
    /// Requests are checked by the `buf.validate` rules of the descriptors before they are sent on.
    ///
    /// boolean; `true`
    pub(crate) validation: Field<bool>,
    /// Whether the services choose statuses and fields of HTTP answers by `x-http-*` metadata.
    ///
    /// `honour` `ignore`; `ignore`
    pub(crate) http_metadata: Field<HttpMetadataDoc>,
    /// Longest message of a request, as JSON or as protobuf; of a stream each one.
    ///
    /// size, 1B to 64MiB; `1MiB`
    pub(crate) request_message_max: Field<String>,
    /// Longest message of an answer, as protobuf; of a stream each one.
    ///
    /// size, 1B to 64MiB; `4MiB`
    pub(crate) response_message_max: Field<String>,
    /// Longest message of an answer, as JSON.
    ///
    /// size, 1B to 64MiB; `16MiB`
    pub(crate) response_json_max: Field<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownFieldsDoc {
    Refuse,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DefaultValuesDoc {
    Write,
    Omit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonNamesDoc {
    Camel,
    Proto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonEnumsDoc {
    Names,
    Numbers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HttpMetadataDoc {
    Honour,
    Ignore,
}
