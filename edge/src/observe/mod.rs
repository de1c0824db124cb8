//! What operators see: metrics, access log, trace context, the admin listener.

pub mod metrics;
pub mod access_log;
pub mod trace;
pub mod request;
mod rollback;
pub mod admin;
