//! Rows for people, or for programs.
//! Invariant: both show the same; nothing that was written by others reaches the terminal
//! as a control character.

use core_platform::clock::UnixMicros;
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Columns and what is under them.
pub(super) struct Rows {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// One value for each column.
    pub(super) fn push<const N: usize>(&mut self, row: [Value; N]) {
        self.rows.push(row.into());
    }

    /// A table, or an array of objects.
    pub(super) fn text(self, json: bool) -> String {
        if json { self.json() } else { self.table() }
    }

    fn json(self) -> String {
        let object = |row: Vec<Value>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row).collect::<Map<_, _>>())
        };
        format!(
            "{:#}\n",
            self.rows.into_iter().map(object).collect::<Value>()
        )
    }

    fn table(self) -> String {
        let head = self.columns.iter().map(|name| name.to_uppercase());
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(shown).collect()));
        let mut widths = vec![0; self.columns.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let padded: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += padded.join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// RFC 3339, in UTC.
pub(super) fn at(time: UnixMicros) -> Value {
    let time = OffsetDateTime::from_unix_timestamp(time.seconds());
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.map_or(Value::Null, Value::String)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::new(&["name", "count", "since"]);
        rows.push(["a\u{1b}[2J\nb".into(), 7.into(), at(UnixMicros(0))]);
        rows.push(["long name".into(), 10_000.into(), Value::Null]);
        rows
    }

    #[test]
    fn a_table_is_aligned_and_plain() {
        let expected = "\
NAME       COUNT  SINCE
a [2J b    7      1970-01-01T00:00:00Z
long name  10000  -
";
        assert_eq!(rows().text(false), expected);
    }

    #[test]
    fn programs_get_values() {
        let read: Value = serde_json::from_str(&rows().text(true)).unwrap();
        assert_eq!(read[0]["count"], 7);
        assert_eq!(read[1]["since"], Value::Null);
        assert_eq!(Rows::new(&["x"]).text(true), "[]\n");
    }
}
