//! The service that is written: the files of `templates/service`, called `sample` there.
//! Invariant: they are what a service looks like here; a test compiles and runs them.

use super::{Planned, name::Name};

/// Where each goes, and its text.
const FILES: [(&str, &str); 20] = [
    (
        "core-services/sample/Cargo.toml",
        include_str!("../../templates/service/Cargo.toml.in"),
    ),
    (
        "core-services/sample/migrations/0001_items.down.sql",
        include_str!("../../templates/service/migrations/0001_items.down.sql"),
    ),
    (
        "core-services/sample/migrations/0001_items.up.sql",
        include_str!("../../templates/service/migrations/0001_items.up.sql"),
    ),
    (
        "core-services/sample/src/lib.rs",
        include_str!("../../templates/service/src/lib.rs"),
    ),
    (
        "core-services/sample/src/grpc/mod.rs",
        include_str!("../../templates/service/src/grpc/mod.rs"),
    ),
    (
        "core-services/sample/src/grpc/refusal.rs",
        include_str!("../../templates/service/src/grpc/refusal.rs"),
    ),
    (
        "core-services/sample/src/items.rs",
        include_str!("../../templates/service/src/items.rs"),
    ),
    (
        "core-services/sample/src/consumers.rs",
        include_str!("../../templates/service/src/consumers.rs"),
    ),
    (
        "core-services/sample/src/store/mod.rs",
        include_str!("../../templates/service/src/store/mod.rs"),
    ),
    (
        "core-services/sample/src/store/items.rs",
        include_str!("../../templates/service/src/store/items.rs"),
    ),
    (
        "core-services/sample/src/store/owners.rs",
        include_str!("../../templates/service/src/store/owners.rs"),
    ),
    (
        "core-services/sample/src/settings.rs",
        include_str!("../../templates/service/src/settings.rs"),
    ),
    (
        "core-services/sample/src/error.rs",
        include_str!("../../templates/service/src/error.rs"),
    ),
    (
        "core-services/sample/src/tests/mod.rs",
        include_str!("../../templates/service/src/tests/mod.rs"),
    ),
    (
        "core-services/sample/src/tests/items.rs",
        include_str!("../../templates/service/src/tests/items.rs"),
    ),
    (
        "core-services/sample/src/tests/calls.rs",
        include_str!("../../templates/service/src/tests/calls.rs"),
    ),
    (
        "core-services/proto/proto/sample/v1/sample.proto",
        include_str!("../../templates/service/proto/sample.proto"),
    ),
    (
        "core-services/proto/proto/sample/v1/events.proto",
        include_str!("../../templates/service/proto/events.proto"),
    ),
    (
        "policies/routes/sample.yaml",
        include_str!("../../templates/service/policies/routes.yaml"),
    ),
    (
        "policies/tests/sample.yaml",
        include_str!("../../templates/service/policies/tests.yaml"),
    ),
];
/// In the template's definition.
const REDIS_DATABASE: &str = "redis_database: 0,";

pub(super) fn files(name: &Name, redis_database: u8) -> Vec<Planned> {
    let redis = format!("redis_database: {redis_database},");
    let files = FILES.iter().map(|(path, text)| Planned {
        path: name.fill(path),
        text: name.fill(text).replace(REDIS_DATABASE, &redis),
    });
    files.collect()
}
