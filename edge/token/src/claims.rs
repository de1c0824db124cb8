//! The claims of a verified token: checked ones as fields, all of them as JSON.
//!
//! Invariant: a value of this type passed every check of its issuer at the time it was made; times are
//! checked again by [`Claims::check_times`] whenever a remembered one is used.
//! Refuses: claims of a type other than RFC 7519 and RFC 9068 give them (CVE-2026-25537: a string `nbf`
//! that a library skipped was a token valid for ever).

use crate::refusal::Refusal;
use crate::spec::IssuerSpec;
use crate::strict_json;
use crate::verifier::TOKEN_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Largest integer a JSON number carries exactly when an encoder wrote it as a float.
const FLOAT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Seconds since 1970-01-01T00:00:00Z: the `NumericDate` of RFC 7519 section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

/// What a verified token says.
pub struct Claims {
    /// `sub`.
    pub subject: Option<String>,
    /// `iss`: equal to the issuer's configured identifier.
    pub issuer: String,
    /// `scope` (RFC 8693 section 4.2: one string, split at spaces), else `scp` (string or array).
    pub scopes: Vec<String>,
    /// `roles`: array or one string. A string is one role, never split.
    pub roles: Vec<String>,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// Every claim as received. Text in here is the issuer's word: whoever puts it into a header field
    /// must check it for control characters.
    pub raw: Map<String, Value>,
}

impl Claims {
    /// Reads and checks everything but the times.
    pub(crate) fn read(payload: &[u8], spec: &IssuerSpec) -> Result<Self, Refusal> {
        let raw = strict_json::object(payload)
            .map_err(|_| Refusal::Malformed("claims are not a strict JSON object"))?;
        let issuer = match raw.get("iss") {
            None => return Err(Refusal::MissingClaim("iss")),
            Some(Value::String(issuer)) if *issuer == spec.issuer => issuer.clone(),
            Some(Value::String(_)) => return Err(Refusal::WrongIssuer),
            Some(_) => return Err(Refusal::BadClaim("iss")),
        };
        check_audience(raw.get("aud"), &spec.audiences)?;
        let expires_at = date(&raw, "exp")?.ok_or(Refusal::MissingClaim("exp"))?;
        let not_before = date(&raw, "nbf")?;
        if spec.require_nbf && not_before.is_none() {
            return Err(Refusal::MissingClaim("nbf"));
        }
        date(&raw, "iat")?;
        Self::of(raw, issuer, expires_at, not_before)
    }

    /// Claims that nobody signed, for questions about what such a token would be given. What is absent
    /// is not asked for: without `exp` they hold for ever, without `iss` they are of no issuer.
    ///
    /// # Errors
    /// If a claim is of another type than a token's may be.
    pub fn assumed(raw: Map<String, Value>) -> Result<Self, Refusal> {
        let issuer = match raw.get("iss") {
            None => String::new(),
            Some(Value::String(issuer)) => issuer.clone(),
            Some(_) => return Err(Refusal::BadClaim("iss")),
        };
        let expires_at = date(&raw, "exp")?.unwrap_or(UnixTime(u64::MAX));
        let not_before = date(&raw, "nbf")?;
        Self::of(raw, issuer, expires_at, not_before)
    }

    fn of(
        raw: Map<String, Value>,
        issuer: String,
        expires_at: UnixTime,
        not_before: Option<UnixTime>,
    ) -> Result<Self, Refusal> {
        let subject = match raw.get("sub") {
            None => None,
            Some(Value::String(subject)) => Some(subject.clone()),
            Some(_) => return Err(Refusal::BadClaim("sub")),
        };
        let scopes = match raw.get("scope") {
            Some(scope) => words(scope, "scope", true)?,
            None => raw
                .get("scp")
                .map_or(Ok(Vec::new()), |scp| words(scp, "scp", true))?,
        };
        let roles = raw
            .get("roles")
            .map_or(Ok(Vec::new()), |roles| words(roles, "roles", false))?;
        Ok(Self {
            subject,
            issuer,
            scopes,
            roles,
            expires_at,
            not_before,
            raw,
        })
    }

    /// RFC 7519 sections 4.1.4 and 4.1.5: `now` must be before `exp`, and not before `nbf`, give or take.
    pub(crate) fn check_times(&self, leeway: Duration, now: UnixTime) -> Result<(), Refusal> {
        let leeway = leeway.as_secs();
        if now.0 >= self.expires_at.0.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        match self.not_before {
            Some(not_before) if now.0.saturating_add(leeway) < not_before.0 => {
                Err(Refusal::NotYetValid)
            }
            _ => Ok(()),
        }
    }

    /// A claim as text, by a path with dots: `sub`, `realm_access.tier`, `https://example.com/plan`.
    /// Strings as they are, numbers and booleans as JSON writes them; `None` for null, arrays and objects.
    /// A claim whose own name has dots wins over a nested one.
    pub fn get_str(&self, path: &str) -> Option<Cow<'_, str>> {
        text(find(&self.raw, path)?)
    }

    /// A claim as [`Self::get_str`] gives it, or each such item of an array.
    pub fn values(&self, path: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let items = match find(&self.raw, path) {
            Some(Value::Array(items)) => items.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        items.iter().filter_map(text)
    }

    /// A claim of any type, by a path as in [`Claims::get_str`].
    pub fn get(&self, path: &str) -> Option<&Value> {
        find(&self.raw, path)
    }

    /// Whether the token was granted `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }

    /// Whether the token carries `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|carried| carried == role)
    }
}

// Claims are personal data: a debug line says that they exist, not what they are.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("issuer", &self.issuer)
            .field("expires_at", &self.expires_at)
            .field("claims", &self.raw.len())
            .finish_non_exhaustive()
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The `iss` of a token that nobody has verified: good for choosing the issuer whose rules it is then
/// verified by, and for nothing else.
pub fn unverified_issuer(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    match strict_json::object(&payload).ok()?.remove("iss")? {
        Value::String(issuer) => Some(issuer),
        _ => None,
    }
}

fn find<'a>(map: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = map.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let inner = map.get(path.get(..dot)?)?.as_object()?;
        find(inner, path.get(dot + 1..)?)
    })
}

fn check_audience(found: Option<&Value>, expected: &[String]) -> Result<(), Refusal> {
    let is_ours = |name: &str| expected.iter().any(|ours| ours == name);
    let fits = match found {
        None => return Err(Refusal::MissingClaim("aud")),
        Some(Value::String(name)) => is_ours(name),
        Some(Value::Array(names)) => {
            let mut fits = false;
            for name in names {
                fits |= is_ours(name.as_str().ok_or(Refusal::BadClaim("aud"))?);
            }
            fits
        }
        Some(_) => return Err(Refusal::BadClaim("aud")),
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::WrongAudience)
    }
}

fn date(raw: &Map<String, Value>, name: &'static str) -> Result<Option<UnixTime>, Refusal> {
    let Some(value) = raw.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(UnixTime(seconds)));
    }
    // `1.7e9` is the same number as `1700000000`, and some encoders write it so.
    match value.as_f64() {
        Some(float) if float.fract() == 0.0 && (0.0..=FLOAT_INTEGER_MAX).contains(&float) => {
            Ok(Some(UnixTime(float as u64)))
        }
        _ => Err(Refusal::BadClaim(name)),
    }
}

fn words(value: &Value, name: &'static str, split: bool) -> Result<Vec<String>, Refusal> {
    match value {
        Value::String(text) if split => {
            Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or(Refusal::BadClaim(name))
            })
            .collect(),
        _ => Err(Refusal::BadClaim(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_paths() {
        let raw = strict_json::object(
            br#"{"sub":"u1","n":7,"neg":-2,"f":1.50,"yes":true,"null":null,"list":["a"],
                 "a":{"b":{"c":"deep"},"b.c":"named"},"https://x.example/plan":"gold",
                 "https://x.example/o":{"tier":3}}"#,
        )
        .unwrap();
        let claims = Claims {
            subject: None,
            issuer: String::new(),
            scopes: Vec::new(),
            roles: Vec::new(),
            expires_at: UnixTime(0),
            not_before: None,
            raw,
        };
        for (path, expected) in [
            ("sub", Some("u1")),
            ("n", Some("7")),
            ("neg", Some("-2")),
            ("f", Some("1.5")),
            ("yes", Some("true")),
            ("null", None),
            ("list", None),
            ("a", None),
            ("a.b.c", Some("named")),
            ("https://x.example/plan", Some("gold")),
            ("https://x.example/o.tier", Some("3")),
            ("a..b", None),
            (".", None),
            ("", None),
            ("é.é", None),
        ] {
            assert_eq!(claims.get_str(path).as_deref(), expected, "{path}");
        }
        for (path, expected) in [
            ("sub", vec!["u1"]),
            ("list", vec!["a"]),
            ("null", Vec::new()),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(claims.values(path).collect::<Vec<_>>(), expected, "{path}");
        }
        assert!(!format!("{claims:?}").contains("gold"));
    }
}
