//! Conditions of matches: values, addresses, certificates, claims, and `all`, `any`, `not`.
//!
//! What is written twice is compiled once: an expression, a set of addresses.

use std::collections::HashMap;

use http::{HeaderName, Method};

use super::addresses::AddressSets;
use super::matches::method;
use super::{Compiler, headers, values};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown};
use crate::document::{CertificateDoc, MatchDoc, ValueDoc};
use crate::field::{At, Either, Entries, Field, List, items};
use crate::model::{
    CertificateMatch, Conditions, REGEX_TEXT_BYTES_MAX, Regex, RegexFault, ValueMatch,
};

/// Conditions on headers, on the query, on claims, of one match: all are compared for each request.
const CONDITIONS_MAX: usize = 16;
/// `all`, `any` and `not` within each other.
const DEPTH_MAX: usize = 8;
/// Conditions below `all`, `any` and `not` of one match.
const NESTED_MAX: usize = 64;
/// Different expressions of a policy; each may take 256 KiB.
const REGEXES_MAX: usize = 4_096;

/// What conditions share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) addresses: AddressSets,
    /// By text, and whether it is compared with paths.
    regexes: HashMap<(String, bool), Regex>,
}

/// What an expression is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    Value,
    Path,
}

/// Where in a match the compiler is.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// Conditions seen so far.
    count: usize,
    /// Said once.
    is_too_much: bool,
}

impl Compiler<'_> {
    pub(super) fn conditions(&mut self, doc: &MatchDoc) -> Conditions {
        self.conditions_at(doc, &mut Nesting::default())
    }

    fn conditions_at(&mut self, doc: &MatchDoc, nesting: &mut Nesting) -> Conditions {
        let mut conditions = Conditions {
            methods: self.methods(&doc.methods),
            headers: self.value_matches(&doc.headers, condition_header),
            query: self.value_matches(&doc.query, |text| named(text, "query parameter")),
            client_addresses: self.client_addresses(&doc.client_addresses),
            client_certificate: doc
                .client_certificate
                .given()
                .and_then(|at| self.certificate_match(at)),
            claims: self.value_matches(&doc.claims, |text| named(text, "claim")),
            ..Conditions::default()
        };
        for (key, list) in [("all", &doc.all), ("any", &doc.any)] {
            if let Some(list) = list.given()
                && list.value.is_empty()
            {
                self.missing(list.mark, format!("the list of `{key}` is empty"));
            }
        }
        for below in items(&doc.all) {
            conditions
                .all
                .extend(self.nested(&below.value, below.mark, nesting));
        }
        for below in items(&doc.any) {
            conditions
                .any
                .extend(self.nested(&below.value, below.mark, nesting));
        }
        if let Some(below) = doc.not.given() {
            let not = self.nested(&below.value, below.mark, nesting);
            conditions.not = not.map(Box::new);
        }
        conditions
    }

    fn nested(&mut self, doc: &MatchDoc, mark: Mark, nesting: &mut Nesting) -> Option<Conditions> {
        nesting.count += 1;
        let problem = if nesting.depth >= DEPTH_MAX {
            Some(format!("conditions are nested deeper than {DEPTH_MAX}"))
        } else if nesting.count > NESTED_MAX {
            Some(format!("more than {NESTED_MAX} conditions in one match"))
        } else {
            None
        };
        if let Some(message) = problem {
            if !std::mem::replace(&mut nesting.is_too_much, true) {
                self.report.push(mark, Fault::new(codes::TOO_MUCH, message));
            }
            return None;
        }
        if let Some(path) = doc.path.given() {
            let fault = Fault::new(
                codes::NESTED_PATH,
                "a path is no condition below `all`, `any` and `not`",
            );
            self.report.push(
                path.mark,
                fault.hint("write one entry of `matches` for each path"),
            );
        } else if doc.is_empty() {
            self.missing(mark, "the condition asks for nothing".to_owned());
        }
        nesting.depth += 1;
        let conditions = self.conditions_at(doc, nesting);
        nesting.depth -= 1;
        Some(conditions)
    }

    fn methods(&mut self, list: &List<String>) -> Vec<Method> {
        if let Some(list) = list.given()
            && list.value.is_empty()
        {
            let fault = Fault::new(codes::MISSING, "the list of methods is empty");
            self.report.push(
                list.mark,
                fault.hint("leave `methods` out to match every method"),
            );
        }
        let methods = self.texts(list, super::matches::METHODS.len(), |text| {
            method(text).map(drop)
        });
        methods
            .iter()
            .filter_map(|name| method(name).ok())
            .collect()
    }

    /// Named values, each name once.
    pub(super) fn value_matches<N: PartialEq>(
        &mut self,
        field: &Field<Entries<Either<ValueDoc>>>,
        name: impl Fn(&str) -> Result<N, Fault>,
    ) -> Vec<(N, ValueMatch)> {
        let mut matches: Vec<(N, ValueMatch)> = Vec::new();
        for (key, wanted) in field.given().into_iter().flat_map(|at| &at.value.0) {
            let name = self.report.check(key.mark, name(&key.value));
            let wanted = wanted.given().and_then(|at| self.value_match(at));
            let (Some(name), Some(wanted)) = (name, wanted) else {
                continue;
            };
            if matches.iter().any(|(other, _)| *other == name) {
                let message = format!("{} is listed twice", shown(&key.value));
                self.report
                    .push(key.mark, Fault::new(codes::REPEATED, message));
            } else if matches.len() >= CONDITIONS_MAX {
                let message = format!("more than {CONDITIONS_MAX} conditions");
                self.report
                    .push(key.mark, Fault::new(codes::TOO_MUCH, message));
                break;
            } else {
                matches.push((name, wanted));
            }
        }
        matches
    }

    pub(super) fn value_match(&mut self, at: &At<Either<ValueDoc>>) -> Option<ValueMatch> {
        let doc = match &at.value {
            Either::Full(doc) => doc,
            Either::Plain(text) => {
                self.report.check(at.mark, exact_value(text))?;
                return Some(ValueMatch::Exact(text.clone()));
            }
        };
        let texts = [&doc.exact, &doc.prefix, &doc.suffix, &doc.regex];
        let given = texts.iter().filter(|field| !field.is_absent()).count()
            + usize::from(!doc.present.is_absent());
        if given != 1 {
            let fault = Fault::new(
                codes::CHOICE,
                "a value is one of `exact`, `prefix`, `suffix`, `regex` and `present`",
            );
            self.report.push(
                Mark {
                    length: 1,
                    ..at.mark
                },
                fault,
            );
            return None;
        }
        if let Some(present) = doc.present.given() {
            if present.value {
                return Some(ValueMatch::Present);
            }
            let fault = Fault::new(codes::CHOICE, "absence is not matched by `present: false`");
            let hint = "write `not: {headers: {NAME: {present: true}}}`, or the like for the query";
            self.report.push(present.mark, fault.hint(hint));
            return None;
        }
        if let Some(text) = doc.exact.given() {
            self.report.check(text.mark, exact_value(&text.value))?;
            return Some(ValueMatch::Exact(text.value.clone()));
        }
        if let Some(text) = doc.regex.given() {
            return self.regex(text, Compared::Value).map(ValueMatch::Regex);
        }
        let part = doc.prefix.given().or(doc.suffix.given())?;
        let checked = values::plain_text(&part.value, "value");
        let checked = checked.map_err(|fault| match part.value.is_empty() {
            true => fault.hint("write `{present: true}` for any value"),
            false => fault,
        });
        self.report.check(part.mark, checked)?;
        Some(match doc.prefix.given() {
            Some(_) => ValueMatch::Prefix(part.value.clone()),
            None => ValueMatch::Suffix(part.value.clone()),
        })
    }

    pub(super) fn certificate_match(
        &mut self,
        at: &At<CertificateDoc>,
    ) -> Option<CertificateMatch> {
        let CertificateDoc {
            subject,
            san,
            sha256,
        } = &at.value;
        if subject.is_absent() && san.is_absent() && sha256.is_absent() {
            self.missing(
                at.mark,
                "the client certificate has none of `subject`, `san` and `sha256`".to_owned(),
            );
            return None;
        }
        let sha256 = sha256.given();
        Some(CertificateMatch {
            subject: subject.given().and_then(|at| self.value_match(at)),
            san: san.given().and_then(|at| self.value_match(at)),
            sha256: sha256.and_then(|at| self.report.check(at.mark, digest(&at.value))),
        })
    }

    pub(super) fn regex(&mut self, at: &At<String>, compared: Compared) -> Option<Regex> {
        let key = (at.value.clone(), compared == Compared::Path);
        if let Some(regex) = self.shared.regexes.get(&key) {
            return Some(regex.clone());
        }
        if self.shared.regexes.len() >= REGEXES_MAX {
            let message = format!("more than {REGEXES_MAX} regular expressions");
            self.report
                .push(at.mark, Fault::new(codes::TOO_MUCH, message));
            return None;
        }
        let regex = self.report.check(at.mark, regex(&at.value, compared))?;
        self.shared.regexes.insert(key, regex.clone());
        Some(regex)
    }
}

fn regex(text: &str, compared: Compared) -> Result<Regex, Fault> {
    let fault = |why: &str| {
        // A backslash is part of most of them, and shown as it is written.
        let text = shown(text).replace(r"\\", r"\");
        let message = format!("{text} is not a regular expression: {why}");
        Fault::new(codes::REGEX, message)
    };
    if text.is_empty() {
        return Err(fault("it is empty"));
    }
    if text.len() > REGEX_TEXT_BYTES_MAX {
        return Err(fault(&format!(
            "it is longer than {REGEX_TEXT_BYTES_MAX} bytes"
        )));
    }
    let compiled = match compared {
        Compared::Value => Regex::of_value(text),
        Compared::Path => Regex::of_path(text),
    };
    compiled.map_err(|RegexFault(why)| fault(&why))
}

/// SHA-256, as `sha256sum` prints it.
pub(super) fn digest(text: &str) -> Result<[u8; 32], Fault> {
    let fault = || {
        let message = format!("{} is not a SHA-256 digest", shown(text));
        Fault::new(codes::DIGEST, message)
    };
    let plain = text.replace(':', "").to_ascii_lowercase();
    let is_hex = plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(fault().hint("64 hexadecimal digits"));
    }
    if plain != text {
        return Err(fault().hint(format!("write `{plain}`")));
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(plain.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| fault())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| fault())?;
    }
    Ok(digest)
}

fn exact_value(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Ok(());
    }
    values::plain_text(text, "value")
}

fn named(text: &str, what: &str) -> Result<String, Fault> {
    values::plain_text(text, what)?;
    Ok(text.to_owned())
}

fn condition_header(text: &str) -> Result<HeaderName, Fault> {
    let name = headers::readable_name(text)?;
    if name == http::header::HOST {
        return Err(Fault::new(
            codes::PROTECTED_HEADER,
            "the host is not matched as a header",
        )
        .hint("write `hosts`"));
    }
    Ok(name)
}
