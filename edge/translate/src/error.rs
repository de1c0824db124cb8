//! What can be wrong with a descriptor set, and how serving a connection can end.
//!
//! Invariant: an error about a rule names the RPC that carries it. What can be wrong with a
//! request is not here: see `problem::Rejection`.

/// Why a [`crate::Translator`] could not be built, or why a connection ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("descriptor set has `{bytes}` bytes, the limit is `{max}`")]
    DescriptorSetTooLarge { bytes: usize, max: usize },

    #[error("descriptor set cannot be read: {0}")]
    DescriptorSet(String),

    #[error(
        "descriptor set has no rpc\nhint: compile the files that define services, with their imports"
    )]
    NoRpcs,

    #[error("descriptor set has more than `{max}` rpcs")]
    TooManyRpcs { max: usize },

    #[error("descriptor set has more than `{max}` http bindings")]
    TooManyBindings { max: usize },

    #[error("rpc `{rpc}`: its `google.api.http` option cannot be read: {reason}")]
    Rule { rpc: String, reason: String },

    #[error(
        "rpc `{rpc}`: an http rule names no method and path\nhint: write one of get, put, post, delete, patch, custom"
    )]
    NoPattern { rpc: String },

    #[error("rpc `{rpc}`: additional bindings of an additional binding are not allowed")]
    NestedBindings { rpc: String },

    #[error("rpc `{rpc}`: `{method}` is not an http method")]
    Method { rpc: String, method: String },

    #[error("rpc `{rpc}`: path template `{template}`: {reason}")]
    Template {
        rpc: String,
        template: String,
        reason: String,
    },

    #[error("rpc `{rpc}`: path variable `{field}` of `{template}`: {reason}")]
    Variable {
        rpc: String,
        template: String,
        field: String,
        reason: String,
    },

    #[error("rpc `{rpc}`: body `{field}`: {reason}")]
    Body {
        rpc: String,
        field: String,
        reason: String,
    },

    #[error("rpc `{rpc}`: response body `{field}`: {reason}")]
    ResponseBody {
        rpc: String,
        field: String,
        reason: String,
    },

    #[error(
        "`{method} {template}` of `{second}` is bound already: as `{first_template}` by `{first}`"
    )]
    Conflict {
        method: String,
        first: String,
        first_template: String,
        second: String,
        template: String,
    },

    #[error(
        "`{message}`: its `buf.validate` rules cannot be used: {reason}\nhint: mend the rule, or leave it to the service with `validation: false`"
    )]
    Rules { message: String, reason: String },

    #[error("more than `{max}` messages of requests have `buf.validate` rules")]
    TooManyRules { max: usize },

    #[error("message `{message}` holds messages more than `{max}` deep")]
    TooDeep { message: String, max: usize },

    #[error("connection ended early: {0}")]
    Connection(#[from] hyper::Error),
}
