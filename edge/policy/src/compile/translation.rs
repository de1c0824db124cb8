//! A cluster's translator: its descriptors, and how they are shown.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use palisade_translate::{JsonOptions, Options, SseOptions, Translator};

use super::values::{self, written_size};
use super::{Compiler, Fingerprint};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{
    ClusterDoc, DefaultValuesDoc, HttpMetadataDoc, JsonEnumsDoc, JsonNamesDoc, TranslationDoc,
    UnknownFieldsDoc,
};
use crate::field::{At, Field};
use crate::model::{Reflection, UpstreamProtocol};

/// The descriptors of all of Google's interfaces take about 10 MiB.
const DESCRIPTOR_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A message is held in memory whole, and several times its size while it is read.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const RETRY_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3_600);
const HEARTBEAT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Services change when they are deployed.
const REFRESH: Duration = Duration::from_secs(300);
const REFRESH_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

impl Compiler<'_> {
    /// The content of the file of descriptors.
    pub(super) fn descriptors(
        &mut self,
        at: &At<ClusterDoc>,
        protocol: UpstreamProtocol,
    ) -> Option<Arc<[u8]>> {
        let doc = &at.value;
        let Some(written) = doc.descriptors.given() else {
            if let Some(option) = doc.translation.given()
                && doc.reflection.is_absent()
            {
                let fault = Fault::new(
                    codes::CONTRADICTION,
                    "`translation` has no effect without `descriptors` or `reflection`",
                );
                self.report.push(option.mark, fault);
            }
            return None;
        };
        if protocol != UpstreamProtocol::Grpc {
            let fault = Fault::new(
                codes::CONTRADICTION,
                "`descriptors` need a cluster with `protocol: grpc`",
            );
            self.report.push(written.mark, fault);
        }
        self.input(written, DESCRIPTOR_BYTES_MAX)
    }

    /// What the endpoints are asked for, instead of a file.
    pub(super) fn reflection(
        &mut self,
        doc: &ClusterDoc,
        protocol: UpstreamProtocol,
        fingerprint: &mut Fingerprint,
    ) -> Option<Reflection> {
        let written = doc.reflection.given()?;
        if !doc.descriptors.is_absent() {
            let message = "`reflection` and `descriptors` exclude each other";
            let fault = Fault::new(codes::CONTRADICTION, message);
            self.report.push(written.mark, fault);
            return None;
        }
        if protocol != UpstreamProtocol::Grpc {
            let message = "`reflection` needs a cluster with `protocol: grpc`";
            let fault = Fault::new(codes::CONTRADICTION, message);
            self.report.push(written.mark, fault);
        }
        let reflection = Reflection {
            refresh: self.duration(&written.value.refresh, REFRESH, REFRESH_BOUNDS),
            options: self.translation(doc.translation.given().map(|at| &at.value)),
        };
        fingerprint.debug(&reflection);
        Some(reflection)
    }

    pub(super) fn translator(
        &mut self,
        doc: &ClusterDoc,
        bytes: &[u8],
        fingerprint: &mut Fingerprint,
    ) -> Option<Arc<Translator>> {
        let written = doc.descriptors.given()?;
        let options = self.translation(doc.translation.given().map(|at| &at.value));
        fingerprint.add(bytes).debug(&options);
        match Translator::from_descriptor_set(bytes, options) {
            Ok(translator) => Some(Arc::new(translator)),
            Err(errors) => {
                for error in errors {
                    let text = error.to_string();
                    let (message, hint) = match text.split_once("\nhint: ") {
                        Some((message, hint)) => (message, Some(hint.to_owned())),
                        None => (text.as_str(), None),
                    };
                    let message = format!("{}: {message}", shown(&written.value));
                    self.report.push(
                        written.mark,
                        Fault::new(codes::DESCRIPTORS, message).maybe_hint(hint),
                    );
                }
                None
            }
        }
    }

    fn translation(&mut self, doc: Option<&TranslationDoc>) -> Options {
        let absent = TranslationDoc::default();
        let doc = doc.unwrap_or(&absent);
        let default = Options::default();
        Options {
            json: JsonOptions {
                ignore_unknown_fields: is(&doc.unknown_json_fields, UnknownFieldsDoc::Ignore),
                write_defaults: !is(&doc.default_values, DefaultValuesDoc::Omit),
                proto_names: is(&doc.json_names, JsonNamesDoc::Proto),
                enum_numbers: is(&doc.json_enums, JsonEnumsDoc::Numbers),
                is_indented: is(&doc.indented_json, true),
            },
            sse: SseOptions {
                id_field: self.field_name(&doc.event_id),
                event_field: self.field_name(&doc.event_name),
                retry: self.optional_duration(&doc.event_retry, RETRY_BOUNDS),
                heartbeat: self.duration(&doc.heartbeat, default.sse.heartbeat, HEARTBEAT_BOUNDS),
            },
            request_message_bytes_max: self
                .message_max(&doc.request_message_max, default.request_message_bytes_max),
            response_message_bytes_max: self.message_max(
                &doc.response_message_max,
                default.response_message_bytes_max,
            ),
            json_response_bytes_max: self
                .message_max(&doc.response_json_max, default.json_response_bytes_max),
            validates: !is(&doc.validation, false),
            honours_http_metadata: is(&doc.http_metadata, HttpMetadataDoc::Honour),
        }
    }

    fn message_max(&mut self, field: &Field<String>, default: usize) -> usize {
        let Some(written) = field.given() else {
            return default;
        };
        let size = values::size(&written.value).and_then(|size| {
            if (1..=MESSAGE_BYTES_MAX).contains(&size) {
                return Ok(size);
            }
            let most = written_size(MESSAGE_BYTES_MAX);
            let message = format!("{} is not from `1B` to `{most}`", shown(&written.value));
            Err(Fault::new(codes::OUT_OF_RANGE, message))
        });
        let size = self.report.check(written.mark, size);
        size.and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default)
    }

    fn field_name(&mut self, field: &Field<String>) -> Option<Box<str>> {
        let written = field.given()?;
        let text = &written.value;
        let mut bytes = text.bytes();
        let is_name = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            let message = format!("{} is not the name of a protobuf field", shown(text));
            let fault = Fault::new(codes::BAD_NAME, message)
                .hint("letters, digits and `_`, as in the proto file");
            self.report.push(written.mark, fault);
            return None;
        }
        Some(text.as_str().into())
    }
}

fn is<T: PartialEq>(field: &Field<T>, value: T) -> bool {
    field.given().is_some_and(|at| at.value == value)
}
