//! What can be put in force of files that are at fault: last good texts, and tombstones.
//!
//! A file that was good before keeps its last good text; so does one that is gone while others
//! still refer to what it defined. A route that was never good answers 503 for exactly its own
//! matches. Invariant: what is put in force compiles like any other policy, and no request falls
//! through to a wider route. Refuses everything else: guessing is how gateways fail open.

mod places;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostics, Fault, Mark};
use crate::files::{Folder, SourceFile};
use crate::load::{Lookup, Trial, documents, trial};
use crate::model::{Action, Policy};
use crate::report::Report;
use places::Places;

/// Each round holds every file or buries every definition that the one before found at fault; who
/// refers to those comes next. References are a few deep.
const ROUNDS_MAX: usize = 16;

/// Texts that compiled, by the names of their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastGood {
    pub(crate) files: BTreeMap<Arc<str>, SourceFile>,
    /// Nothing is in force yet: even a file that was good may then have tombstones.
    pub(crate) is_start: bool,
}

/// What is wrong with the files, and what was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// In force as they last were.
    pub held: Vec<Held>,
    /// Routes that answer 503.
    pub tombstones: Vec<Tombstone>,
    pub errors: Diagnostics,
    /// Files with definitions that were left out, or routes that are tombstones.
    pub(crate) unsound: BTreeSet<Arc<str>>,
}

/// A file that is in force as it last was good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub file: String,
    /// It is gone, and something refers to what it defined.
    pub is_missing: bool,
}

/// A route that answers 503 until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub route: String,
    pub file: String,
    pub line: u32,
}

impl Salvaged {
    pub(crate) fn because(mut self, errors: Diagnostics) -> Self {
        self.errors = errors;
        self
    }
}

/// A policy that can be put in force.
pub(crate) struct Saved {
    pub(crate) folder: Folder,
    pub(crate) policy: Policy,
    pub(crate) report: Report,
    pub(crate) salvaged: Salvaged,
}

/// Definitions that are left out, and routes that become tombstones.
#[derive(Default)]
pub(crate) struct Buried {
    at: HashSet<Mark>,
    places: Places,
}

impl Buried {
    pub(crate) fn places(&self) -> &HashSet<Mark> {
        &self.at
    }

    /// Whether a fault of decoding is without effect, as what it is in is buried.
    pub(crate) fn excuses(&self, mark: Mark, fault: &Fault) -> bool {
        !self.at.is_empty()
            && self
                .places
                .excusable(mark, fault)
                .is_some_and(|definition| self.at.contains(&definition))
    }

    /// Bury what the errors are in. None where that is not possible, or was not enough.
    fn bury(
        &mut self,
        folder: &Folder,
        errors: &[(Mark, Fault)],
        may_bury: impl Fn(&str) -> bool,
    ) -> Option<()> {
        for (mark, _) in errors {
            let source = folder.sources.get(mark.file as usize)?;
            if !may_bury(&source.name) {
                return None;
            }
            self.places.add(mark.file, &source.text);
            let definition = self.places.definition(*mark)?;
            self.at.insert(definition);
        }
        Some(())
    }
}

/// A policy made of as much as can be saved; none where that is not safe.
pub(crate) fn salvage(
    disk: &Folder,
    environment: Lookup<'_>,
    report: &Report,
    good: &LastGood,
) -> Option<Saved> {
    let mut errors: Vec<(Mark, Fault)> = report.errors()?.cloned().collect();
    let definers = definers(disk, environment, good);
    let mut folder = Folder::of(disk.dir(), disk.sources.clone());
    let mut held: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut buried = Buried::default();
    for _ in 0..ROUNDS_MAX {
        let culprits = culprits(&folder, &errors, &definers, good);
        if culprits.is_empty() {
            let before = buried.at.len();
            let is_new = |name: &str| good.is_start || !good.files.contains_key(name);
            buried.bury(&folder, &errors, is_new)?;
            if buried.at.len() == before {
                return None;
            }
        } else {
            held.extend(culprits);
            // Places are other ones with another list of files.
            buried = Buried::default();
            folder = holding(disk, good, &held);
        }
        let Trial { policy, report } = trial(&mut folder, environment, &buried);
        if !report.has_errors() {
            let salvaged = salvaged(disk, &folder, &policy, (&held, &buried));
            return Some(Saved {
                folder,
                policy,
                report,
                salvaged,
            });
        }
        errors = report.errors()?.cloned().collect();
    }
    None
}

/// Which file defined what, when all was good.
fn definers(
    disk: &Folder,
    environment: Lookup<'_>,
    good: &LastGood,
) -> HashMap<(&'static str, String), Arc<str>> {
    let mut definers = HashMap::new();
    // One at a time: a file whose text is no document any more would shift the others.
    for source in good.files.values() {
        let folder = Folder::of(disk.dir(), vec![source.clone()]);
        for document in documents(&folder, environment, &mut Report::default()) {
            for (kind, name) in document.names() {
                definers.insert((kind, name.to_owned()), source.name.clone());
            }
        }
    }
    definers
}

/// Files whose last good text could mend the errors.
fn culprits(
    folder: &Folder,
    errors: &[(Mark, Fault)],
    definers: &HashMap<(&'static str, String), Arc<str>>,
    good: &LastGood,
) -> BTreeSet<Arc<str>> {
    let now: HashMap<&str, &SourceFile> = folder
        .sources
        .iter()
        .map(|source| (&*source.name, source))
        .collect();
    let is_changed = |name: &Arc<str>| {
        let before = good.files.get(name);
        before.is_some_and(|before| {
            now.get(&**name)
                .is_none_or(|now| now.fault.is_some() || now.text != before.text)
        })
    };
    let named = |mark: &Mark| {
        let source = folder.sources.get(mark.file as usize);
        source.map(|source| source.name.clone())
    };
    let mut culprits = BTreeSet::new();
    for (mark, fault) in errors {
        let definer = fault
            .wanted
            .as_deref()
            .and_then(|wanted| definers.get(wanted));
        if let Some(definer) = definer.filter(|definer| is_changed(definer)) {
            culprits.insert(definer.clone());
            continue;
        }
        let places = [Some(mark), fault.other.as_ref()];
        let files = places.into_iter().flatten().filter_map(named);
        culprits.extend(files.filter(|name| is_changed(name)));
    }
    culprits
}

/// What is on disk, but for the held files.
fn holding(disk: &Folder, good: &LastGood, held: &BTreeSet<Arc<str>>) -> Folder {
    let on_disk = disk.sources.iter();
    let mut sources: Vec<SourceFile> = on_disk
        .filter(|source| !held.contains(&source.name))
        .cloned()
        .collect();
    sources.extend(held.iter().filter_map(|name| good.files.get(name)).cloned());
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Folder::of(disk.dir(), sources)
}

fn salvaged(
    disk: &Folder,
    folder: &Folder,
    policy: &Policy,
    (held, buried): (&BTreeSet<Arc<str>>, &Buried),
) -> Salvaged {
    let on_disk: HashSet<&Arc<str>> = disk.sources.iter().map(|source| &source.name).collect();
    let held = held.iter().map(|name| Held {
        file: name.to_string(),
        is_missing: !on_disk.contains(name),
    });
    let routes = policy.routes.routes();
    let tombstones = routes.filter(|route| matches!(route.action, Action::Tombstone));
    let tombstones = tombstones.map(|route| Tombstone {
        route: route.name.to_string(),
        file: route.origin.file.to_string(),
        line: route.origin.line,
    });
    let files = buried.at.iter().map(|mark| mark.file as usize);
    let unsound = files.filter_map(|file| folder.sources.get(file));
    Salvaged {
        held: held.collect(),
        tombstones: tombstones.collect(),
        errors: Diagnostics(Vec::new()),
        unsound: unsound.map(|source| source.name.clone()).collect(),
    }
}
