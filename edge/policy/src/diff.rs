//! What makes two policies different, in the operator's words.
//!
//! Definitions are the same when their names are: one that moved to another file, or that is
//! written in another way and means the same, is no difference.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::describe::{Definition, Setting, place};
use crate::model::Origin;

/// Characters of what is said about a definition on its own line.
const GIST_CHARS_MAX: usize = 120;

/// A definition that came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub what: What,
    pub kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: String,
    /// In the new policy, but for a definition that is gone.
    #[serde(serialize_with = "place")]
    pub origin: Option<Origin>,
    /// All that holds for one that came or went, and else what is not as it was.
    pub settings: Vec<SettingChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Added,
    Removed,
    Changed,
}

/// At least one side is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SettingChange {
    pub key: &'static str,
    pub old: Option<String>,
    pub new: Option<String>,
}

/// Kinds in the order of their descriptions, then by name.
pub fn changes(old: &[Definition], new: &[Definition]) -> Vec<Change> {
    let mut kinds: Vec<&str> = Vec::new();
    let mut pairs: BTreeMap<(usize, &str), [Option<&Definition>; 2]> = BTreeMap::new();
    let sides = new.iter().map(|it| (1, it));
    for (side, definition) in sides.chain(old.iter().map(|it| (0, it))) {
        let known = kinds.iter().position(|kind| *kind == definition.kind);
        let kind = known.unwrap_or_else(|| {
            kinds.push(definition.kind);
            kinds.len() - 1
        });
        let pair = pairs.entry((kind, &definition.name)).or_default();
        if let Some(place) = pair.get_mut(side) {
            *place = Some(definition);
        }
    }
    let pairs = pairs.into_values();
    pairs.filter_map(|[old, new]| change(old, new)).collect()
}

/// The difference of what may be one definition in two policies.
pub fn change(old: Option<&Definition>, new: Option<&Definition>) -> Option<Change> {
    let what = match (old, new) {
        (None, _) => What::Added,
        (_, None) => What::Removed,
        _ => What::Changed,
    };
    let it = new.or(old)?;
    let settings = settings(settings_of(old), settings_of(new));
    if what == What::Changed && settings.is_empty() {
        return None;
    }
    Some(Change {
        what,
        kind: it.kind,
        name: it.name.clone(),
        origin: it.origin.clone(),
        settings,
    })
}

fn settings_of(side: Option<&Definition>) -> &[Setting] {
    side.map_or(&[], |it| &it.settings)
}

/// Key by key. Of a key with several values only those that came and went.
fn settings(old: &[Setting], new: &[Setting]) -> Vec<SettingChange> {
    if old == new {
        return Vec::new();
    }
    let mut keys: Vec<&'static str> = Vec::new();
    for setting in new.iter().chain(old) {
        if !keys.contains(&setting.key) {
            keys.push(setting.key);
        }
    }
    let mut changes = Vec::new();
    for key in keys {
        let values = |side| values_of(key, side).collect::<Vec<_>>();
        let (before, after) = (values(old), values(new));
        let change = |old: Option<&str>, new: Option<&str>| SettingChange {
            key,
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        if let ([one], [other]) = (before.as_slice(), after.as_slice()) {
            if one != other {
                changes.push(change(Some(one), Some(other)));
            }
            continue;
        }
        let (known, kept): (HashSet<&str>, HashSet<&str>) = (
            before.iter().copied().collect(),
            after.iter().copied().collect(),
        );
        let gone = before.iter().filter(|value| !kept.contains(*value));
        changes.extend(gone.map(|value| change(Some(value), None)));
        let came = after.iter().filter(|value| !known.contains(*value));
        changes.extend(came.map(|value| change(None, Some(value))));
    }
    changes
}

fn values_of<'s>(key: &'static str, side: &'s [Setting]) -> impl Iterator<Item = &'s str> {
    let of_key = side.iter().filter(move |setting| setting.key == key);
    of_key.map(|setting| setting.value.as_str())
}

impl Change {
    /// What it is about, in one line: `route orders (routes/orders.yaml:3)`.
    pub fn subject(&self) -> String {
        let mut text = self.kind.to_owned();
        if !self.name.is_empty() {
            text = format!("{text} {}", self.name);
        }
        match &self.origin {
            Some(Origin { file, line }) => format!("{text} ({file}:{line})"),
            None => text,
        }
    }

    /// What one that came or went is for, in a few words.
    pub fn gist(&self) -> String {
        let keys: &[&str] = match self.kind {
            "route" => &[
                "matches",
                "hosts",
                "cluster",
                "backends",
                "redirect.status",
                "respond.status",
            ],
            "cluster" => &["protocol", "endpoints"],
            "limit" => &["rate", "key"],
            "issuer" => &["issuer"],
            "host" => &["hosts"],
            _ => &[],
        };
        let mut text = String::new();
        for key in keys {
            let of_key = self.settings.iter().filter(|change| change.key == *key);
            for value in of_key.filter_map(|change| change.new.as_ref().or(change.old.as_ref())) {
                let between = if text.is_empty() { "" } else { "; " };
                text = format!("{text}{between}{value}");
                if text.chars().nth(GIST_CHARS_MAX).is_some() {
                    let cut = text.chars().take(GIST_CHARS_MAX);
                    return cut.chain("...".chars()).collect();
                }
            }
        }
        text
    }
}

impl What {
    /// `+`, `-` or `~`.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// `~ limit sign-in (limits.yaml:3)`, and each setting on a line of its own.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what.sign(), self.subject())?;
        if self.what == What::Changed {
            for setting in &self.settings {
                write!(f, "\n    {setting}")?;
            }
            return Ok(());
        }
        match self.gist() {
            gist if gist.is_empty() => Ok(()),
            gist => write!(f, ": {gist}"),
        }
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{key}: {old} -> {new}"),
            (Some(old), None) => write!(f, "- {key}: {old}"),
            (None, Some(new)) => write!(f, "+ {key}: {new}"),
            (None, None) => Ok(()),
        }
    }
}
