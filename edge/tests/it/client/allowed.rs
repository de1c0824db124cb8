//! The fields a response of the edge may carry. A new one belongs here on purpose, or nowhere.

use super::{Head, Protocol};

const ALLOWED: [&str; 46] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "accept",
    "accept-encoding",
    "accept-ranges",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "cache-status",
    "content-disposition",
    "content-encoding",
    "connect-accept-encoding",
    "content-length",
    "content-security-policy",
    "content-range",
    "content-type",
    "date",
    "etag",
    "grpc-message",
    "grpc-retry-pushback-ms",
    "grpc-status",
    "grpc-status-details-bin",
    "location",
    "referrer-policy",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    // Of a visit to another provider.
    "set-cookie",
    "strict-transport-security",
    "vary",
    // Resumable uploads (tus).
    "tus-extension",
    "tus-resumable",
    "tus-version",
    "upload-length",
    "upload-offset",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    // Metadata of a service, for those who call it by gRPC.
    "x-http-header-etag",
    "x-request-id",
    // Set by the policies of tests.
    "x-test-edit",
];

/// Fields of a connection, not of a response (RFC 9113, 8.2.2; RFC 9114, 4.2).
const H1_ONLY: [&str; 2] = ["connection", "transfer-encoding"];

pub(super) fn check(protocol: Protocol, head: &Head) {
    for name in head.headers.keys() {
        let name = name.as_str();
        let allowed =
            ALLOWED.contains(&name) || (protocol == Protocol::H1 && H1_ONLY.contains(&name));
        assert!(
            allowed,
            "{protocol:?} response has the field `{name}`: {head:?}"
        );
    }
    let doubled = head
        .headers
        .keys()
        .find(|name| head.headers.get_all(*name).iter().count() > 1);
    assert_eq!(
        doubled, None,
        "{protocol:?} response has a field twice: {head:?}"
    );
}
