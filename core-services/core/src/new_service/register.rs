//! Where services are listed, and the lines that name a new one.
//! Invariant: a place is found once or the whole is refused: a list that has changed its
//! shape is for people to edit, and for these lines to follow.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};

use super::{Planned, checkout::Checkout, name::Name};

/// Where in a file.
enum Place {
    /// Before the only line that reads so.
    Before(&'static str),
    /// At the end of a block: its first line, behind the lines named before it.
    EndOf(&'static [&'static str]),
    /// At the end of a list on one line, which begins so, behind the lines named before it.
    EndOfLine(&'static [&'static str]),
    EndOfFile,
}
use Place::{Before, EndOf, EndOfFile, EndOfLine};

const SERVICES: &str = "core-services/core/src/services.rs";

/// File, place, what is put there.
const PLACES: [(&str, Place, &str); 14] = [
    (
        "Cargo.toml",
        Before(r#""core-services/core","#),
        "    \"core-services/sample\",\n",
    ),
    (
        "Cargo.toml",
        Before(r#"core-fakes = { path = "core-services/fakes" }"#),
        "core-sample = { path = \"core-services/sample\" }\n",
    ),
    (
        "core-services/core/Cargo.toml",
        Before("core-platform.workspace = true"),
        "core-sample.workspace = true\n",
    ),
    (
        SERVICES,
        EndOf(&["pub(crate) enum Service {"]),
        "    /// Items of users\n    Sample,\n",
    ),
    (
        SERVICES,
        EndOf(&["pub(crate) struct Flags {"]),
        "    #[command(flatten)]\n    sample: core_sample::Flags,\n",
    ),
    (
        SERVICES,
        EndOf(&["pub(crate) struct Settings {"]),
        "    sample: core_sample::Settings,\n",
    ),
    (
        SERVICES,
        Before("faults.settle(|| {"),
        "        let sample = faults.check(self.sample.settings());\n",
    ),
    (
        SERVICES,
        EndOf(&["Some(Settings {"]),
        "                sample: sample?,\n",
    ),
    (
        SERVICES,
        EndOf(&[
            "pub(crate) fn definition(self) -> &'static Definition {",
            "match self {",
        ]),
        "            Self::Sample => &core_sample::DEFINITION,\n",
    ),
    (
        SERVICES,
        EndOf(&["Ok(match self {"]),
        "            Self::Sample => core_sample::start(&settings.sample, context).await?,\n",
    ),
    (
        "core-services/proto/build.rs",
        EndOf(&["const FILES: &[&str] = &["]),
        "    \"sample/v1/sample.proto\",\n",
    ),
    (
        "core-services/proto/build.rs",
        EndOf(&["const INTERNAL_FILES: &[&str] = &["]),
        "    \"sample/v1/events.proto\",\n",
    ),
    (
        "core-services/proto/src/lib.rs",
        EndOfFile,
        "
pub mod sample {
    #[allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = \"generated; the text is in the .proto file\"
    )]
    pub mod v1 {
        tonic::include_proto!(\"sample.v1\");
    }
}
",
    ),
    (
        "policies/services/rbac.yaml",
        EndOfLine(&["- name: user", "permissions: ["]),
        ", sample:read, sample:write",
    ),
];

/// The files that list services, each with the new one in it.
pub(super) fn changes(checkout: &Checkout, name: &Name) -> Result<Vec<Planned>> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (path, place, template) in &PLACES {
        let mut text = match texts.remove(path) {
            Some(text) => text,
            None => checkout.read(path)?,
        };
        let at = place.find(&text).ok_or_else(|| {
            anyhow!(
                "`{path}` is not as expected: {}\nhint: nothing was written; `core-services/core/src/new_service/register.rs` has to follow it",
                place.told()
            )
        })?;
        text.insert_str(at, &name.fill(template));
        texts.insert(path, text);
    }
    let changed = texts.into_iter().map(|(path, text)| Planned {
        path: path.to_owned(),
        text,
    });
    Ok(changed.collect())
}

impl Place {
    /// Where in the text, in bytes; `None` if it is nowhere, or can't be told.
    fn find(&self, text: &str) -> Option<usize> {
        let lines = lines(text);
        match self {
            Before(line) => {
                let mut same = lines.iter().filter(|(_, found)| found.trim() == *line);
                let (at, _) = same.next()?;
                same.next().is_none().then_some(*at)
            }
            EndOf(path) => {
                let opening = follow(&lines, path, |line, wanted| line == wanted)?;
                let (_, first) = lines.get(opening)?;
                let mut rest = lines.iter().skip(opening + 1);
                let closing = rest.find(|(_, line)| {
                    indent(line) == indent(first) && line.trim_start().starts_with(['}', ']'])
                });
                closing.map(|(at, _)| *at)
            }
            EndOfLine(path) => {
                let found = follow(&lines, path, |line, wanted| line.starts_with(wanted))?;
                let (at, line) = lines.get(found)?;
                let end = line.trim_end().strip_suffix(']')?;
                Some(at + end.len())
            }
            EndOfFile => Some(text.len()),
        }
    }

    fn told(&self) -> String {
        let line = match self {
            Before(line) => line,
            EndOf(path) | EndOfLine(path) => path.last().unwrap_or(&""),
            EndOfFile => "",
        };
        format!("there has to be one line `{line}`")
    }
}

/// The last of some lines that follow each other, with others between them. The first of
/// them must be the only one.
fn follow(
    lines: &[(usize, &str)],
    path: &[&str],
    is: impl Fn(&str, &str) -> bool,
) -> Option<usize> {
    let first = path.first()?;
    if lines
        .iter()
        .filter(|(_, line)| is(line.trim(), first))
        .count()
        != 1
    {
        return None;
    }
    let mut at = None;
    for wanted in path {
        let from = at.map_or(0, |at| at + 1);
        let mut rest = lines.iter().enumerate().skip(from);
        at = Some(rest.find(|(_, (_, line))| is(line.trim(), wanted))?.0);
    }
    at
}

/// Each with its place in the text, its end included.
fn lines(text: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = at;
        at += line.len();
        (start, line)
    });
    lines.collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(place: &Place, text: &str, new: &str) -> Option<String> {
        let mut text = text.to_owned();
        text.insert_str(place.find(&text)?, new);
        Some(text)
    }

    #[test]
    fn places_are_found_once_or_not_at_all() {
        let check = |place: Place, text: &str, expected: Option<&str>| {
            let found = with(&place, text, "X\n");
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check(Before("b"), "a\n  b\n", Some("a\nX\n  b\n"));
        check(Before("b"), "a\n", None);
        check(Before("b"), "b\nb\n", None);
        let block = "f {\n  m {\n    1\n  }\n}\nm {\n}\n";
        check(
            EndOf(&["f {"]),
            block,
            Some("f {\n  m {\n    1\n  }\nX\n}\nm {\n}\n"),
        );
        check(
            EndOf(&["f {", "m {"]),
            block,
            Some("f {\n  m {\n    1\nX\n  }\n}\nm {\n}\n"),
        );
        check(EndOf(&["m {"]), block, None);
        check(EndOf(&["f {"]), "f {\n", None);
        check(EndOfFile, "a\n", Some("a\nX\n"));
        let list = EndOfLine(&["- name: user", "may: ["]);
        check(
            list,
            "- name: user\n  may: [a]\n",
            Some("- name: user\n  may: [aX\n]\n"),
        );
        let list = EndOfLine(&["- name: user", "may: ["]);
        check(list, "- name: user\n  may:\n    - a\n", None);
    }

    /// Two, as what the first one changed has to be found again.
    #[test]
    fn this_checkout_has_every_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let first = changes(&Checkout::at(&root), &Name::new("ledger").unwrap()).unwrap();
        for (path, place, _) in &PLACES {
            let changed = first.iter().find(|file| file.path == *path).unwrap();
            assert!(changed.text.contains("ledger"), "{path}");
            assert!(
                place.find(&changed.text).is_some(),
                "{path}: {}",
                place.told()
            );
        }
    }
}
