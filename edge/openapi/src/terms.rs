//! On which terms an operation is served: what the edge asks of callers, whatever the service does.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::document::Version;

/// Of one operation.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// One of them is enough; empty where nobody is asked.
    pub schemes: Vec<Scheme>,
    /// Callers may also show nothing.
    pub is_optional: bool,
    /// Every one is needed.
    pub scopes: Vec<String>,
    /// One of them is needed, where there are any.
    pub roles: Vec<String>,
    /// All must allow.
    pub quotas: Vec<Quota>,
    /// Bytes.
    pub request_body_max: u64,
    pub request_timeout: Option<Duration>,
}

/// A way to show who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// A bearer token of this issuer.
    Jwt {
        issuer: String,
    },
    /// One of these keys, in this field of the request.
    ApiKey {
        keys: String,
        header: String,
    },
    ClientCertificate,
}

/// A rate limit in words.
#[derive(Debug, Clone)]
pub struct Quota {
    pub name: String,
    pub requests: u32,
    pub period: Duration,
    /// Requests at once after a pause.
    pub burst: u32,
    /// For whom requests are counted together.
    pub per: String,
}

impl Scheme {
    /// Unique among the schemes of a document.
    fn id(&self) -> String {
        let (kind, name) = match self {
            Self::Jwt { issuer } => ("bearer-", issuer.as_str()),
            Self::ApiKey { keys, .. } => ("key-", keys.as_str()),
            Self::ClientCertificate => ("client-certificate", ""),
        };
        format!("{kind}{name}")
    }

    /// None where the version has no word for it.
    fn declared(&self, version: Version) -> Option<Value> {
        match self {
            Self::Jwt { issuer } => Some(json!({
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": format!("An access token of `{issuer}`."),
            })),
            Self::ApiKey { keys, header } => Some(json!({
                "type": "apiKey",
                "in": "header",
                "name": header,
                "description": format!("A key of `{keys}`."),
            })),
            Self::ClientCertificate => (version == Version::V3_1)
                .then(|| json!({ "type": "mutualTLS", "description": "A client certificate." })),
        }
    }
}

impl Terms {
    /// `security` of the operation; declares the schemes it names.
    pub(crate) fn security(&self, version: Version, declared: &mut Map<String, Value>) -> Value {
        let mut alternatives = Vec::new();
        for scheme in &self.schemes {
            let Some(words) = scheme.declared(version) else {
                continue;
            };
            let id = scheme.id();
            // 3.0 has scopes of OAuth only; 3.1 lets other schemes list what is needed.
            let needed = match (version, scheme) {
                (Version::V3_1, Scheme::Jwt { .. } | Scheme::ApiKey { .. }) => &self.scopes[..],
                _ => &[],
            };
            alternatives.push(json!({ &*id: needed }));
            declared.insert(id, words);
        }
        if self.is_optional && !alternatives.is_empty() {
            alternatives.push(json!({}));
        }
        Value::Array(alternatives)
    }

    /// Whether a caller can be turned away for who they are.
    pub(crate) fn asks(&self) -> bool {
        !self.schemes.is_empty()
    }

    /// For people; empty where there are none.
    pub(crate) fn in_words(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {words}");
        };
        if !self.scopes.is_empty() {
            line(format!("Scopes: {}.", listed(&self.scopes)));
        }
        if !self.roles.is_empty() {
            line(format!("One of the roles {}.", listed(&self.roles)));
        }
        if self.schemes.contains(&Scheme::ClientCertificate) {
            line("A client certificate is taken.".to_owned());
        }
        for quota in &self.quotas {
            line(format!(
                "At most {} requests in {:?} {}, {} at once.",
                quota.requests, quota.period, quota.per, quota.burst
            ));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// Limits for programs.
    pub(crate) fn quotas(&self) -> Option<Value> {
        let quotas = self.quotas.iter().map(|quota| {
            json!({
                "name": quota.name,
                "requests": quota.requests,
                "period_seconds": quota.period.as_secs_f64(),
                "burst": quota.burst,
                "per": quota.per,
            })
        });
        (!self.quotas.is_empty()).then(|| quotas.collect())
    }
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
