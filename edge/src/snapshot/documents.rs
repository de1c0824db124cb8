//! Descriptions of the API that were asked for: each is made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_openapi::Document;
use palisade_policy::hosts::HostId;

/// The name of the route that shows it, the rules of the host, and the class of hosts that routes
/// tell apart: the policy bounds how many there are.
type Key = (Arc<str>, HostId, String);

/// By what they are about.
#[derive(Debug, Default)]
pub struct Documents(Mutex<HashMap<Key, Arc<Document>>>);

impl Documents {
    /// Whoever comes meanwhile waits: to make one takes some milliseconds.
    pub fn get(&self, key: Key, make: impl FnOnce() -> Document) -> Arc<Document> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(key).or_insert_with(|| Arc::new(make())).clone()
    }
}
