//! Paths that become others, on the way upstream or in a redirect.

use http::HeaderValue;

use super::patterns::Variables;
use super::{Compiler, hosts};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::RouteDoc;
use crate::field::{Either, Field, items};
use crate::model::{PathRewrite, Rewrite};
use crate::routing::HostMatch;

impl Compiler<'_> {
    pub(super) fn rewrite(&mut self, route: &RouteDoc) -> Option<Rewrite> {
        let written = route.rewrite.given()?;
        let doc = &written.value;
        if doc.path.is_absent() && doc.prefix.is_absent() && doc.host.is_absent() {
            let message = "the rewrite has none of `path`, `prefix` and `host`".to_owned();
            self.missing(written.mark, message);
        }
        let path = self.path_rewrite((&doc.path, &doc.prefix), route);
        let host = doc.host.given();
        let host = host.and_then(|at| self.report.check(at.mark, authority(&at.value)));
        Some(Rewrite { path, host })
    }

    /// `path` or `prefix`.
    pub(super) fn path_rewrite(
        &mut self,
        (path, prefix): (&Field<String>, &Field<String>),
        route: &RouteDoc,
    ) -> Option<PathRewrite> {
        let variables = Variables::of(route);
        match (path.given(), prefix.given()) {
            (Some(_), Some(second)) => {
                let fault = Fault::new(
                    codes::CHOICE,
                    "a path is changed by one of `path` and `prefix`",
                );
                self.report.push(second.mark, fault);
                None
            }
            (Some(path), None) => self.path_pattern(path, &variables).map(PathRewrite::Full),
            (None, Some(prefix)) => {
                if !every_match_is_a_prefix(route) {
                    let fault = Fault::new(
                        codes::CONTRADICTION,
                        "`prefix` takes the place of the prefix that matched, and not every match is by one",
                    );
                    self.report.push(
                        prefix.mark,
                        fault.hint("write `path`, or a route of its own"),
                    );
                }
                let stem = prefix.value.trim_end_matches('/');
                if !stem.is_empty() && stem.len() < prefix.value.len() {
                    let message = format!(
                        "{} ends in a slash; what follows the prefix brings its own",
                        shown(&prefix.value)
                    );
                    let fault = Fault::new(codes::PATH, message);
                    self.report
                        .push(prefix.mark, fault.hint(format!("write {}", shown(stem))));
                    return None;
                }
                self.path_pattern(prefix, &variables)
                    .map(PathRewrite::Prefix)
            }
            (None, None) => None,
        }
    }
}

pub(super) fn every_match_is_a_prefix(route: &RouteDoc) -> bool {
    let mut paths = items(&route.matches).filter_map(|written| written.value.path.given());
    paths.all(|path| match &path.value {
        Either::Plain(_) => false,
        Either::Full(doc) => !doc.prefix.is_absent(),
    })
}

/// `backend.internal`, `backend.internal:8080`.
fn authority(text: &str) -> Result<HeaderValue, Fault> {
    let (name, port) = match text.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((name, port)) if !port.contains([']', '/']) => (name, Some(port)),
        _ => (text, None),
    };
    exact_host(name)?;
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && matches!(port.parse::<u16>(), Ok(1..))
    };
    if !port.is_none_or(is_port) {
        let message = format!("{} has no port that can be", shown(text));
        return Err(Fault::new(codes::HOST, message).hint("write `host` or `host:8080`"));
    }
    HeaderValue::from_str(text).map_err(|_| {
        let message = format!("{} is not a host", shown(text));
        Fault::new(codes::HOST, message)
    })
}

/// A host that can be asked for.
pub(super) fn exact_host(text: &str) -> Result<String, Fault> {
    match hosts::host(text)? {
        HostMatch::Exact(host) => Ok(host),
        _ => Err(Fault::new(
            codes::HOST,
            format!("{} is a pattern, and one host is needed", shown(text)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for right in [
            "a.example",
            "a.example:8080",
            "10.0.0.1:1",
            "[::1]",
            "[::1]:8080",
        ] {
            assert_eq!(authority(right).unwrap().to_str().unwrap(), right);
        }
        for wrong in [
            "",
            "A.example",
            "*.example",
            "a.example:0",
            "a.example:65536",
            "a.example:x",
            "a.example:+1",
            "https://a.example",
            "::1",
            "a@b",
        ] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }
}
