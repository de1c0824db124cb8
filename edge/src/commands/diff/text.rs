//! Differences for people: signs in colour, the largest groups first.

use std::collections::HashMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use indicatif::HumanCount;
use palisade_policy::diff::{Change, SettingChange, What};

use crate::replay::{Example, Group, Logged, Report, Unlike};

/// Groups of a replay that people are shown; programs get all of them.
const GROUPS_SHOWN: usize = 20;
/// Groups of requests that were not judged.
const UNLIKE_SHOWN: usize = 5;

/// So many definitions that changed in the same way are told of as one.
const ALIKE_MIN: usize = 4;

/// In front of what changed about a route, and about what it uses.
const ROUTE: &str = "              ";
const USED: &str = "                  ";

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

pub(super) fn text(changes: &[Change], report: Option<&Report>) -> String {
    let mut out = String::new();
    for alike in alike(changes) {
        match alike.as_slice() {
            [] => {}
            [first, ..] if alike.len() >= ALIKE_MIN => several(&mut out, first, alike.len()),
            few => few.iter().for_each(|change| definition(&mut out, change)),
        }
    }
    let _ = write!(out, "{BOLD}{}{BOLD:#}", summary(changes));
    if let Some(report) = report {
        replayed(&mut out, report);
    }
    out
}

fn summary(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no difference".to_owned();
    }
    let count = |what: What| changes.iter().filter(|change| change.what == what).count();
    let all = changes.len();
    let parts = [
        (count(What::Added), "added"),
        (count(What::Removed), "removed"),
        (count(What::Changed), "changed"),
    ];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    let plural = if all == 1 { "" } else { "s" };
    format!("{all} difference{plural}: {}", parts.join(", "))
}

/// Those that changed in the same way, at the place of the first: a default may be that of a
/// thousand routes.
fn alike(changes: &[Change]) -> Vec<Vec<&Change>> {
    let mut sets: Vec<Vec<&Change>> = Vec::new();
    let mut places: HashMap<(&str, &[SettingChange]), usize> = HashMap::new();
    for change in changes {
        let place = match change.what {
            What::Changed => places.entry((change.kind, &change.settings)),
            // Each has its own word.
            What::Added | What::Removed => {
                sets.push(vec![change]);
                continue;
            }
        };
        let place = *place.or_insert(sets.len());
        match sets.get_mut(place) {
            Some(set) => set.push(change),
            None => sets.push(vec![change]),
        }
    }
    sets
}

fn several(out: &mut String, first: &Change, count: usize) {
    let (subject, others) = (first.subject(), count - 1);
    let _ = writeln!(out, "{CHANGED}~ {subject} and {others} more{CHANGED:#}");
    settings(out, &first.settings, "    ");
}

fn definition(out: &mut String, change: &Change) {
    let style = match change.what {
        What::Added => ADDED,
        What::Removed => REMOVED,
        What::Changed => CHANGED,
    };
    let (sign, subject) = (change.what.sign(), change.subject());
    let _ = write!(out, "{style}{sign} {subject}{style:#}");
    let gist = change.gist();
    if change.what != What::Changed && !gist.is_empty() {
        let _ = write!(out, ": {gist}");
    }
    out.push('\n');
    if change.what == What::Changed {
        settings(out, &change.settings, "    ");
    }
}

fn settings(out: &mut String, changes: &[SettingChange], indent: &str) {
    for change in changes {
        let style = match (&change.old, &change.new) {
            (None, _) => ADDED,
            (_, None) => REMOVED,
            _ => Style::new(),
        };
        let _ = writeln!(out, "{indent}{style}{change}{style:#}");
    }
}

fn replayed(out: &mut String, report: &Report) {
    let (otherwise, judged) = (HumanCount(report.otherwise), HumanCount(report.judged));
    let _ = writeln!(
        out,
        "\n{BOLD}{otherwise} of {judged} requests would be decided otherwise{BOLD:#}"
    );
    let sets = alike_groups(&report.groups);
    for set in sets.iter().take(GROUPS_SHOWN) {
        group(out, set);
    }
    let hidden = sets.iter().skip(GROUPS_SHOWN);
    let hidden = hidden.map(|set| set.requests).sum::<u64>() + report.in_further_groups;
    if hidden > 0 {
        let hidden = HumanCount(hidden);
        let _ = writeln!(
            out,
            "{hidden} requests in further groups: see `--format json`"
        );
    }
    if report.unlike > 0 {
        let unlike = HumanCount(report.unlike);
        let _ = writeln!(
            out,
            "{BOLD}{unlike} requests were not judged{BOLD:#}: OLD alone does not decide them as the log \
             says; another policy was in force, or what the log leaves out decided (query, headers, token)"
        );
        for shown in report.unlike_groups.iter().take(UNLIKE_SHOWN) {
            not_judged(out, shown);
        }
    }
    if report.unusable > 0 {
        let unusable = HumanCount(report.unusable);
        let _ = writeln!(out, "{BOLD}{unusable} lines cannot be used{BOLD:#}");
        for complaint in &report.complaints {
            let _ = writeln!(out, "    line {}: {}", complaint.line, complaint.reason);
        }
    }
    // `answer` ends the last line.
    out.truncate(out.trim_end().len());
}

/// Groups of routes for which the same changed.
struct Alike<'r> {
    requests: u64,
    first: &'r Group,
    others: usize,
}

/// Kind and name of a definition, and what changed about it; the name of a route does not count.
type Same<'r> = (&'r str, &'r str, &'r [SettingChange]);

/// The largest first, as the groups are.
fn alike_groups(groups: &[Group]) -> Vec<Alike<'_>> {
    let mut sets: Vec<Alike<'_>> = Vec::new();
    let mut places: HashMap<Vec<Same<'_>>, usize> = HashMap::new();
    for group in groups {
        let mut place = sets.len();
        // Where a request goes to another place is each place's own.
        if group.old == group.new {
            let what = group.changes.iter().map(|change| {
                let name = if change.kind == "route" {
                    ""
                } else {
                    change.name.as_str()
                };
                (change.kind, name, change.settings.as_slice())
            });
            place = *places.entry(what.collect()).or_insert(place);
        }
        match sets.get_mut(place) {
            Some(set) => {
                set.requests += group.requests;
                set.others += 1;
            }
            None => sets.push(Alike {
                requests: group.requests,
                first: group,
                others: 0,
            }),
        }
    }
    sets.sort_by_key(|set| std::cmp::Reverse(set.requests));
    sets
}

fn group(out: &mut String, set: &Alike<'_>) {
    let Group {
        requests: _,
        old,
        new,
        changes,
        example,
    } = set.first;
    // The width is for text only.
    let requests = HumanCount(set.requests).to_string();
    let _ = write!(out, "{CHANGED}{requests:>12}{CHANGED:#}  {old}");
    if old != new {
        let _ = write!(out, " -> {new}");
    }
    if set.others > 0 {
        let _ = write!(out, " and {} more", set.others);
    }
    let _ = writeln!(out, "{}", such_as(example));
    for change in changes {
        // The route's own need no title.
        let is_route = change.kind == "route";
        if !is_route {
            let _ = writeln!(out, "{:14}{}", "", change.subject());
        }
        settings(out, &change.settings, if is_route { ROUTE } else { USED });
    }
}

fn not_judged(out: &mut String, unlike: &Unlike) {
    let Unlike {
        requests,
        logged: Logged { route, reason },
        old,
        example,
    } = unlike;
    let logged = match (route, reason) {
        (Some(route), _) => format!("route {route}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no route".to_owned(),
    };
    let requests = HumanCount(*requests).to_string();
    let example = such_as(example);
    let _ = writeln!(
        out,
        "{requests:>12}  {logged} in the log, {old} by OLD{example}"
    );
}

fn such_as(example: &Example) -> String {
    let Example {
        line,
        method,
        host,
        path,
    } = example;
    let text = format!("{method} {host}{path}").escape_debug().to_string();
    format!("  {DIM}{text}, line {line}{DIM:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, new: &str) -> Change {
        Change {
            what: What::Changed,
            kind: "route",
            name: name.to_owned(),
            origin: None,
            settings: vec![SettingChange {
                key: "request_timeout",
                old: None,
                new: Some(new.to_owned()),
            }],
        }
    }

    #[test]
    fn a_default_of_many_routes_is_told_once() {
        let names = ["a", "b", "c", "d", "e"];
        let mut changes: Vec<Change> = names.map(|name| route(name, "10s")).into();
        changes.insert(1, route("aa", "1s"));
        let text = anstream::adapter::strip_str(&text(&changes, None)).to_string();
        assert_eq!(
            text,
            "~ route a and 4 more
    + request_timeout: 10s
~ route aa
    + request_timeout: 1s
6 differences: 6 changed"
        );
    }
}
