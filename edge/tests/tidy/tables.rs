//! Who may know whom, and which words may not appear.

/// A module at the top of `src`, and the modules of the crate that it may name.
/// A new arrow is a decision: it belongs here and into `DECISIONS.md`.
pub(crate) const ARROWS: [(&str, &[&str]); 25] = [
    ("main", &["commands", "crypto"]),
    (
        "commands",
        &[
            "config",
            "dev_certs",
            "explain",
            "openapi",
            "replay",
            "request_ctx",
            "server",
            "snapshot",
        ],
    ),
    ("lib", &[]),
    ("config", &[]),
    ("crypto", &[]),
    ("dev_certs", &[]),
    ("acme", &["config", "listen"]),
    ("rejection", &[]),
    ("in_flight", &[]),
    ("backoff", &[]),
    ("request_id", &[]),
    ("respond", &["rejection"]),
    // Generic over the application: never sees routes or policies.
    ("listen", &[]),
    ("handover", &["listen"]),
    ("cluster", &["backoff", "in_flight", "request_ctx"]),
    // Takes endpoints as they are: knows no clusters and no routes.
    ("identity", &["backoff", "request_ctx"]),
    (
        "stages",
        &[
            "identity",
            "observe",
            "rejection",
            "request_ctx",
            "request_id",
            "snapshot",
        ],
    ),
    ("snapshot", &["cluster", "identity", "listen", "stages"]),
    // Asks the stages what a host takes.
    (
        "openapi",
        &["identity", "request_ctx", "respond", "snapshot", "stages"],
    ),
    (
        "request_ctx",
        &[
            "cluster",
            "gateway",
            "in_flight",
            "listen",
            "observe",
            "rejection",
            "request_id",
            "snapshot",
            "stages",
        ],
    ),
    (
        "observe",
        &[
            "explain",
            "gateway",
            "listen",
            "request_ctx",
            "request_id",
            "snapshot",
            "stages",
        ],
    ),
    ("replay", &["explain", "snapshot"]),
    // Judges what nobody sent by the functions that judge traffic.
    (
        "explain",
        &[
            "cluster",
            "identity",
            "observe",
            "openapi",
            "rejection",
            "request_ctx",
            "request_id",
            "respond",
            "snapshot",
            "stages",
        ],
    ),
    (
        "gateway",
        &[
            "cluster",
            "in_flight",
            "listen",
            "observe",
            "openapi",
            "rejection",
            "request_ctx",
            "request_id",
            "respond",
            "snapshot",
            "stages",
        ],
    ),
    (
        "server",
        &[
            "acme",
            "config",
            "explain",
            "gateway",
            "handover",
            "identity",
            "in_flight",
            "listen",
            "observe",
            "request_ctx",
            "snapshot",
            "stages",
        ],
    ),
];

/// Inside `stages/`: a stage and the stages whose facts it takes as arguments.
pub(crate) const STAGES: [(&str, &[&str]); 21] = [
    (
        "mod",
        &[
            "access",
            "authn",
            "authz",
            "backend",
            "body",
            "cache",
            "client",
            "cors",
            "deadline",
            "host",
            "priority",
            "rate_limit",
            "rewrite",
            "route",
            "sanitize",
            "shadow",
            "target",
            "websocket",
        ],
    ),
    ("client", &[]),
    // Unit tests of a stage in a file of their own.
    ("tests", &[]),
    ("sanitize", &[]),
    ("host", &[]),
    // Rules may ask for claims of the token.
    ("route", &["authn"]),
    ("shadow", &[]),
    ("cors", &[]),
    ("priority", &[]),
    ("backend", &[]),
    ("authn", &["shadow"]),
    ("access", &["authn"]),
    ("authz", &["access", "authn", "shadow"]),
    ("websocket", &["authz"]),
    ("rate_limit", &["authn", "authz", "shadow"]),
    ("body", &[]),
    ("deadline", &[]),
    ("target", &["sanitize"]),
    ("cache", &[]),
    ("rewrite", &["client", "deadline", "rate_limit"]),
    // Of answers; no part of the judgement.
    ("compression", &[]),
];

/// Where a text may not appear: below this prefix of the path, but for the exceptions.
pub(crate) const FORBIDDEN: [(&str, &[&str], &[&str]); 5] = [
    // Decisions open no socket, read no clock and start nothing.
    (
        "stages/",
        &[],
        &[
            "tokio::",
            "TcpStream",
            "UdpSocket",
            "Instant::now",
            "SystemTime::now",
            "Now::read",
            "std::fs",
            "spawn(",
        ],
    ),
    (
        "listen/",
        &[],
        &[
            "palisade_acme",
            "palisade_policy",
            "palisade_token",
            "palisade_cache",
            "palisade_translate",
        ],
    ),
    // Pingora's hidden custom-session trait is not a stable API: three files know it.
    (
        "",
        &[
            "listen/h3/session.rs",
            "listen/timed_body/session.rs",
            "listen/tunnel/session.rs",
        ],
        &["protocols::http::custom"],
    ),
    ("", &["listen/h3/quinn_adapter"], &["impl quic::"]),
    (
        "",
        &[],
        &["todo!", "unimplemented!", "dbg!", "crypto::ring"],
    ),
];

pub(crate) const BANNED_NAMES: [&str; 5] = ["util", "utils", "common", "helpers", "misc"];
