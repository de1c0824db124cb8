//! What went wrong: gRPC status codes, and how each dialect is told.

pub(crate) mod code;
pub(crate) mod connect;
pub(crate) mod details;
mod dialects;
pub(crate) mod failure;
pub(crate) mod problem;
pub(crate) mod render;
