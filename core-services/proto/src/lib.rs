//! The contracts of the core services: messages, clients, servers, descriptors.
//! Invariant: what the descriptors say (HTTP bindings, input rules, access) is
//! the only place where it is said; edge and services both read it from here.
//! Refuses to hold logic, and to print a secret: see `redact`.

mod redact;

/// Every file of the contracts and every import, as an encoded
/// `google.protobuf.FileDescriptorSet`, options included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/core.pb"));

pub mod auth {
    #[allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated; the text is in the .proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("auth.v1");
    }
}

pub mod google {
    #[allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated; the text is in the .proto file"
    )]
    pub mod api {
        tonic::include_proto!("google.api");
    }
}

pub mod user {
    #[allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated; the text is in the .proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("user.v1");
    }
}

pub mod platform {
    #[allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated; the text is in the .proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("platform.v1");
    }
}
