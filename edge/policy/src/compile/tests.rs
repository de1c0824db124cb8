//! Tests of policies: requests that could be sent, and expectations that could hold.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, Uri};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Compiler, Index, quoted, values};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{
    Document, ExpectDoc, ExpectedFieldDoc, TestCertificateDoc, TestDoc, TestRequestDoc, all,
};
use crate::field::{At, Either, Entries, Field, Json, List, items};
use crate::model::{Expected, ExpectedField, TestCase, TestCertificate, TestRequest};

/// All are run at each reload.
const TESTS_MAX: usize = 10_000;
/// Fields of a request, and expected ones.
const FIELDS_MAX: usize = 100;
/// Limits, and shadow refusals, of one request.
const LISTED_MAX: usize = 32;

/// What expectations refer to.
pub(super) struct Expectable<'a, 'd> {
    pub(super) routes: &'a Index<'d>,
    pub(super) clusters: &'a Index<'d>,
    pub(super) limits: &'a Index<'d>,
}

impl Compiler<'_> {
    pub(super) fn tests(
        &mut self,
        documents: &[Document],
        names: &Expectable<'_, '_>,
    ) -> Vec<TestCase> {
        let tests = all(documents, |document| &document.tests);
        self.index(&tests, TESTS_MAX);
        let tests = tests.iter();
        tests.filter_map(|at| self.test(at, names)).collect()
    }

    fn test(&mut self, at: &At<TestDoc>, names: &Expectable<'_, '_>) -> Option<TestCase> {
        let doc = &at.value;
        let name = doc.name.given().map_or("", |name| &name.value);
        let owner = format!("test {}", quoted(name));
        let request = self.required(&doc.request, at.mark, "test", "request");
        let request = request.and_then(|request| self.test_request(request));
        let expect = self.required(&doc.expect, at.mark, "test", "expect");
        let expect = expect.map(|expect| self.expected(expect, names, &owner));
        let time = doc.at.given();
        Some(TestCase {
            name: name.into(),
            origin: self.origin(&doc.name, at.mark),
            at: time.and_then(|time| self.report.check(time.mark, instant(&time.value))),
            request: request?,
            expect: expect?,
        })
    }

    fn test_request(&mut self, at: &At<TestRequestDoc>) -> Option<TestRequest> {
        let doc = &at.value;
        let method = doc.method.given();
        let method = method.map_or(Some(Method::GET), |method| {
            self.report.check(method.mark, self::method(&method.value))
        });
        let url = self.required(&doc.url, at.mark, "request", "url");
        let url = url.and_then(|url| self.report.check(url.mark, self::url(&url.value)));
        let client = doc.client.given();
        let client = client.and_then(|at| self.report.check(at.mark, address(&at.value)));
        let claims = doc.claims.given();
        let claims = claims.and_then(|at| self.report.check(at.mark, claims_of(&at.value)));
        let certificate = doc.certificate.given();
        Some(TestRequest {
            headers: self.test_headers(&doc.headers),
            client,
            claims,
            certificate: certificate.map(|at| self.test_certificate(&at.value)),
            method: method?,
            url: url?,
        })
    }

    fn test_headers(&mut self, field: &Field<Entries<String>>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (key, value) in field.given().into_iter().flat_map(|at| &at.value.0) {
            let Some(value) = value.given() else { continue };
            let name = self.report.check(key.mark, header_name(&key.value));
            let text = HeaderValue::from_str(&value.value).map_err(|_| {
                Fault::new(
                    codes::TEST_REQUEST,
                    format!("{} is not a header value", shown(&value.value)),
                )
            });
            let text = self.report.check(value.mark, text);
            if headers.len() >= FIELDS_MAX {
                let fault = Fault::new(codes::TOO_MUCH, format!("more than {FIELDS_MAX} headers"));
                self.report.push(key.mark, fault);
                break;
            }
            headers.extend(name.zip(text));
        }
        headers
    }

    fn test_certificate(&mut self, doc: &TestCertificateDoc) -> TestCertificate {
        let text = |field: &Field<String>| field.given().map(|at| at.value.clone());
        let sha256 = doc.sha256.given();
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(at) = sha256.filter(|at| !is_digest(&at.value)) {
            let message = format!("{} is not a SHA-256", shown(&at.value));
            let fault = Fault::new(codes::TEST_REQUEST, message);
            self.report
                .push(at.mark, fault.hint("write its 64 hex digits"));
        }
        TestCertificate {
            subject: text(&doc.subject).unwrap_or_default(),
            sans: self.listed(&doc.sans),
            sha256: text(&doc.sha256),
        }
    }

    fn expected(
        &mut self,
        at: &At<ExpectDoc>,
        names: &Expectable<'_, '_>,
        owner: &str,
    ) -> Expected {
        let doc = &at.value;
        let text = |field: &Field<String>| field.given().map(|at| at.value.clone());
        for (field, index) in [(&doc.route, names.routes), (&doc.cluster, names.clusters)] {
            if let Some(reference) = field.given() {
                self.find(reference, index, owner);
            }
        }
        for reference in items(&doc.limits) {
            self.find(reference, names.limits, owner);
        }
        let own = [
            doc.status.is_absent(),
            doc.code.is_absent(),
            doc.location.is_absent(),
        ];
        if own.contains(&false)
            && let Some(cluster) = doc.cluster.given()
        {
            let message = "a request that goes to a cluster is not answered by the edge";
            let fault = Fault::new(codes::TEST_EXPECTATION, message);
            let hint = "expect a `cluster`, or a `status`, `code` and `location`";
            self.report.push(cluster.mark, fault.hint(hint));
        }
        let expected = Expected {
            route: text(&doc.route),
            status: doc
                .status
                .given()
                .and_then(|at| self.report.check(at.mark, status(at.value))),
            code: text(&doc.code),
            location: text(&doc.location),
            cluster: text(&doc.cluster),
            limits: doc.limits.given().map(|_| self.listed(&doc.limits)),
            cache: doc.cache.given().map(|at| at.value),
            upstream_path: text(&doc.upstream_path),
            upstream_headers: self.expected_fields(&doc.upstream_headers),
            response_headers: self.expected_fields(&doc.response_headers),
            shadow: doc.shadow.given().map(|_| self.listed(&doc.shadow)),
        };
        if expected == Expected::default() {
            let fault = Fault::new(codes::TEST_EXPECTATION, "the test expects nothing");
            self.report.push(
                at.mark,
                fault.hint("name a `route`, a `status` or a `cluster`"),
            );
        }
        expected
    }

    fn expected_fields(
        &mut self,
        field: &Field<Entries<Either<ExpectedFieldDoc>>>,
    ) -> Vec<(HeaderName, ExpectedField)> {
        let mut fields = Vec::new();
        for (key, wanted) in field.given().into_iter().flat_map(|at| &at.value.0) {
            let Some(wanted) = wanted.given() else {
                continue;
            };
            let name = self.report.check(key.mark, header_name(&key.value));
            let wanted = match &wanted.value {
                Either::Plain(text) => Some(ExpectedField::Value(text.clone())),
                Either::Full(doc) => {
                    let present =
                        self.required(&doc.present, wanted.mark, "expectation", "present");
                    present.map(|at| match at.value {
                        true => ExpectedField::Present,
                        false => ExpectedField::Absent,
                    })
                }
            };
            if fields.len() >= FIELDS_MAX {
                let fault = Fault::new(codes::TOO_MUCH, format!("more than {FIELDS_MAX} headers"));
                self.report.push(key.mark, fault);
                break;
            }
            fields.extend(name.zip(wanted));
        }
        fields
    }

    fn listed(&mut self, list: &List<String>) -> Vec<String> {
        self.texts(list, LISTED_MAX, |text| values::plain_text(text, "item"))
    }
}

fn method(text: &str) -> Result<Method, Fault> {
    Method::from_bytes(text.as_bytes())
        .map_err(|_| Fault::new(codes::METHOD, format!("{} is not a method", shown(text))))
}

fn url(text: &str) -> Result<String, Fault> {
    let uri = text.parse::<Uri>().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let has_host = uri
        .as_ref()
        .and_then(Uri::host)
        .is_some_and(|host| !host.is_empty());
    if !matches!(scheme, Some("https" | "http")) || !has_host {
        let message = format!("{} is not the URL of a request", shown(text));
        let fault = Fault::new(codes::TEST_REQUEST, message);
        return Err(
            fault.hint("write `https://host/path`, or `http://host/path` for the plain listener")
        );
    }
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            codes::TEST_REQUEST,
            format!("{} is not an IP address", shown(text)),
        )
    })
}

fn claims_of(json: &Json) -> Result<Map<String, Value>, Fault> {
    match &json.0 {
        Value::Object(claims) => Ok(claims.clone()),
        _ => {
            let fault = Fault::new(codes::WRONG_TYPE, "the claims are not a map");
            Err(fault.hint("write the claims of a token, as in `{ sub: u1, scope: read }`"))
        }
    }
}

fn header_name(text: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Fault::new(
            codes::HEADER,
            format!("{} is not a header name", shown(text)),
        )
    })
}

fn instant(text: &str) -> Result<SystemTime, Fault> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        let message = format!("{} is not a time", shown(text));
        Fault::new(codes::TEST_REQUEST, message).hint("write it as `2026-01-31T12:00:00Z`")
    })?;
    Ok(time.into())
}

fn status(number: u64) -> Result<u16, Fault> {
    u16::try_from(number)
        .ok()
        .filter(|status| (100..=599).contains(status))
        .ok_or_else(|| {
            let message = format!("`{number}` is not within `100` and `599`");
            Fault::new(codes::OUT_OF_RANGE, message)
        })
}
