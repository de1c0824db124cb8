//! Smaller answers, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CompressionDoc {
    /// Content codings; of those that a client takes alike the first is used.
    ///
    /// list of `zstd` `br` `gzip`; all three
    pub(crate) codings: List<CodingDoc>,
    /// Answers that announce less go as they are.
    ///
    /// size, 0B to 16MiB; `1KiB`
    pub(crate) min_size: Field<String>,
    /// Media types: `text/html`, `text/*`, `*+json`.
    ///
    /// list; text, JSON, XML, JavaScript, WebAssembly, SVG
    pub(crate) content_types: List<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CodingDoc {
    Zstd,
    Br,
    Gzip,
}
