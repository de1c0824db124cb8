//! Which files of a folder are policies, and whether any of them changed.
//!
//! Invariant: a walk ends: its depth and its entries are bounded, and no folder is entered twice.
//! Refuses what can be reached twice (a symlink loop, or every rule in it defined twice).

use std::collections::HashMap;
use std::fs::{DirEntry, Metadata};
use std::hash::{BuildHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codes;
use crate::diagnostic::{Fault, shown};

/// One file for each route of a large estate, and then some.
const FILES_MAX: usize = 4_096;
/// Entries of any kind that are looked at: a folder that holds something else must not stall a reload.
const ENTRIES_MAX: usize = 65_536;
/// Folders within folders.
const DEPTH_MAX: usize = 16;

/// In a folder of the edge's policies: the core services' own, which those read themselves.
const SERVICES_FOLDER: &str = "services";

/// A policy file that a walk came across; `metadata` is that of what a symlink points to.
pub struct Found {
    pub name: Arc<str>,
    pub path: PathBuf,
    pub metadata: Metadata,
}

#[derive(Default)]
pub struct Walk {
    pub found: Vec<Found>,
    /// With the name of what they are about.
    pub faults: Vec<(Arc<str>, Fault)>,
    /// Device and inode to the name under which it was reached first.
    reached: HashMap<(u64, u64), String>,
    entries: usize,
}

/// Every policy file below `dir`, sorted by name.
pub fn walk(dir: &Path) -> Walk {
    let mut walk = Walk::default();
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {
            walk.reached
                .insert((metadata.dev(), metadata.ino()), ".".to_owned());
            walk.enter(dir, "", 1);
        }
        Ok(_) => walk.fault(
            ".",
            codes::UNREADABLE,
            format!("{} is not a folder", shown(&dir.to_string_lossy())),
        ),
        Err(error) => {
            let message = format!(
                "cannot read the policies folder {}: {error}",
                shown(&dir.to_string_lossy())
            );
            walk.fault(".", codes::UNREADABLE, message);
        }
    }
    walk.found.sort_by(|a, b| a.name.cmp(&b.name));
    walk
}

fn unreadable(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

impl Walk {
    fn fault(&mut self, name: &str, code: &'static str, message: String) {
        self.faults.push((name.into(), Fault::new(code, message)));
    }

    fn enter(&mut self, dir: &Path, prefix: &str, depth: usize) {
        let here = if prefix.is_empty() {
            "."
        } else {
            prefix.trim_end_matches('/')
        };
        if depth > DEPTH_MAX {
            let message = format!("folders are nested deeper than {DEPTH_MAX}");
            return self.fault(here, codes::TOO_MUCH, message);
        }
        // One more than allowed, so that too many are noticed below.
        let entries =
            std::fs::read_dir(dir).and_then(|entries| entries.take(ENTRIES_MAX + 1).collect());
        let mut entries: Vec<DirEntry> = match entries {
            Ok(entries) => entries,
            Err(error) => return self.fault(here, codes::UNREADABLE, unreadable(&error)),
        };
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX || self.found.len() >= FILES_MAX {
                return self.too_many();
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Editors' temporary files, and the folders behind a Kubernetes ConfigMap.
            let is_hidden = name.starts_with('.');
            let is_services = prefix.is_empty() && name == SERVICES_FOLDER;
            if !is_hidden && !is_services {
                self.visit(entry.path(), prefix, &name, depth);
            }
        }
    }

    fn too_many(&mut self) {
        if self
            .faults
            .iter()
            .all(|(_, fault)| fault.code != codes::TOO_MUCH)
        {
            let message =
                format!("more than {FILES_MAX} policy files, or more than {ENTRIES_MAX} entries");
            self.fault(".", codes::TOO_MUCH, message);
        }
    }

    fn visit(&mut self, path: PathBuf, prefix: &str, file_name: &str, depth: usize) {
        let name = format!("{prefix}{file_name}");
        let is_yaml = file_name.ends_with(".yaml") || file_name.ends_with(".yml");
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && self.is_first(&metadata, &name) => {
                self.enter(&path, &format!("{name}/"), depth + 1);
            }
            // Reached before: said so.
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if is_yaml && self.is_first(&metadata, &name) => {
                self.found.push(Found {
                    name: name.into(),
                    path,
                    metadata,
                });
            }
            Err(error) if is_yaml => self.fault(&name, codes::UNREADABLE, unreadable(&error)),
            _ => {}
        }
    }

    fn is_first(&mut self, metadata: &Metadata, name: &str) -> bool {
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = self.reached.get(&identity) {
            let message = format!("is the same as {}", shown(first));
            let fault = Fault::new(codes::REACHED_TWICE, message).hint("remove one of the links");
            self.faults.push((name.into(), fault));
            return false;
        }
        self.reached.insert(identity, name.to_owned());
        true
    }
}

/// A cheap digest of names, sizes, times and inodes: it changes when a file does.
pub fn fingerprint(dir: &Path, inputs: &[PathBuf]) -> u64 {
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    let walk = walk(dir);
    identity(dir).hash(&mut hasher);
    for found in &walk.found {
        found.name.hash(&mut hasher);
        state(&found.metadata).hash(&mut hasher);
    }
    for (name, fault) in &walk.faults {
        (name, &fault.message).hash(&mut hasher);
    }
    for input in inputs {
        let metadata = std::fs::metadata(input);
        metadata
            .ok()
            .map(|metadata| state(&metadata))
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// Device and inode of a folder.
pub fn identity(dir: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(dir)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

fn state(metadata: &Metadata) -> impl Hash + use<> {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        modified,
        changed,
    )
}
