//! Requests as HTTP writes them to messages, and messages to JSON.

pub(crate) mod body;
pub(crate) mod number;
pub(crate) mod path;
pub(crate) mod percent;
pub(crate) mod query;
pub(crate) mod read;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod scalar;
pub(crate) mod well_known;
pub(crate) mod write;
