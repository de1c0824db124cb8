//! Path templates as `google/api/http.proto` defines them, parsed once at policy load.
//!
//! Invariant: a parsed template is a flat list of segments; variables are ranges over it, so that
//! matching never looks at names. Literals are compared with the path as it stands on the wire,
//! hence they must be written percent-encoded where a path has to be.

/// Longest template accepted. Real ones stay under 200 bytes.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// Most segments in one template: it bounds the depth of the index, which is walked recursively.
pub(crate) const SEGMENTS_MAX: usize = 32;

/// What one segment of a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(Box<str>),
    /// `*`: exactly one segment, not empty.
    One,
    /// `**`: any number of segments, also none; only ever the last.
    Rest,
}

/// `{field}` or `{field=segments}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) field: Box<str>,
    pub(crate) span: Span,
    /// Its pattern can match several segments, so `%2F` inside it must stay as it is.
    pub(crate) keeps_slash: bool,
}

/// Segments `first..end` of a path; without an end, all from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: usize,
    pub(crate) end: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) verb: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("longer than `{TEMPLATE_BYTES_MAX}` bytes")]
    TooLong,
    #[error("more than `{SEGMENTS_MAX}` segments")]
    TooManySegments,
    #[error("does not begin with `/`")]
    NoLeadingSlash,
    #[error("has an empty segment")]
    EmptySegment,
    #[error("has an empty verb after `:`")]
    EmptyVerb,
    #[error("`{0}` is not a literal; hint: percent-encode what may not stand in a path")]
    Literal(String),
    #[error("`{{` without `}}`")]
    Unclosed,
    #[error("a variable inside a variable")]
    Nested,
    #[error("`{0}` is not a field path")]
    FieldPath(String),
    #[error("variable `{0}` is used twice")]
    Repeated(String),
    #[error("`**` is not the last segment")]
    RestNotLast,
    #[error("text follows a variable in the same segment")]
    TrailingText,
}

/// Parses one template, for instance `/v1/{name=shelves/*/books/*}:archive`.
pub(crate) fn parse(text: &str) -> Result<Template, TemplateError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(TemplateError::TooLong);
    }
    let body = text
        .strip_prefix('/')
        .ok_or(TemplateError::NoLeadingSlash)?;
    let (body, verb) = split_verb(body)?;
    let mut template = Template {
        segments: Vec::new(),
        variables: Vec::new(),
        verb,
    };
    let mut rest = (!body.is_empty()).then_some(body);
    while let Some(text) = rest {
        rest = match text.strip_prefix('{') {
            Some(inner) => variable(inner, &mut template)?,
            None => plain(text, &mut template.segments)?,
        };
        if template.segments.len() > SEGMENTS_MAX {
            return Err(TemplateError::TooManySegments);
        }
    }
    let last = template.segments.len().saturating_sub(1);
    if template
        .segments
        .iter()
        .take(last)
        .any(|s| *s == Segment::Rest)
    {
        return Err(TemplateError::RestNotLast);
    }
    Ok(template)
}

fn split_verb(body: &str) -> Result<(&str, Option<Box<str>>), TemplateError> {
    let tail_from = body.rfind(['/', '}']).map_or(0, |at| at + 1);
    let Some(colon) = body.rfind(':').filter(|at| *at >= tail_from) else {
        return Ok((body, None));
    };
    let (head, verb) = (&body[..colon], &body[colon + 1..]);
    match verb {
        "" => Err(TemplateError::EmptyVerb),
        _ if head.is_empty() => Err(TemplateError::EmptySegment),
        _ => Ok((head, Some(literal(verb)?))),
    }
}

/// Takes one segment that is not a variable; returns what follows its `/`.
fn plain<'t>(text: &'t str, segments: &mut Vec<Segment>) -> Result<Option<&'t str>, TemplateError> {
    let (segment, rest) = match text.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (text, None),
    };
    segments.push(match segment {
        "" => return Err(TemplateError::EmptySegment),
        "*" => Segment::One,
        "**" => Segment::Rest,
        other => Segment::Literal(literal(other)?),
    });
    match rest {
        Some("") => Err(TemplateError::EmptySegment),
        rest => Ok(rest),
    }
}

/// Takes one variable, `text` standing behind its `{`; returns what follows its `/`.
fn variable<'t>(text: &'t str, template: &mut Template) -> Result<Option<&'t str>, TemplateError> {
    let (inner, after) = text.split_once('}').ok_or(TemplateError::Unclosed)?;
    if inner.contains('{') {
        return Err(TemplateError::Nested);
    }
    let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
    if !is_field_path(field) {
        return Err(TemplateError::FieldPath(field.to_owned()));
    }
    if template.variables.iter().any(|v| &*v.field == field) {
        return Err(TemplateError::Repeated(field.to_owned()));
    }
    let first = template.segments.len();
    let mut rest = Some(pattern);
    while let Some(text) = rest {
        rest = plain(text, &mut template.segments)?;
    }
    let end = template.segments.len();
    let open = template.segments.last() == Some(&Segment::Rest);
    template.variables.push(Variable {
        field: field.into(),
        span: Span {
            first,
            end: (!open).then_some(end),
        },
        keeps_slash: open || end - first > 1,
    });
    match after.strip_prefix('/') {
        None if after.is_empty() => Ok(None),
        None => Err(TemplateError::TrailingText),
        Some("") => Err(TemplateError::EmptySegment),
        Some(rest) => Ok(Some(rest)),
    }
}

/// RFC 3986 section 3.3 `pchar`, without a lone `*`, which is pattern syntax here.
fn literal(text: &str) -> Result<Box<str>, TemplateError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            b => b.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&b),
        };
        if !fine {
            return Err(TemplateError::Literal(text.to_owned()));
        }
    }
    Ok(text.into())
}

fn is_field_path(text: &str) -> bool {
    text.split('.').all(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

impl Span {
    /// The part of `path` this span covers. `path` begins with `/` and has no verb.
    pub(crate) fn of<'p>(&self, path: &'p str) -> &'p str {
        let Some(start) = offset(path, self.first) else {
            return ""; // `**` that matched no segment
        };
        let end = self
            .end
            .and_then(|end| offset(path, end))
            .map_or(path.len(), |next| next - 1);
        path.get(start..end).unwrap_or_default()
    }
}

/// Where segment number `index` begins.
fn offset(path: &str, index: usize) -> Option<usize> {
    path.match_indices('/').nth(index).map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match parse(text) {
            Err(error) => format!("error: {error}"),
            Ok(template) => {
                let mut out = String::new();
                for segment in &template.segments {
                    out.push('/');
                    out.push_str(match segment {
                        Segment::Literal(text) => text,
                        Segment::One => "*",
                        Segment::Rest => "**",
                    });
                }
                for v in &template.variables {
                    let end = v.span.end.map_or("..".to_owned(), |e| format!("..{e}"));
                    let slash = if v.keeps_slash { " keeps %2F" } else { "" };
                    out.push_str(&format!(" {}={}{end}{slash}", v.field, v.span.first));
                }
                if let Some(verb) = &template.verb {
                    out.push_str(&format!(" :{verb}"));
                }
                out
            }
        }
    }

    #[test]
    fn templates() {
        let cases = [
            ("/", ""),
            ("/v1/a", "/v1/a"),
            ("/v1/{id}", "/v1/* id=1..2"),
            ("/v1/{a.b_c}", "/v1/* a.b_c=1..2"),
            ("/v1/{id=*}/x", "/v1/*/x id=1..2"),
            ("/v1/{n=s/*/b/*}", "/v1/s/*/b/* n=1..5 keeps %2F"),
            ("/v1/{n=s/**}", "/v1/s/** n=1.. keeps %2F"),
            ("/v1/{n=**}:go", "/v1/** n=1.. keeps %2F :go"),
            ("/v1/x:go", "/v1/x :go"),
            ("/a:b/c", "/a:b/c"),
            ("/v1/*/x/**", "/v1/*/x/**"),
            ("/.well-known/jwks.json", "/.well-known/jwks.json"),
            ("/a%20b", "/a%20b"),
            ("v1", "error: does not begin with `/`"),
            ("/a//b", "error: has an empty segment"),
            ("/a/", "error: has an empty segment"),
            ("/{a}/", "error: has an empty segment"),
            ("/a:", "error: has an empty verb after `:`"),
            ("/{a", "error: `{` without `}`"),
            ("/{a={b}}", "error: a variable inside a variable"),
            (
                "/{a}{b}",
                "error: text follows a variable in the same segment",
            ),
            ("/{a}/{a}", "error: variable `a` is used twice"),
            ("/{}", "error: `` is not a field path"),
            ("/{a..b}", "error: `a..b` is not a field path"),
            ("/{1a}", "error: `1a` is not a field path"),
            ("/**/a", "error: `**` is not the last segment"),
            ("/{a=**}/{b}", "error: `**` is not the last segment"),
            ("/{a=}", "error: has an empty segment"),
        ];
        for (text, expected) in cases {
            assert_eq!(show(text), expected, "{text}");
        }
        assert!(show("/a b").contains("is not a literal"));
        assert!(show("/a%2").contains("is not a literal"));
        assert!(show("/a*").contains("is not a literal"));
        assert_eq!(parse(&"/a".repeat(33)), Err(TemplateError::TooManySegments));
        assert_eq!(parse(&"/a".repeat(600)), Err(TemplateError::TooLong));
    }

    #[test]
    fn spans() {
        let cases = [
            ("/a/b/c", 0, Some(1), "a"),
            ("/a/b/c", 1, Some(3), "b/c"),
            ("/a/b/c", 1, None, "b/c"),
            ("/a", 1, None, ""),
            ("/a/", 1, None, ""),
        ];
        for (path, first, end, expected) in cases {
            assert_eq!(Span { first, end }.of(path), expected, "{path}");
        }
    }
}
