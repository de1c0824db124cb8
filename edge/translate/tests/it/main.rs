//! A real HTTP/1.1 client over a pipe, the translator, and a real tonic server on port 0.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers panic like the test itself"
)]

#[path = "../conformance/cases.rs"]
mod cases;

mod bodies;
mod build;
mod client;
mod conformance;
mod corpus;
mod descriptors;
mod dialects;
mod faults;
mod fuzz;
mod headers;
mod hostile;
mod mapping;
mod packing;
mod reflection;
mod statuses;
mod streams;
mod upstream;
mod validation;
mod web_socket;
