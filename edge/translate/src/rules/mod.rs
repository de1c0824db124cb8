//! `google.api.http` rules: parsed, resolved against the descriptors and found again by path.

pub(crate) mod binding;
pub(crate) mod field_path;
pub(crate) mod index;
pub(crate) mod rule;
pub(crate) mod shape;
pub(crate) mod template;
