//! Other dialects than gRPC in front of gRPC services, through a running edge.

mod conformance;
mod endpoints;
