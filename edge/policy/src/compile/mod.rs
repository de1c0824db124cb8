//! Documents to the model: names to positions, text to values, all faults at once.
//!
//! Invariant: a value that is used was checked; where something is at fault a stand-in takes
//! its place so that compiling goes on, and the report keeps the result from being used.

mod addresses;
mod access;
mod api_keys;
mod actions;
mod api;
mod auth;
mod caches;
mod client_certificates;
mod clusters;
mod compression;
mod conditions;
mod cors;
mod defaults;
mod fingerprints;
mod forward;
mod header_sets;
mod headers;
mod host_rules;
mod hosts;
mod issuers;
mod limits;
mod lints;
mod listeners;
mod matches;
mod mirror;
mod paths;
mod patterns;
mod redirects;
mod respond;
mod rewrites;
mod retries;
mod revocations;
mod routes;
mod tests;
mod tls;
mod translation;
pub(crate) mod values;
mod websocket;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::{Document, Named, all};
use crate::field::{At, Either, Field, List, items};
use crate::files::Folder;
use crate::model::{Origin, Policy};
use crate::report::Report;

/// The routing table of a hundred thousand routes takes a few hundred MiB.
const ROUTES_MAX: usize = 100_000;
/// Clusters, issuers, limits: each has state at run time.
const DEFINITIONS_MAX: usize = 10_000;

/// The model of all documents. Only to be used when `report` stayed empty. Routes at the places in
/// `buried` become tombstones.
pub(crate) fn policy(
    documents: &[Document],
    folder: &mut Folder,
    buried: &HashSet<Mark>,
    report: &mut Report,
) -> Policy {
    let mut compiler = Compiler {
        folder,
        buried,
        report,
        shared: conditions::Shared::default(),
    };
    compiler.address_sets(documents);
    let clusters = all(documents, |document| &document.clusters);
    let issuers = all(documents, |document| &document.issuers);
    let limits = all(documents, |document| &document.limits);
    let api_keys = all(documents, |document| &document.api_keys);
    let access = all(documents, |document| &document.access);
    let caches = all(documents, |document| &document.caches);
    let header_sets = all(documents, |document| &document.header_sets);
    let routes = all(documents, |document| &document.routes);
    let names = routes::Names {
        clusters: compiler.index(&clusters, DEFINITIONS_MAX),
        issuers: compiler.index(&issuers, DEFINITIONS_MAX),
        limits: compiler.index(&limits, DEFINITIONS_MAX),
        api_keys: compiler.index(&api_keys, DEFINITIONS_MAX),
        access: compiler.index(&access, DEFINITIONS_MAX),
        caches: compiler.index(&caches, DEFINITIONS_MAX),
        header_sets: compiler.index(&header_sets, DEFINITIONS_MAX),
    };
    let route_names = compiler.index(&routes, ROUTES_MAX);
    let hosts = all(documents, |document| &document.hosts);
    compiler.index(&hosts, DEFINITIONS_MAX);
    let limits = compiler.each(&limits, Compiler::limit);
    let access = compiler.each(&access, Compiler::access_rule);
    let caches = compiler.each(&caches, Compiler::named_cache);
    let header_sets = compiler.each(&header_sets, Compiler::header_set);
    let written_clusters = clusters;
    let clusters = compiler.each(&written_clusters, Compiler::cluster);
    let written_issuers = issuers;
    let issuers = compiler.each(&written_issuers, Compiler::issuer);
    let api_keys = compiler.each(&api_keys, |it, at| it.api_keys(at, &names, &clusters));
    let revocations = compiler.revocations(&written_issuers, &names.clusters, &clusters);
    let told = (&*issuers, &revocations);
    let defined = routes::Defined {
        clusters: &written_clusters,
        limits: &limits,
        api_keys: &api_keys,
        access: &access,
        caches: &caches,
        header_sets: &header_sets,
        referents: &fingerprints::Referents::of(&clusters, told, &api_keys, (&limits, &access)),
    };
    let host_rules = compiler.host_rules(&hosts);
    let inheritance = compiler.inheritance(documents, &hosts, &host_rules);
    let table = compiler.routes(&routes, (&names, &defined), &inheritance);
    let listeners = compiler.listeners(documents);
    compiler.lint((&routes, &host_rules), (&names, &defined), &inheritance);
    // After the lints: what only a test names is not used.
    let expectable = tests::Expectable {
        routes: &route_names,
        clusters: &names.clusters,
        limits: &names.limits,
    };
    let tests = compiler.tests(documents, &expectable);
    Policy {
        listeners,
        routes: table,
        clusters,
        issuers,
        revocations,
        api_keys,
        access,
        limits,
        hosts: host_rules,
        tests,
    }
}

/// What compiling reads from and reports to.
struct Compiler<'a> {
    folder: &'a mut Folder,
    buried: &'a HashSet<Mark>,
    report: &'a mut Report,
    shared: conditions::Shared,
}

/// Name to position, of one kind.
struct Index<'d> {
    kind: &'static str,
    positions: HashMap<&'d str, usize>,
    /// Of each name, by position.
    marks: HashMap<usize, Mark>,
    /// Positions that something refers to.
    used: RefCell<HashSet<usize>>,
}

impl Compiler<'_> {
    fn each<T, C>(&mut self, all: &[&At<T>], compile: impl Fn(&mut Self, &At<T>) -> C) -> Vec<C> {
        all.iter().map(|at| compile(self, at)).collect()
    }

    /// Check the names of all definitions of a kind.
    fn index<'d, T: Named>(&mut self, all: &[&'d At<T>], most: usize) -> Index<'d> {
        let mut first: HashMap<&'d str, (usize, Mark)> = HashMap::with_capacity(all.len());
        if let Some(one_too_many) = all.get(most) {
            let message = format!("more than {most} definitions of a {}", T::KIND);
            self.report
                .push(one_too_many.mark, Fault::new(codes::TOO_MUCH, message));
        }
        for (position, definition) in all.iter().enumerate() {
            let Some(name) =
                self.required(definition.value.name(), definition.mark, T::KIND, "name")
            else {
                continue;
            };
            self.report.check(name.mark, values::name(&name.value));
            match first.get(name.value.as_str()) {
                Some((_, mark)) => {
                    let message = format!(
                        "{} \"{}\" is defined twice, first at {}",
                        T::KIND,
                        name.value,
                        self.place(*mark)
                    );
                    self.report.push(
                        name.mark,
                        Fault::new(codes::DEFINED_TWICE, message).other(*mark),
                    );
                }
                None => {
                    first.insert(&name.value, (position, name.mark));
                }
            }
        }
        Index {
            kind: T::KIND,
            marks: first.values().copied().collect(),
            positions: first
                .into_iter()
                .map(|(name, (position, _))| (name, position))
                .collect(),
            used: RefCell::default(),
        }
    }

    /// The position that a reference means. `owner` is who refers.
    fn find(&mut self, reference: &At<String>, index: &Index<'_>, owner: &str) -> Option<usize> {
        let name = reference.value.as_str();
        if let Some(position) = index.positions.get(name) {
            index.used.borrow_mut().insert(*position);
            return Some(*position);
        }
        let message = format!("{owner} names unknown {} {}", index.kind, quoted(name));
        let hint = suggestion(name, index.positions.keys().copied());
        self.report.push(
            reference.mark,
            Fault::new(codes::UNKNOWN_NAME, message)
                .maybe_hint(hint)
                .wanted(index.kind, name),
        );
        None
    }

    fn place(&self, mark: Mark) -> String {
        let file = self
            .folder
            .sources
            .get(mark.file as usize)
            .map_or(".", |source| &*source.name);
        format!("{file}:{}:{}", mark.line, mark.column)
    }

    fn origin(&self, name: &Field<String>, definition: Mark) -> Origin {
        self.at(name.given().map_or(definition, |name| name.mark))
    }

    fn at(&self, mark: Mark) -> Origin {
        let file = self
            .folder
            .sources
            .get(mark.file as usize)
            .map_or_else(|| Arc::from("."), |source| source.name.clone());
        Origin {
            file,
            line: mark.line,
        }
    }

    /// The value of a key that must be there.
    fn required<'f, T>(
        &mut self,
        field: &'f Field<T>,
        owner: Mark,
        kind: &str,
        key: &str,
    ) -> Option<&'f At<T>> {
        if field.is_absent() {
            self.missing(owner, format!("the {kind} has no `{key}`"));
        }
        field.given()
    }

    /// A list that must be there and have items.
    fn required_list<T>(&mut self, list: &List<T>, owner: Mark, kind: &str, key: &str) {
        if let Some(list) = self.required(list, owner, kind, key)
            && list.value.is_empty()
        {
            self.missing(
                list.mark,
                format!("the {kind} has an empty list of `{key}`"),
            );
        }
    }

    fn missing(&mut self, owner: Mark, message: String) {
        // The span of a map is its whole first line; its beginning says enough.
        self.report.push(
            Mark { length: 1, ..owner },
            Fault::new(codes::MISSING, message),
        );
    }

    fn duration(
        &mut self,
        field: &Field<String>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        self.optional_duration(field, bounds).unwrap_or(default)
    }

    fn optional_duration(
        &mut self,
        field: &Field<String>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let written = field.given()?;
        self.report
            .check(written.mark, values::duration_in(&written.value, &bounds))
    }

    fn number(&mut self, field: &Field<u64>, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        self.large_number(
            field,
            default.into(),
            u64::from(*bounds.start())..=u64::from(*bounds.end()),
        )
        .try_into()
        .unwrap_or(default)
    }

    fn large_number(
        &mut self,
        field: &Field<u64>,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        match field.given() {
            None => default,
            Some(number) if bounds.contains(&number.value) => number.value,
            Some(number) => {
                let message = format!(
                    "`{}` is not within `{}` and `{}`",
                    number.value,
                    bounds.start(),
                    bounds.end()
                );
                self.report
                    .push(number.mark, Fault::new(codes::OUT_OF_RANGE, message));
                default
            }
        }
    }

    /// A map, unless this word is in its place.
    fn unless<'d, T>(&mut self, word: &str, at: &'d At<Either<T>>) -> Option<&'d T> {
        match &at.value {
            Either::Full(full) => Some(full),
            Either::Plain(written) if written == word => None,
            Either::Plain(written) => {
                let message = format!("expected `{word}` or a map, found {}", shown(written));
                self.report
                    .push(at.mark, Fault::new(codes::CHOICE, message));
                None
            }
        }
    }

    /// The checked items of a list, each once, at most so many.
    fn texts(
        &mut self,
        list: &List<String>,
        most: usize,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for item in items(list) {
            if self.report.check(item.mark, check(&item.value)).is_none() {
                continue;
            }
            if texts.contains(&item.value) {
                let message = format!("{} is listed twice", shown(&item.value));
                self.report
                    .push(item.mark, Fault::new(codes::REPEATED, message));
                continue;
            }
            if texts.len() >= most {
                self.report.push(
                    item.mark,
                    Fault::new(codes::TOO_MUCH, format!("more than {most} items")),
                );
                break;
            }
            texts.push(item.value.clone());
        }
        texts
    }
}

/// A name in a sentence.
fn quoted(name: &str) -> String {
    format!("\"{}\"", shown(name).trim_matches('`'))
}

/// Digest of the parts that matter, stable across reloads and restarts.
struct Fingerprint(Sha256);

impl Fingerprint {
    fn new(kind: &str, name: &str) -> Self {
        let mut digest = Self(Sha256::new());
        digest.add(kind.as_bytes()).add(name.as_bytes());
        digest
    }

    fn add(&mut self, part: &[u8]) -> &mut Self {
        // The length in front keeps parts apart.
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    fn debug(&mut self, part: &impl std::fmt::Debug) -> &mut Self {
        self.add(format!("{part:?}").as_bytes())
    }

    fn finish(self) -> u64 {
        self.digest()
            .iter()
            .take(8)
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
