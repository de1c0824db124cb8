//! An explanation for people: the outcome in one line, then the path that led to it.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::explanation::{
    Change, Explanation, FieldChange, LimitSeen, Outcome, OwnAnswer, Step, UpstreamSeen, Verdict,
};

const HEADING: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CHANGED: Style = AnsiColor::Yellow.on_default();

/// Longer bodies are not for people: those of documents.
const BODY_SHOWN_BYTES_MAX: usize = 4 * 1024;

/// A line of a section: what, how, where.
struct Row {
    name: String,
    style: Style,
    text: String,
    at: Option<String>,
}

impl Row {
    fn new(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            style: Style::new(),
            text: text.into(),
            at: None,
        }
    }

    fn at(mut self, at: impl Into<Option<String>>) -> Self {
        self.at = at.into();
        self
    }

    fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// With colours; a writer that shows none has to strip them.
pub fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    line(&mut out, &outcome(explanation));
    section(&mut out, "request", request(explanation));
    if let Some(route) = &explanation.route {
        let mut rows = vec![Row::new("name", &route.name).at(route.at.clone())];
        let settings = route.settings.iter();
        rows.extend(settings.map(|it| Row::new(&it.key, &it.value).at(it.at.clone())));
        section(&mut out, "route", rows);
    }
    section(&mut out, "rules", candidates(explanation));
    let stages = explanation.stages.iter().map(stage);
    section(&mut out, "stages", stages.collect());
    let limits = explanation.limits.iter();
    let limits = limits.map(|limit| self::limit(limit, explanation.live));
    section(&mut out, "limits", limits.collect());
    if let Some(cache) = &explanation.cache {
        let used = if cache.used {
            ""
        } else {
            ", not used by this request"
        };
        let rows = vec![Row::new("key", format!("{}{used}", cache.key)).at(cache.at.clone())];
        section(&mut out, "cache", rows);
    }
    if let Some(to) = &explanation.upstream {
        section(&mut out, "upstream", upstream(to));
        section(
            &mut out,
            "request fields",
            to.headers.iter().map(field).collect(),
        );
    }
    if let Some(answer) = &explanation.answer {
        section(&mut out, "answer", own_answer(answer));
    }
    let fields = explanation.response_headers.iter().map(field);
    section(&mut out, "response fields", fields.collect());
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// The one line that says it all.
pub(super) fn outcome(explanation: &Explanation) -> String {
    let request = &explanation.request;
    let route = explanation.route.as_ref();
    let by = route.map_or_else(String::new, |route| {
        format!(" by route {} ({})", route.name, route.at)
    });
    let (style, verdict) = match &explanation.outcome {
        Outcome::Forwarded { cluster } => (GOOD, format!("goes to {cluster}")),
        Outcome::Answered { status, code, .. } => {
            let style = if *status < 400 { CHANGED } else { BAD };
            (style, format!("is answered {status} {code}"))
        }
    };
    let (method, url) = (&request.method, &request.url);
    format!("{HEADING}{method} {url}{HEADING:#} {style}{verdict}{style:#}{by}")
}

fn section(out: &mut String, title: &str, rows: Vec<Row>) {
    if rows.is_empty() {
        return;
    }
    let width = |text: &dyn Fn(&Row) -> &str| {
        let widths = rows.iter().map(|row| text(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let (name_width, text_width) = (width(&|row| &row.name), width(&|row| &row.text));
    line(out, &format!("\n{HEADING}{title}{HEADING:#}"));
    for row in &rows {
        let Row {
            name,
            style,
            text,
            at,
        } = row;
        let mut text_of_row = format!("  {name:name_width$}  {style}{text}{style:#}");
        if let Some(at) = at {
            let gap = text_width.saturating_sub(text.chars().count());
            let _ = write!(text_of_row, "{}  {DIM}{at}{DIM:#}", " ".repeat(gap));
        }
        line(out, text_of_row.trim_end());
    }
}

fn request(explanation: &Explanation) -> Vec<Row> {
    let seen = &explanation.request;
    let mut rows = vec![Row::new("client", &seen.client)];
    if !seen.proxies.is_empty() {
        rows.push(Row::new("proxies", seen.proxies.join(", ")));
    }
    if !seen.removed.is_empty() {
        rows.push(Row::new("removed", seen.removed.join(", ")));
    }
    rows
}

fn candidates(explanation: &Explanation) -> Vec<Row> {
    let candidates = explanation.candidates.iter();
    let rows = candidates.map(|it| {
        let (style, why) = match &it.lost {
            None => (GOOD, "takes the request".to_owned()),
            Some(why) => (Style::new(), why.clone()),
        };
        let name = format!("{} {}", it.route, it.rule);
        Row::new(&name, why).style(style).at(it.at.clone())
    });
    rows.collect()
}

fn stage(step: &Step) -> Row {
    let (style, verdict) = match step.verdict {
        Verdict::Passed => (GOOD, "passed"),
        Verdict::Skipped => (DIM, "skipped"),
        Verdict::Refused => (BAD, "refused"),
        Verdict::Shadowed => (CHANGED, "shadow"),
        Verdict::NotReached => (DIM, "not reached"),
    };
    let text = match step.detail.as_str() {
        "" => verdict.to_owned(),
        detail => format!("{verdict}: {detail}"),
    };
    Row::new(&step.stage, text).style(style).at(step.at.clone())
}

fn limit(limit: &LimitSeen, live: bool) -> Row {
    let state = match (limit.remaining, limit.reset_s) {
        (Some(remaining), Some(reset)) => {
            let from = if live { "now" } else { "from full" };
            format!("{remaining} left {from}, all in {reset}s")
        }
        _ => "not asked".to_owned(),
    };
    let shadow = if limit.shadow { ", shadow" } else { "" };
    let text = format!("{} {}: {state}{shadow}", limit.by, limit.key);
    Row::new(&limit.name, text).at(limit.at.clone())
}

fn upstream(to: &UpstreamSeen) -> Vec<Row> {
    let endpoint = to.endpoint.as_deref().unwrap_or("no endpoint");
    let translated = if to.translated {
        ", REST by translation"
    } else {
        ""
    };
    let mut rows = vec![
        Row::new("cluster", &to.cluster).at(to.at.clone()),
        Row::new(
            "endpoint",
            format!("{endpoint}, {}{translated}", to.protocol),
        ),
        Row::new(
            "sends",
            format!("{} {} to host {}", to.method, to.path, to.host),
        ),
    ];
    if !to.weights.is_empty() {
        let weights = to.weights.iter();
        let weights = weights.map(|(name, weight)| format!("{name} {weight}"));
        rows.push(Row::new("weights", weights.collect::<Vec<_>>().join(", ")));
    }
    let timeouts = to
        .timeouts
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    rows.push(Row::new(
        "timeouts",
        timeouts.collect::<Vec<_>>().join(", "),
    ));
    rows
}

fn field(change: &FieldChange) -> Row {
    let (style, name) = match change.change {
        Change::Added => (GOOD, "added"),
        Change::Changed => (CHANGED, "changed"),
        Change::Removed => (DIM, "removed"),
    };
    let text = match change.value.as_str() {
        "" => change.name.clone(),
        value => format!("{}: {value}", change.name),
    };
    Row::new(name, text).style(style)
}

fn own_answer(answer: &OwnAnswer) -> Vec<Row> {
    let mut rows = vec![Row::new("status", answer.status.to_string())];
    let headers = answer.headers.iter();
    rows.extend(headers.map(|(name, value)| Row::new("field", format!("{name}: {value}"))));
    if !answer.body.is_empty() {
        let shown = match answer.body.len() {
            ..=BODY_SHOWN_BYTES_MAX => answer.body.clone(),
            bytes => format!("{bytes} bytes"),
        };
        rows.push(Row::new("body", shown));
    }
    rows
}
