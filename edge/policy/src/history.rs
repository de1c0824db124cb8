//! The policies that were in force: how to return to one, and what was last good after a restart.
//!
//! Texts are kept once, however many policies have them; on disk by their SHA-256, beside an index.
//! Invariant: the newest entry is in force. Refuses to fail: a history that cannot be read or
//! written is a warning, never a reason not to serve.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::files::{FileFacts, SourceFile, hex, rfc3339};
use crate::load::source;
use crate::salvage::{LastGood, Tombstone};

/// Policies that can be returned to.
const ENTRIES_MAX: usize = 16;
/// Texts of all of them together; one policy alone may have 64 MiB.
const TEXT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// An index of so many policies of 4,096 files each is about 16 MiB.
const INDEX_BYTES_MAX: u64 = 64 * 1024 * 1024;
const INDEX: &str = "history.json";
const TEXTS: &str = "texts";

/// How a policy came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Start,
    Reload,
    Rollback { to: u64 },
}

/// A policy that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub generation: u64,
    pub hash: String,
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    pub origin: Origin,
    pub routes: usize,
    /// Policy files; not what they refer to.
    pub files: Vec<FileFacts>,
    /// Routes that answered 503.
    pub tombstones: Vec<Tombstone>,
    /// Files that are not good enough to be kept as the last good.
    pub(crate) unsound: Vec<String>,
}

#[derive(Serialize)]
struct Rfc3339(#[serde(with = "rfc3339")] SystemTime);

/// How the files of a policy differ from those of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

/// The newest policies, the one in force last.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    /// By SHA-256, hex.
    texts: HashMap<String, Arc<str>>,
}

/// As it is written; texts are files of their own.
#[derive(Serialize, Deserialize)]
struct Index {
    /// Whose history it is: another folder has another one.
    folder: PathBuf,
    entries: VecDeque<Entry>,
}

impl Entry {
    /// When it came into force, as RFC 3339 in UTC.
    pub fn at(&self) -> impl Serialize + use<> {
        Rfc3339(self.at)
    }

    fn changes(&self, before: &Self) -> Changes {
        let by_path = |entry: &Self| -> BTreeMap<String, String> {
            let files = entry.files.iter();
            files
                .map(|file| (file.path.clone(), file.sha256.clone()))
                .collect()
        };
        let (old, new) = (by_path(before), by_path(self));
        let mut changes = Changes::default();
        for (path, sha256) in &new {
            match old.get(path) {
                None => changes.added += 1,
                Some(before) if before != sha256 => changes.changed += 1,
                Some(_) => {}
            }
        }
        changes.removed = old.keys().filter(|path| !new.contains_key(*path)).count();
        changes
    }
}

impl History {
    /// What is now in force. The oldest are forgotten where it is too much.
    pub(crate) fn push(&mut self, entry: Entry, sources: &[SourceFile]) {
        for source in sources {
            if let Some(facts) = &source.facts {
                let text = self.texts.entry(facts.sha256.clone());
                text.or_insert_with(|| source.text.clone());
            }
        }
        self.entries.push_back(entry);
        while self.entries.len() > 1
            && (self.entries.len() > ENTRIES_MAX || self.text_bytes() > TEXT_BYTES_MAX)
        {
            self.entries.pop_front();
            let used = used(&self.entries);
            self.texts.retain(|sha256, _| used.contains(sha256));
        }
    }

    fn text_bytes(&self) -> usize {
        self.texts.values().map(|text| text.len()).sum()
    }

    /// The newest first, with what each changed.
    pub(crate) fn list(&self) -> Vec<(Entry, Option<Changes>)> {
        let mut before = None;
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                let changes = before.replace(entry).map(|before| entry.changes(before));
                (entry.clone(), changes)
            })
            .collect();
        all.reverse();
        all
    }

    pub(crate) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// That of a generation; without one, the policy that was in force before this one.
    pub(crate) fn find(&self, generation: Option<u64>) -> Option<&Entry> {
        match generation {
            Some(generation) => {
                let mut entries = self.entries.iter();
                entries.find(|entry| entry.generation == generation)
            }
            None => {
                let in_force = self.last()?;
                let mut older = self.entries.iter().rev();
                older.find(|entry| entry.hash != in_force.hash)
            }
        }
    }

    /// Its policy files.
    pub(crate) fn sources(&self, entry: &Entry) -> Vec<SourceFile> {
        let files = entry.files.iter();
        files
            .filter_map(|facts| {
                let text = self.texts.get(&facts.sha256)?;
                Some(source(&facts.path, text.clone(), facts.clone()))
            })
            .collect()
    }

    /// What each file was when it was good.
    pub(crate) fn last_good(&self, is_start: bool) -> LastGood {
        let Some(entry) = self.last() else {
            return LastGood {
                is_start,
                ..LastGood::default()
            };
        };
        let sources = self.sources(entry).into_iter();
        let good =
            sources.filter(|source| !entry.unsound.iter().any(|name| **name == *source.name));
        LastGood {
            files: good.map(|source| (source.name.clone(), source)).collect(),
            is_start,
        }
    }

    /// What an earlier process left in `dir` about the policies of `folder`.
    pub(crate) fn open(dir: &Path, folder: &Path) -> Self {
        match read(dir, folder) {
            Ok(history) => history,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                warn!(dir = %dir.display(), %error, "the history of policies cannot be read, it begins anew");
                Self::default()
            }
        }
    }

    /// All of it as files, to be written without the lock.
    pub(crate) fn snapshot(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            texts: self.texts.clone(),
        }
    }

    pub(crate) fn save(&self, dir: &Path, folder: &Path) {
        if let Err(error) = self.write(dir, folder) {
            warn!(dir = %dir.display(), %error, "the history of policies cannot be written, a restart will not know it");
        }
    }

    fn write(&self, dir: &Path, folder: &Path) -> io::Result<()> {
        let texts = dir.join(TEXTS);
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&texts)?;
        for (sha256, text) in &self.texts {
            let path = texts.join(sha256);
            if !path.exists() {
                replace(&path, text.as_bytes())?;
            }
        }
        let index = Index {
            folder: folder.to_owned(),
            entries: self.entries.clone(),
        };
        replace(&dir.join(INDEX), &serde_json::to_vec(&index)?)?;
        // After the index: what it names must be there.
        for entry in fs::read_dir(&texts)? {
            let entry = entry?;
            let is_used = entry
                .file_name()
                .to_str()
                .is_some_and(|name| self.texts.contains_key(name));
            if !is_used {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn used(entries: &VecDeque<Entry>) -> HashSet<String> {
    let files = entries.iter().flat_map(|entry| &entry.files);
    files.map(|file| file.sha256.clone()).collect()
}

fn read(dir: &Path, folder: &Path) -> io::Result<History> {
    let path = dir.join(INDEX);
    if fs::metadata(&path)?.len() > INDEX_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{INDEX} is larger than {INDEX_BYTES_MAX} bytes"
        )));
    }
    let index: Index = serde_json::from_slice(&fs::read(path)?)?;
    if index.folder != folder {
        return Ok(History::default());
    }
    let mut history = History {
        entries: index.entries,
        texts: HashMap::new(),
    };
    for sha256 in used(&history.entries) {
        // A name that is no digest could lead anywhere.
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let text = is_digest.then(|| fs::read_to_string(dir.join(TEXTS).join(&sha256)).ok());
        let text = text.flatten();
        let is_whole = |text: &String| hex(&Sha256::digest(text.as_bytes())) == sha256;
        if let Some(text) = text.filter(is_whole) {
            history.texts.insert(sha256, text.into());
        }
    }
    let texts = &history.texts;
    history.entries.retain(|entry| {
        let mut files = entry.files.iter();
        files.all(|file| texts.contains_key(&file.sha256))
    });
    Ok(history)
}

/// Written beside, then renamed over: a reader never sees half of it.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    fs::rename(beside, path)
}
