//! The policy language from the outside: files in, model or errors out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod environment;
mod fields;
mod folder;
mod hostile;
mod inheritance;
mod reference;
mod reloading;
mod rules;
mod shipped;
mod summary;
mod watching;
