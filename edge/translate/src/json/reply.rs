//! The response message as JSON.
//!
//! Invariant: JSON is written straight into one bounded buffer. A response body that is one field
//! (`response_body`) and has presence, but is not set, is `null`.

use std::io;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};
use serde::ser::{Serialize, Serializer};

use crate::json::write::{MessageJson, ValueJson};
use crate::options::{JsonOptions, Options};
use crate::rules::field_path;

/// Which part of the response message is the body.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    Whole,
    Field(FieldDescriptor),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the response is longer than `{0}` bytes as json")]
    TooLarge(usize),
    #[error("the response has no json form: {0}")]
    Json(serde_json::Error),
}

impl ResponseBody {
    pub(crate) fn new(output: &MessageDescriptor, name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(Self::Whole);
        }
        field_path::field(output, name)
            .map(Self::Field)
            .map_err(|e| e.to_string())
    }

    pub(crate) fn to_json(
        &self,
        message: &DynamicMessage,
        size_hint: usize,
        options: &Options,
    ) -> Result<Vec<u8>, ReplyError> {
        let mut out = Bounded {
            bytes: Vec::with_capacity(size_hint.min(options.json_response_bytes_max)),
            max: options.json_response_bytes_max,
        };
        let part = Part {
            part: self,
            message,
            options: &options.json,
        };
        let written = if options.json.is_indented {
            part.serialize(&mut serde_json::Serializer::pretty(&mut out))
        } else {
            part.serialize(&mut serde_json::Serializer::new(&mut out))
        };
        match written {
            Ok(()) => Ok(out.bytes),
            Err(error) if error.is_io() => Err(ReplyError::TooLarge(out.max)),
            Err(error) => Err(ReplyError::Json(error)),
        }
    }
}

struct Part<'a> {
    part: &'a ResponseBody,
    message: &'a DynamicMessage,
    options: &'a JsonOptions,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            message, options, ..
        } = *self;
        match self.part {
            ResponseBody::Whole => MessageJson { message, options }.serialize(serializer),
            ResponseBody::Field(field)
                if field.supports_presence() && !message.has_field(field) =>
            {
                serializer.serialize_unit()
            }
            ResponseBody::Field(field) => ValueJson {
                value: &message.get_field(field),
                kind: &field.kind(),
                options,
            }
            .serialize(serializer),
        }
    }
}

/// A buffer that refuses to grow past `max`.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if chunk.len() > self.max - self.bytes.len().min(self.max) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
