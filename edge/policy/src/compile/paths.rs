//! Path patterns, in the one spelling that requests are brought to before they are compared.
//!
//! Invariant: a pattern that can never match is an error, and its hint is the spelling that can.
//! Same rules as the edge's own (RFC 3986, 6.2.2): unreserved characters decoded, other escapes
//! in upper case, no empty and no dot segments; `\`, `;` and escaped `/` `\` `;` never match.

use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::PathDoc;
use crate::field::{At, Either};
use crate::model::Regex;
use crate::routing::{PathMatch, Segment};

use super::Compiler;
use super::conditions::Compared;

/// No longer than what the edge accepts of a request.
const PATH_BYTES_MAX: usize = 8 * 1024;
/// Segments of a template, each compared one by one.
const SEGMENTS_MAX: usize = 64;

impl Compiler<'_> {
    pub(super) fn path(&mut self, at: &At<Either<PathDoc>>) -> Option<PathMatch> {
        let doc = match &at.value {
            Either::Plain(text) => {
                let fault = exact(text).map(PathMatch::Exact);
                return self.report.check(at.mark, fault);
            }
            Either::Full(doc) => doc,
        };
        let forms = [&doc.exact, &doc.prefix, &doc.template, &doc.regex];
        match forms.map(|form| form.given()) {
            [Some(path), None, None, None] => self
                .report
                .check(path.mark, exact(&path.value))
                .map(PathMatch::Exact),
            [None, Some(path), None, None] => self
                .report
                .check(path.mark, prefix(&path.value))
                .map(PathMatch::Prefix),
            [None, None, Some(path), None] => self
                .report
                .check(path.mark, template(&path.value))
                .map(PathMatch::Template),
            [None, None, None, Some(path)] => self.path_regex(path).map(PathMatch::Regex),
            [None, None, None, None] => {
                if forms.iter().all(|form| form.is_absent()) {
                    self.missing(
                        at.mark,
                        "the path has none of `exact`, `prefix`, `template` and `regex`".to_owned(),
                    );
                }
                None
            }
            _ => {
                self.report.push(
                    at.mark,
                    Fault::new(
                        codes::CHOICE,
                        "a path is one of `exact`, `prefix`, `template` and `regex`",
                    ),
                );
                None
            }
        }
    }
}

impl Compiler<'_> {
    fn path_regex(&mut self, at: &At<String>) -> Option<Regex> {
        let regex = self.regex(at, Compared::Path)?;
        let checked = check_regex(&at.value, &regex);
        self.report.check(at.mark, checked).map(|()| regex)
    }
}

fn check_regex(text: &str, regex: &Regex) -> Result<(), Fault> {
    let fault = |why: String| {
        let message = format!("{} is no expression for paths: {why}", shown(text));
        Fault::new(codes::REGEX, message)
    };
    let beginnings = regex.beginnings().unwrap_or_default();
    if let Some(wrong) = beginnings
        .iter()
        .find(|text| !b"/".starts_with(text) && !text.starts_with(b"/"))
    {
        let wrong = shown(&String::from_utf8_lossy(wrong));
        return Err(fault(format!("no path begins with {wrong}"))
            .hint("the whole path is compared, from its first `/`"));
    }
    match regex.group_names().find(|name| !is_variable(name)) {
        Some(name) => Err(fault(format!("{} is no name for a variable", shown(name)))),
        None => Ok(()),
    }
}

fn exact(text: &str) -> Result<String, Fault> {
    check(text)?;
    if text.contains(['{', '}']) {
        let fault = Fault::new(
            codes::PATH,
            format!("{} has a brace, which no request's path has", shown(text)),
        );
        return Err(fault.hint(format!(
            "write `{{template: \"{text}\"}}` for a path with variables"
        )));
    }
    if text.ends_with("/*") {
        let fault = Fault::new(
            codes::PATH,
            format!("{} is compared as it is, with the star", shown(text)),
        );
        let stem = text.trim_end_matches("/*");
        return Err(fault.hint(format!(
            "write `{{prefix: {}}}`",
            if stem.is_empty() { "/" } else { stem }
        )));
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, Fault> {
    exact(text)?;
    let stem = text.trim_end_matches('/');
    if text.len() > 1 && stem.len() < text.len() {
        let fault = Fault::new(
            codes::PATH,
            format!(
                "{} ends in a slash; prefixes are whole segments in any case",
                shown(text)
            ),
        );
        return Err(fault.hint(format!("write {}", shown(stem))));
    }
    Ok(text.to_owned())
}

/// `/users/{id}/posts`.
fn template(text: &str) -> Result<Vec<Segment>, Fault> {
    check(text)?;
    let fault = |why: String| {
        Fault::new(
            codes::TEMPLATE,
            format!("{} is not a template: {why}", shown(text)),
        )
    };
    let mut segments = Vec::new();
    let mut names = Vec::new();
    for part in text.split('/').skip(1) {
        if segments.len() >= SEGMENTS_MAX {
            return Err(fault(format!("it has more than {SEGMENTS_MAX} segments")));
        }
        let capture = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = capture else {
            if part.contains(['{', '}']) {
                return Err(fault(format!(
                    "in {} the braces are not a whole segment",
                    shown(part)
                )));
            }
            segments.push(Segment::Literal(part.to_owned()));
            continue;
        };
        if !is_variable(name) {
            return Err(fault(format!("{} is no name for a variable", shown(name))));
        }
        if names.contains(&name) {
            return Err(fault(format!("it has two variables {}", shown(name))));
        }
        names.push(name);
        segments.push(Segment::Capture(name.to_owned()));
    }
    if names.is_empty() {
        let fault = fault("it has no variable".to_owned());
        if text.contains("/:") || text.contains("/*") {
            return Err(fault.hint("variables are written in braces, as in `/orders/{id}`"));
        }
        return Err(fault.hint(format!("write `{{exact: {text}}}`")));
    }
    Ok(segments)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The text is its own canonical spelling.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(codes::PATH, format!("path {} {why}", shown(text)));
    if text.len() > PATH_BYTES_MAX {
        return Err(fault("is too long"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        return Err(fault("has a scheme and a host").hint(format!(
            "write {}, and {} under `hosts`",
            shown(&format!("/{path}")),
            shown(host)
        )));
    }
    if text.contains(['?', '#']) {
        return Err(fault("has a query or fragment")
            .hint("the path goes without, conditions on the query go to `query`"));
    }
    let canonical = canonical(text).map_err(fault)?;
    if canonical != text {
        return Err(
            fault("is not in the spelling that requests are compared in")
                .hint(format!("write {}", shown(&canonical))),
        );
    }
    Ok(())
}

/// What a request's path would be brought to. Refused is what no request can have.
fn canonical(text: &str) -> Result<String, &'static str> {
    let mut out = String::from("/");
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '/' if out.ends_with('/') => {}
            '%' => {
                let digits: String = rest.by_ref().take(2).collect();
                let is_hex =
                    digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| is_hex)
                    .ok_or("has a broken percent escape")?;
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(char::from(byte))
                    }
                    b'/' | b'\\' | b';' | 0..0x20 | 0x7f => {
                        return Err(
                            "has an escape that servers read differently, such requests are refused",
                        );
                    }
                    _ => out.push_str(&format!("%{byte:02X}")),
                }
            }
            '\\' | ';' => {
                return Err(
                    "has a character that servers read differently, such requests are refused",
                );
            }
            '!'..='~' => out.push(c),
            ' ' => out.push_str("%20"),
            _ if c.is_control() => return Err("has a control character"),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    if out.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("has a dot segment, such requests are refused");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(result: Result<impl std::fmt::Debug, Fault>, hint: Option<&str>) {
        assert_eq!(result.expect_err("not refused").hint.as_deref(), hint);
    }

    #[test]
    fn canonical_spellings_are_hinted() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a%20b",
            "/~x",
            "/a:b",
            "/auth.v1.AuthService/Login",
        ] {
            assert_eq!(exact(path).ok().as_deref(), Some(path));
        }
        refused(exact("a"), Some("write `/a`"));
        refused(exact(""), Some("write `/`"));
        refused(exact("/a//b"), Some("write `/a/b`"));
        refused(exact("/%61"), Some("write `/a`"));
        refused(exact("/a%2f"), None);
        refused(exact("/a%2d%c3"), Some("write `/a-%C3`"));
        refused(exact("/ü"), Some("write `/%C3%BC`"));
        refused(exact("/a b"), Some("write `/a%20b`"));
        refused(exact("/a/../b"), None);
        refused(exact("/%2e%2e"), None);
        refused(exact("/a;b"), None);
        refused(exact("/a\\b"), None);
        refused(exact("/%0"), None);
        refused(exact("/%+f"), None);
        refused(
            exact("/a?b"),
            Some("the path goes without, conditions on the query go to `query`"),
        );
        refused(
            exact("/users/{id}"),
            Some("write `{template: \"/users/{id}\"}` for a path with variables"),
        );
        refused(exact("/static/*"), Some("write `{prefix: /static}`"));
        refused(prefix("/v1/"), Some("write `/v1`"));
        assert!(prefix("/").is_ok());
    }

    #[test]
    fn templates() {
        let expected = vec![
            Segment::Literal("users".to_owned()),
            Segment::Capture("id".to_owned()),
            Segment::Literal("posts".to_owned()),
        ];
        assert_eq!(template("/users/{id}/posts").ok(), Some(expected));
        for wrong in [
            "/users", "/{a}/{a}", "/{}", "/x{id}", "/{id", "/{1a}", "/{a b}", "/{a.b}", "/{a=*}",
            "{a}",
        ] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
        assert!(template(&"/{a}".repeat(2)).is_err());
        let long: String = (0..=SEGMENTS_MAX).map(|n| format!("/{{v{n}}}")).collect();
        assert!(template(&long).is_err());
    }
}
