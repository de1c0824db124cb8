//! How the rules say no.
//! Invariant: a variant is a fact of the domain; what the wire makes of it is
//! `grpc`'s business.

use core_platform::db;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such item")]
    NoSuchItem,
    #[error("you have an item of this name")]
    NameTaken,
    #[error("there may be no more items")]
    TooMany,
    #[error(transparent)]
    Db(#[from] db::Error),
}
