//! Tables of cases: what is asked over HTTP, and what has to be answered.
//!
//! A file is one table. `translation:` says with which settings of the cluster; a request is
//! `METHOD TARGET [BODY]` with header lines (`> name: value`) below it, a body of `hex:` and digits
//! is those bytes; the answer is indented. With `UPDATE_CASES=1` answers are written anew: read
//! what changed.

use std::fs;
use std::path::{Path, PathBuf};

/// All settings of one table.
pub(crate) struct Table {
    pub(crate) name: String,
    /// Keys of a cluster's `translation`, and their values.
    pub(crate) translation: Vec<(String, String)>,
    pub(crate) cases: Vec<Case>,
    path: PathBuf,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Where it stands in the file.
    line: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    expected: String,
}

/// The tables of a folder, by name.
pub(crate) fn tables(folder: &Path) -> Vec<Table> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder of tables")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "case")
        })
        .collect();
    paths.sort();
    paths.into_iter().map(Table::read).collect()
}

impl Table {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("a table");
        let name = path.file_stem().expect("a name").to_string_lossy().into();
        let mut table = Self {
            name,
            translation: Vec::new(),
            cases: Vec::new(),
            path,
        };
        for (line, text) in text.lines().enumerate() {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if let Some(settings) = text.strip_prefix("translation: ") {
                table.translation = settings.split(", ").map(pair).collect();
            } else if let Some(header) = text.strip_prefix("> ") {
                let case = table.cases.last_mut().expect("a request above");
                case.headers.push(pair(header));
            } else if let Some(expected) = text.strip_prefix("  ") {
                let case = table.cases.last_mut().expect("a request above");
                case.expected = expected.to_owned();
            } else {
                table.cases.push(Case::new(line, text));
            }
        }
        table
    }

    /// Compares what was answered, or writes it down.
    pub(crate) fn settle(&self, answers: &[String]) {
        assert_eq!(answers.len(), self.cases.len(), "{}", self.name);
        if std::env::var_os("UPDATE_CASES").is_some() {
            return self.update(answers);
        }
        let wrong: Vec<_> = self
            .cases
            .iter()
            .zip(answers)
            .filter(|(case, answer)| case.expected != **answer)
            .map(|(case, answer)| {
                let line = case.line + 1;
                let (name, expected) = (&self.name, &case.expected);
                format!("{name}.case:{line}: expected\n  {expected}\ngot\n  {answer}")
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    fn update(&self, answers: &[String]) {
        let text = fs::read_to_string(&self.path).expect("a table");
        let mut out = String::new();
        let mut answers = answers.iter();
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with("  "))
            .peekable();
        let mut pending = None;
        while let Some(line) = lines.next() {
            out.push_str(line);
            out.push('\n');
            let is_request = !line.is_empty()
                && !line.starts_with(['#', '>'])
                && !line.starts_with("translation: ");
            if is_request {
                pending = answers.next();
            }
            if !lines.peek().is_some_and(|next| next.starts_with("> "))
                && let Some(answer) = pending.take()
            {
                out.push_str(&format!("  {answer}\n"));
            }
        }
        fs::write(&self.path, out).expect("the table is written");
    }
}

impl Case {
    fn new(line: usize, text: &str) -> Self {
        let mut words = text.splitn(3, ' ').map(str::to_owned);
        let method = words.next().expect("a method");
        let target = words.next().expect("a target");
        let body = words.next().unwrap_or_default();
        let body = match body.strip_prefix("hex:") {
            Some(digits) => bytes(digits),
            None => body.into_bytes(),
        };
        let headers = Vec::new();
        Self {
            line,
            method,
            target,
            headers,
            body,
            expected: String::new(),
        }
    }

    /// What is sent: bodies are JSON where the case says nothing else.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers: Vec<_> = self.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        if !self.body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        headers
    }
}

/// An answer in one line: `200 {json}`, or `400 code: detail`.
pub(crate) fn summary(status: u16, content_type: Option<&str>, body: &[u8]) -> String {
    if content_type != Some("application/problem+json") {
        return format!(
            "{status} {}",
            String::from_utf8_lossy(body).replace('\n', "|")
        );
    }
    if body.is_empty() {
        return format!("{status} (problem)"); // HEAD
    }
    let problem: serde_json::Value = serde_json::from_slice(body).expect("a problem document");
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["status"], status);
    assert!(!problem["title"].as_str().expect("a title").is_empty());
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    format!("{status} {}: {}", text("code"), text("detail"))
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once(": ").expect("`name: value`");
    (name.to_owned(), value.to_owned())
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("two hexadecimal digits")
        })
        .collect()
}
