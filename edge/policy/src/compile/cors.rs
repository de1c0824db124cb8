//! Which pages of other origins may use a route.
//!
//! This opens what browsers keep closed; whoever is no browser is not held back by it.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use url::{Origin, Url};

use super::{Compiler, headers, matches};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::CorsDoc;
use crate::field::{At, Either, Field, List, items};
use crate::model::{Cors, OriginMatch};

/// Compared one by one, with each request of a page.
const ORIGINS_MAX: usize = 64;
/// Names in one answer.
const NAMES_MAX: usize = 64;
const METHODS_MAX: usize = 16;
/// What a browser remembers too long cannot be taken back; without any it would ask twice each time.
const MAX_AGE: Duration = Duration::from_secs(600);
/// No browser keeps an answer longer than a day.
const MAX_AGE_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);

impl Compiler<'_> {
    pub(super) fn cors(&mut self, field: &Field<Either<CorsDoc>>) -> Option<Cors> {
        let at = field.given()?;
        let doc = self.unless("off", at)?;
        self.required_list(&doc.origins, at.mark, "cors", "origins");
        let credentials = doc.credentials.given().is_some_and(|at| at.value);
        let mut names =
            |list, key| self.open_list(list, key, NAMES_MAX, |text| headers::name(text).map(drop));
        let headers = names(&doc.headers, "headers");
        let expose_headers = names(&doc.expose_headers, "expose_headers");
        let methods = self.open_list(&doc.methods, "methods", METHODS_MAX, |text| {
            matches::method(text).map(drop)
        });
        Some(Cors {
            origins: self.cors_origins(&doc.origins, credentials),
            methods: joined(&methods),
            headers: joined(&headers),
            expose_headers: joined(&expose_headers),
            credentials,
            max_age: self.duration(&doc.max_age, MAX_AGE, MAX_AGE_BOUNDS),
        })
    }

    fn cors_origins(&mut self, list: &List<String>, credentials: bool) -> Vec<OriginMatch> {
        if let Some(any) = items(list).find(|item| item.value == "*") {
            if credentials {
                let fault = Fault::new(
                    codes::CORS_ORIGIN,
                    "any page at all could use a caller's credentials",
                );
                let hint = "list the origins, or leave `credentials` out";
                self.report.push(any.mark, fault.hint(hint));
            }
            if let Some(other) = items(list).find(|item| item.value != "*") {
                let message = format!("{} has no effect beside `*`", shown(&other.value));
                self.report
                    .push(other.mark, Fault::new(codes::CONTRADICTION, message));
            }
            return Vec::new();
        }
        let texts = self.texts(list, ORIGINS_MAX, |text| origin(text).map(drop));
        texts.iter().filter_map(|text| origin(text).ok()).collect()
    }

    /// A list that means "any" where it is left out; a star would say the same in another way.
    fn open_list(
        &mut self,
        list: &List<String>,
        key: &str,
        most: usize,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Vec<String> {
        if let Some(At { value, mark }) = list.given()
            && value.is_empty()
        {
            self.missing(*mark, format!("the cors has an empty list of `{key}`"));
        }
        self.texts(list, most, |text| match text {
            "*" if key == "expose_headers" => Err(Fault::new(
                codes::CHOICE,
                "browsers take `*` for the name of a field where there are credentials",
            )
            .hint("list the names")),
            "*" => Err(Fault::new(codes::CHOICE, "`*` is not among the choices")
                .hint(format!("leave `{key}` out to allow what a page asks for"))),
            text => check(text),
        })
    }
}

/// Names as fields list them; they were checked.
fn joined(names: &[String]) -> Option<HeaderValue> {
    let text = names.join(", ");
    HeaderValue::from_str(&text)
        .ok()
        .filter(|_| !names.is_empty())
}

/// `https://app.example.com`, `https://*.example.com`.
fn origin(text: &str) -> Result<OriginMatch, Fault> {
    if text == "null" {
        let fault = Fault::new(
            codes::CORS_ORIGIN,
            "`null` is the origin of any sandboxed page, whoever made it",
        );
        return Err(fault.hint("serve the page from an origin of its own"));
    }
    let fault = || Fault::new(codes::TEXT, format!("{} is not a web origin", shown(text)));
    let example = "write `https://app.example.com` or `https://*.example.com`";
    let subdomains = [("https://", "https://*."), ("http://", "http://*.")];
    let subdomains = subdomains
        .into_iter()
        .find_map(|(scheme, start)| Some((scheme, text.strip_prefix(start)?)));
    let plain = match subdomains {
        Some((scheme, rest)) => format!("{scheme}{rest}"),
        None => text.to_owned(),
    };
    let url = Url::parse(&plain).map_err(|_| fault().hint(example))?;
    let origin = url.origin();
    let is_web =
        matches!(&origin, Origin::Tuple(scheme, ..) if matches!(&**scheme, "http" | "https"));
    if !is_web || text.matches('*').count() != usize::from(subdomains.is_some()) {
        return Err(fault().hint(example));
    }
    // Browsers write it one way, and it is compared byte by byte.
    let serialized = origin.ascii_serialization();
    if serialized != plain {
        let written = match subdomains {
            Some((scheme, _)) => serialized.replacen(scheme, &format!("{scheme}*."), 1),
            None => serialized,
        };
        return Err(fault().hint(format!("write {}", shown(&written))));
    }
    Ok(match subdomains {
        Some((scheme, rest)) => OriginMatch::Subdomains {
            scheme,
            suffix: format!(".{rest}"),
        },
        None => OriginMatch::Exact(plain),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for right in [
            "https://a.example",
            "http://localhost:3000",
            "https://a.example:8443",
            "https://*.example.com",
            "https://[::1]:8443",
        ] {
            assert!(origin(right).is_ok(), "{right}");
        }
        for (wrong, hint) in [
            ("https://a.example/", "write `https://a.example`"),
            ("https://A.example", "write `https://a.example`"),
            ("https://a.example:443", "write `https://a.example`"),
            ("https://*.A.example:443", "write `https://*.a.example`"),
            ("https://ä.example", "write `https://xn--4ca.example`"),
        ] {
            assert_eq!(origin(wrong).unwrap_err().hint.as_deref(), Some(hint));
        }
        for wrong in [
            "",
            "*",
            "null",
            "a.example",
            "https://",
            "ftp://a.example",
            "file:///x",
            "https://*.*.example",
            "https://a*.example",
            "https://*",
            "*.example",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn subdomains_are_whole_labels() {
        let pattern = origin("https://*.example.com:8443").unwrap();
        for (text, holds) in [
            ("https://a.example.com:8443", true),
            ("https://a.b.example.com:8443", true),
            ("https://example.com:8443", false),
            ("https://.example.com:8443", false),
            ("https://a..example.com:8443", false),
            ("https://evilexample.com:8443", false),
            ("https://a.example.com", false),
            ("http://a.example.com:8443", false),
            ("https://evil.test/.example.com:8443", false),
            ("https://evil.test:1.example.com:8443", false),
            ("https://evil@a.example.com:8443", false),
            ("https://a.example.com:8443.evil.test", false),
        ] {
            assert_eq!(pattern.holds(text), holds, "{text}");
        }
    }
}
