//! Tests of policies, compiled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use super::Origin;

/// A request that nobody sent, and what is to become of it.
#[derive(Debug, Clone)]
pub struct TestCase {
    pub name: Arc<str>,
    pub origin: Origin,
    pub request: TestRequest,
    /// Now where it is not given.
    pub at: Option<SystemTime>,
    pub expect: Expected,
}

#[derive(Debug, Clone)]
pub struct TestRequest {
    pub method: Method,
    /// With its scheme.
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub client: Option<IpAddr>,
    /// Of a token that counts as verified.
    pub claims: Option<Map<String, Value>>,
    pub certificate: Option<TestCertificate>,
}

/// Counts as verified for the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestCertificate {
    pub subject: String,
    pub sans: Vec<String>,
    pub sha256: Option<String>,
}

/// What is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    pub route: Option<String>,
    /// Of an answer of the edge's own.
    pub status: Option<u16>,
    /// Its stable name.
    pub code: Option<String>,
    pub location: Option<String>,
    pub cluster: Option<String>,
    /// All that count the request, in any order.
    pub limits: Option<Vec<String>>,
    /// Whether it may be answered from memory.
    pub cache: Option<bool>,
    pub upstream_path: Option<String>,
    pub upstream_headers: Vec<(HeaderName, ExpectedField)>,
    pub response_headers: Vec<(HeaderName, ExpectedField)>,
    /// Codes of refusals that only count; all of them, in any order.
    pub shadow: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedField {
    Value(String),
    Present,
    Absent,
}
