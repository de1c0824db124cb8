//! A folder to source texts: the content of policy files, and facts about them.
//!
//! Invariant: what was read is what was hashed; every file and the sum of all have a bound.
//! Refuses what is not a regular file: a FIFO would block the reload for ever.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codes;
use crate::diagnostic::{Fault, Mark};
use crate::report::Report;
use crate::walk::{Found, walk};

/// A thousand routes are about 300 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// All policy files together.
const TOTAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Certificates, keys and descriptor sets that policies refer to.
const INPUTS_MAX: usize = 1_024;
const INPUT_TOTAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is known about a file that the policy in force was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Relative to the policies folder, as a policy would write it.
    pub path: String,
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
    #[serde(with = "rfc3339")]
    pub modified: SystemTime,
}

/// Times as RFC 3339 in UTC.
pub mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let text = OffsetDateTime::from(*time).format(&Rfc3339);
        serializer.serialize_str(&text.map_err(serde::ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(time.into())
    }
}

/// A policy file.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Relative to the folder, with `/`.
    pub name: Arc<str>,
    /// Shared by the policies that were made of it; empty where it could not be read.
    pub text: Arc<str>,
    /// None where it could not be read.
    pub facts: Option<FileFacts>,
    /// Why it could not be read.
    pub fault: Option<Fault>,
}

/// The content of a folder, and of the files its policies refer to.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    pub sources: Vec<SourceFile>,
    /// Of the files that policies refer to.
    facts: Vec<FileFacts>,
    /// By path as opened. Failures are kept too: a file that appears later must be noticed.
    inputs: BTreeMap<PathBuf, Result<Arc<[u8]>, String>>,
    input_bytes: u64,
}

impl Folder {
    /// Read every policy file below `dir`, in order of their names.
    pub fn read(dir: &Path) -> Self {
        let walk = walk(dir);
        let mut total = 0;
        let mut sources = Vec::with_capacity(walk.found.len());
        for found in walk.found {
            let source = found_source(&found, &mut total);
            sources.push(source.unwrap_or_else(|fault| unread(found.name, fault)));
        }
        let faults = walk.faults.into_iter();
        sources.extend(faults.map(|(name, fault)| unread(name, fault)));
        Self::of(dir, sources)
    }

    /// Of texts that were read before.
    pub fn of(dir: &Path, sources: Vec<SourceFile>) -> Self {
        Self {
            dir: dir.to_owned(),
            sources,
            facts: Vec::new(),
            inputs: BTreeMap::new(),
            input_bytes: 0,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What could not be read.
    pub fn report(&self, report: &mut Report) {
        for (index, source) in (0..).zip(&self.sources) {
            if let Some(fault) = &source.fault {
                report.push(Mark::of_file(index), fault.clone());
            }
        }
        if self.sources.is_empty() {
            let fault = Fault::new(codes::NO_FILES, "the folder holds no policy file (`*.yaml`)")
                .hint("an empty policy would refuse every request; to do that on purpose, write a file with `version: 1`");
            report.push(Mark::of_file(u32::MAX), fault);
        }
    }

    /// Where a path written in a policy points to.
    pub fn resolve(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// The content of a file that a policy refers to; it becomes part of the hash.
    pub fn input(&mut self, written: &str, bytes_max: u64) -> Result<Arc<[u8]>, String> {
        let path = self.resolve(written);
        if let Some(known) = self.inputs.get(&path) {
            return known.clone();
        }
        let content = if self.inputs.len() >= INPUTS_MAX {
            return Err(format!("policies refer to more than {INPUTS_MAX} files"));
        } else if self.input_bytes > INPUT_TOTAL_BYTES_MAX {
            Err(format!(
                "files that policies refer to hold more than {INPUT_TOTAL_BYTES_MAX} bytes together"
            ))
        } else {
            read_bounded(&path, bytes_max).map_err(|error| error.message)
        };
        if let Ok(bytes) = &content {
            self.input_bytes += bytes.len() as u64;
            if let Ok(metadata) = std::fs::metadata(&path) {
                self.facts.push(facts(written.to_owned(), bytes, &metadata));
            }
        }
        let content = content.map(Arc::<[u8]>::from);
        self.inputs.insert(path, content.clone());
        content
    }

    /// Files outside of the folder's own that were asked for, whether they could be read or not.
    pub fn input_paths(&self) -> Vec<PathBuf> {
        self.inputs.keys().cloned().collect()
    }

    /// SHA-256 over names and contents, hex.
    pub fn hash(&self) -> String {
        let mut sha = Sha256::new();
        for source in &self.sources {
            add(&mut sha, source.name.as_bytes());
            add(&mut sha, source.text.as_bytes());
        }
        // What cannot be read hides its content: another fault is another hash.
        for fault in self
            .sources
            .iter()
            .filter_map(|source| source.fault.as_ref())
        {
            add(&mut sha, fault.message.as_bytes());
        }
        self.add_inputs(&mut sha);
        hex(&sha.finalize())
    }

    /// The same over the files that policies refer to.
    pub fn inputs_hash(&self) -> String {
        let mut sha = Sha256::new();
        self.add_inputs(&mut sha);
        hex(&sha.finalize())
    }

    fn add_inputs(&self, sha: &mut Sha256) {
        for (path, content) in &self.inputs {
            let relative = path.strip_prefix(&self.dir).unwrap_or(path);
            add(sha, relative.as_os_str().as_encoded_bytes());
            match content {
                Ok(bytes) => add(sha, bytes),
                Err(message) => add(sha, message.as_bytes()),
            }
        }
    }

    /// Facts about policy files and the files they refer to.
    pub fn facts(&self) -> Vec<FileFacts> {
        let sources = self.sources.iter();
        let sources = sources.filter_map(|source| source.facts.clone());
        sources.chain(self.facts.iter().cloned()).collect()
    }
}

fn add(sha: &mut Sha256, bytes: &[u8]) {
    // The length in front keeps `a` + `bc` apart from `ab` + `c`.
    sha.update((bytes.len() as u64).to_be_bytes());
    sha.update(bytes);
}

fn unread(name: Arc<str>, fault: Fault) -> SourceFile {
    SourceFile {
        name,
        text: Arc::from(""),
        facts: None,
        fault: Some(fault),
    }
}

fn found_source(found: &Found, total: &mut u64) -> Result<SourceFile, Fault> {
    let bytes = read_bounded(&found.path, FILE_BYTES_MAX).map_err(ReadError::into_fault)?;
    *total += bytes.len() as u64;
    if *total > TOTAL_BYTES_MAX {
        let message = format!("policy files hold more than {TOTAL_BYTES_MAX} bytes together");
        return Err(Fault::new(codes::TOO_MUCH, message));
    }
    let facts = facts(found.name.to_string(), &bytes, &found.metadata);
    let text = utf8(bytes)?;
    Ok(SourceFile {
        name: found.name.clone(),
        text: text.into(),
        facts: Some(facts),
        fault: None,
    })
}

/// The text of a policy file.
pub fn read_source(path: &Path) -> Result<String, Fault> {
    utf8(read_bounded(path, FILE_BYTES_MAX).map_err(ReadError::into_fault)?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| {
        let message = format!(
            "not UTF-8: byte {} is not text",
            error.utf8_error().valid_up_to() + 1
        );
        Fault::new(codes::UNREADABLE, message)
    })
}

fn facts(path: String, bytes: &[u8], metadata: &Metadata) -> FileFacts {
    FileFacts {
        path,
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct ReadError {
    code: &'static str,
    message: String,
}

impl ReadError {
    fn into_fault(self) -> Fault {
        Fault::new(self.code, self.message)
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let unreadable = |error: std::io::Error| ReadError {
        code: codes::UNREADABLE,
        message: format!("cannot be read: {error}"),
    };
    // Before it is opened: opening a FIFO waits for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ReadError {
            code: codes::UNREADABLE,
            message: "is not a regular file".to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError {
            code: codes::TOO_MUCH,
            message: format!("is larger than {bytes_max} bytes"),
        });
    }
    Ok(bytes)
}
