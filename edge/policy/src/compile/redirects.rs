//! Redirects: where to, and never back to where the request came from.

use http::StatusCode;

use super::Compiler;
use super::rewrites::exact_host;
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{RedirectDoc, RouteDoc};
use crate::field::{At, Either, items};
use crate::model::Redirect;

/// Browsers remember permanent ones for ever, and what they remember cannot be taken back.
const STATUS: StatusCode = StatusCode::FOUND;
const STATUSES: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

impl Compiler<'_> {
    pub(super) fn redirect(&mut self, written: &At<RedirectDoc>, route: &RouteDoc) -> Redirect {
        let doc = &written.value;
        let places = [
            doc.host.is_absent(),
            doc.port.is_absent(),
            doc.path.is_absent(),
            doc.prefix.is_absent(),
        ];
        if places.iter().all(|absent| *absent) {
            let fault = Fault::new(
                codes::REDIRECT_LOOP,
                "the redirect has none of `host`, `port`, `path` and `prefix`, and leads back to this route",
            );
            let fault = if doc.scheme.is_absent() {
                fault
            } else {
                fault.hint(
                    "plain http is redirected to https by itself, where `plain_http` is not set",
                )
            };
            self.report.push(written.mark, fault);
        }
        self.refuse_loop(doc, route);
        let status = doc.status.given();
        let status = status.and_then(|at| self.report.check(at.mark, redirect_status(at.value)));
        let scheme = doc.scheme.given();
        let scheme = scheme.and_then(|at| self.report.check(at.mark, redirect_scheme(&at.value)));
        let host = doc.host.given();
        let host = host.and_then(|at| self.report.check(at.mark, exact_host(&at.value)));
        let port = self.large_number(&doc.port, 1, 1..=u64::from(u16::MAX));
        let port = u16::try_from(port).ok().filter(|_| !doc.port.is_absent());
        Redirect {
            status: status.unwrap_or(STATUS),
            scheme,
            host,
            port,
            path: self.path_rewrite((&doc.path, &doc.prefix), route),
        }
    }

    /// Within the same scheme, host and port a path must not lead to itself.
    fn refuse_loop(&mut self, doc: &RedirectDoc, route: &RouteDoc) {
        if !(doc.scheme.is_absent() && doc.host.is_absent() && doc.port.is_absent()) {
            return;
        }
        let paths = items(&route.matches).filter_map(|written| written.value.path.given());
        for path in paths {
            let (exact, prefix) = match &path.value {
                Either::Plain(text) => (Some(text), None),
                Either::Full(doc) => (
                    doc.exact.given().map(|at| &at.value),
                    doc.prefix.given().map(|at| &at.value),
                ),
            };
            let same = |to: &&At<String>| Some(&to.value) == exact || Some(&to.value) == prefix;
            let to = doc.path.given().filter(|to| Some(&to.value) == exact);
            if let Some(to) = to.or(doc.prefix.given().filter(same)) {
                let message = format!("{} is redirected to itself", shown(&to.value));
                self.report
                    .push(to.mark, Fault::new(codes::REDIRECT_LOOP, message));
            }
        }
    }
}

fn redirect_status(number: u64) -> Result<StatusCode, Fault> {
    let mut statuses = STATUSES.iter();
    let status = statuses.find(|status| u64::from(status.as_u16()) == number);
    status.copied().ok_or_else(|| {
        let message = format!("`{number}` is not the status of a redirect");
        Fault::new(codes::CHOICE, message)
            .hint("301 and 308 are for ever, 302 and 307 for now, 303 becomes a GET")
    })
}

fn redirect_scheme(text: &str) -> Result<&'static str, Fault> {
    match text {
        "http" => Ok("http"),
        "https" => Ok("https"),
        _ => {
            let message = format!("{} is neither `http` nor `https`", shown(text));
            Err(Fault::new(codes::CHOICE, message))
        }
    }
}
