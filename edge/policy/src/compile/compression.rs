//! Which answers are compressed toward clients.

use super::Compiler;
use super::values::{self, written_size};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{CodingDoc, CompressionDoc};
use crate::field::{Either, Field, List, items};
use crate::model::{Coding, Compression, MediaTypes};

/// Shorter answers fit into one packet either way.
const MIN_BYTES: u64 = 1024;
const MIN_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Compared one by one, with each answer.
const MEDIA_TYPES_MAX: usize = 64;
const CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
/// What is text. Images, films and archives are compressed already.
const MEDIA_TYPES: [&str; 14] = [
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/markdown",
    "text/plain",
    "text/xml",
    "application/javascript",
    "application/json",
    "application/jsonl",
    "application/wasm",
    "application/x-ndjson",
    "application/xml",
    "image/svg+xml",
];

impl Compiler<'_> {
    pub(super) fn compression(
        &mut self,
        field: &Field<Either<CompressionDoc>>,
    ) -> Option<Compression> {
        let at = field.given()?;
        let doc = self.unless("off", at)?;
        Some(Compression {
            codings: self.codings(&doc.codings),
            min_bytes: self.min_size(&doc.min_size),
            media_types: self.media_types(&doc.content_types),
        })
    }

    fn codings(&mut self, list: &List<CodingDoc>) -> Vec<Coding> {
        let Some(at) = list.given() else {
            return CODINGS.to_vec();
        };
        if at.value.is_empty() {
            self.missing(
                at.mark,
                "the compression has an empty list of `codings`".into(),
            );
        }
        let mut codings = Vec::new();
        for item in items(list) {
            let coding = match item.value {
                CodingDoc::Zstd => Coding::Zstd,
                CodingDoc::Br => Coding::Brotli,
                CodingDoc::Gzip => Coding::Gzip,
            };
            if codings.contains(&coding) {
                let message = format!("`{}` is listed twice", coding.name());
                self.report
                    .push(item.mark, Fault::new(codes::REPEATED, message));
                continue;
            }
            codings.push(coding);
        }
        codings
    }

    fn min_size(&mut self, field: &Field<String>) -> u64 {
        let Some(written) = field.given() else {
            return MIN_BYTES;
        };
        let size = values::size(&written.value).and_then(|size| match size {
            0..=MIN_BYTES_MAX => Ok(size),
            _ => {
                let most = written_size(MIN_BYTES_MAX);
                let message = format!("{} is more than `{most}`", shown(&written.value));
                Err(Fault::new(codes::OUT_OF_RANGE, message))
            }
        });
        self.report.check(written.mark, size).unwrap_or(MIN_BYTES)
    }

    fn media_types(&mut self, list: &List<String>) -> Vec<MediaTypes> {
        let Some(at) = list.given() else {
            let suffixes = ["+json", "+xml"].map(|suffix| MediaTypes::Suffix(suffix.into()));
            let types = MEDIA_TYPES.map(|name| MediaTypes::One(name.into()));
            return types.into_iter().chain(suffixes).collect();
        };
        if at.value.is_empty() {
            let message = "the compression has an empty list of `content_types`";
            self.missing(at.mark, message.into());
        }
        let texts = self.texts(list, MEDIA_TYPES_MAX, |text| media_types(text).map(drop));
        let parsed = texts.iter().filter_map(|text| media_types(text).ok());
        parsed.collect()
    }
}

fn media_types(text: &str) -> Result<MediaTypes, Fault> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&-^_.+".contains(&b))
    };
    if let Some(suffix) = text.strip_prefix('*').filter(|rest| rest.starts_with('+'))
        && is_token(suffix)
    {
        return Ok(MediaTypes::Suffix(suffix.into()));
    }
    match text.split_once('/') {
        Some((kind, "*")) if is_token(kind) => {
            Ok(MediaTypes::Type(format!("{kind}/").into_boxed_str()))
        }
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => {
            Ok(MediaTypes::One(text.into()))
        }
        _ => {
            let message = format!("{} is not a media type", shown(text));
            let fault = Fault::new(codes::CHOICE, message);
            Err(fault
                .hint("write `text/html`, `text/*` or `*+json`, in lower case, without parameters"))
        }
    }
}
