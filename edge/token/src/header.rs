//! The JOSE header of a token (RFC 7515 section 4).
//!
//! Invariant: the header only *asks* for a key and an algorithm; what it carries itself is never trusted.
//! `jku`, `x5u`, `jwk` and `x5c` are ignored: refusing them would break issuers that attach them for
//! others, and following them would let the token bring its own key.
//! Refuses: `crit`, since no extension is understood here.

use crate::algorithm::Algorithm;
use crate::key_set::KID_BYTES_MAX;
use crate::refusal::Refusal;
use crate::strict_json;
use serde_json::Value;

/// What is read from a header.
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
}

/// Reads the decoded header; `token_types` as in [`crate::IssuerSpec::token_types`].
pub(crate) fn read(bytes: &[u8], token_types: &[String]) -> Result<Header, Refusal> {
    let mut header = strict_json::object(bytes)
        .map_err(|_| Refusal::Malformed("header is not a strict JSON object"))?;
    if header.contains_key("crit") {
        return Err(Refusal::CriticalHeader);
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => {
            Algorithm::from_jose(name).ok_or(Refusal::UnsupportedAlgorithm)?
        }
        _ => return Err(Refusal::Malformed("header has no string `alg`")),
    };
    check_type(header.get("typ"), token_types)?;
    let kid = match header.remove("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid),
        Some(_) => return Err(Refusal::Malformed("header `kid` is not a short string")),
    };
    Ok(Header { algorithm, kid })
}

/// RFC 8725 section 3.11: an ID token must not pass for an access token. Media types compare without case,
/// and `application/` may be left out (RFC 7515 section 4.1.9).
fn check_type(found: Option<&Value>, allowed: &[String]) -> Result<(), Refusal> {
    let found = match found {
        // The default list is "JWT, at+jwt or nothing"; a list that was written down means what it says.
        None if allowed.is_empty() => return Ok(()),
        Some(Value::String(found)) => bare_type(found),
        _ => return Err(Refusal::WrongType),
    };
    let fits = if allowed.is_empty() {
        found.eq_ignore_ascii_case("JWT") || found.eq_ignore_ascii_case("at+jwt")
    } else {
        allowed
            .iter()
            .any(|name| bare_type(name).eq_ignore_ascii_case(found))
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::WrongType)
    }
}

fn bare_type(name: &str) -> &str {
    const PREFIX: &str = "application/";
    match name.split_at_checked(PREFIX.len()) {
        Some((prefix, bare)) if prefix.eq_ignore_ascii_case(PREFIX) => bare,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, types: &[&str], expected: Result<(), Refusal>) {
        let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            read(header.as_bytes(), &types).map(|_| ()),
            expected,
            "{header}"
        );
    }

    #[test]
    fn types() {
        let wrong = || Err(Refusal::WrongType);
        check(r#"{"alg":"ES256"}"#, &[], Ok(()));
        check(r#"{"alg":"ES256","typ":"jwt"}"#, &[], Ok(()));
        check(r#"{"alg":"ES256","typ":"application/at+jwt"}"#, &[], Ok(()));
        check(r#"{"alg":"ES256","typ":"dpop+jwt"}"#, &[], wrong());
        check(r#"{"alg":"ES256","typ":7}"#, &[], wrong());
        check(r#"{"alg":"ES256"}"#, &["at+jwt"], wrong());
        check(r#"{"alg":"ES256","typ":"JWT"}"#, &["at+jwt"], wrong());
        check(r#"{"alg":"ES256","typ":"AT+JWT"}"#, &["at+jwt"], Ok(()));
        check(
            r#"{"alg":"ES256","typ":"svc+jwt"}"#,
            &["application/svc+jwt"],
            Ok(()),
        );
    }

    #[test]
    fn shapes() {
        let malformed = |why| Err(Refusal::Malformed(why));
        check(r#"{"alg":1}"#, &[], malformed("header has no string `alg`"));
        check(r#"{}"#, &[], malformed("header has no string `alg`"));
        check(
            r#"{"alg":"ES256","kid":1}"#,
            &[],
            malformed("header `kid` is not a short string"),
        );
        check(
            &format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257)),
            &[],
            malformed("header `kid` is not a short string"),
        );
        check(
            r#"{"alg":"ES256","alg":"ES256"}"#,
            &[],
            malformed("header is not a strict JSON object"),
        );
        for none in ["none", "None", "NONE", "", "HS256", "RS512", "ES384"] {
            check(
                &format!(r#"{{"alg":"{none}"}}"#),
                &[],
                Err(Refusal::UnsupportedAlgorithm),
            );
        }
        check(
            r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
            &[],
            Err(Refusal::CriticalHeader),
        );
        check(
            r#"{"alg":"ES256","crit":[]}"#,
            &[],
            Err(Refusal::CriticalHeader),
        );
    }
}
