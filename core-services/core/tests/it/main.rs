//! The real binary on free ports, called over real mutual TLS.
//! Invariant: a test waits for conditions, never for time, and each has its own
//! process, directory and certificates.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod harness;

mod accounts;
mod credentials;
mod keys;
mod messages;
mod mesh;
mod input;
mod life;
mod dependencies;
mod operators;
mod ops;
mod commands;
mod storage;
mod policies;
mod spans;
mod generated;
