//! What is kept on disk: pairs of certificate and key, the account, a record of each name, the lock.
//!
//! Invariant: a reader sees a whole file or none (written aside, synced, renamed). Of a pair the key
//! goes first; for the moment in between the two do not match, and the edge keeps what it has.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::settings::{DirectoryUrl, Name, SetupError};

/// A chain, a key, an account or a record is a few KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Everybody may read a certificate, and only the owner a key or an account.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{}`: {source}", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// The two folders.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    certificates: PathBuf,
    state: PathBuf,
}

/// A chain, leaf first, and the key of the leaf: both PEM.
#[derive(PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// What happened to a name so far.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Whom it was ordered from last.
    pub(crate) directory: String,
    /// Whether the certificate on disk came from there.
    pub(crate) issued: bool,
    /// In a row.
    pub(crate) failures: u32,
    /// Unix seconds; kept, so that a process that is restarted again and again does not hammer.
    pub(crate) retry_at: i64,
}

/// Held while one process orders; given back when dropped, and by the kernel when the process dies.
pub(crate) struct Lock {
    _file: File,
}

impl Files {
    /// Makes the folders where they are missing.
    pub(crate) fn new(certificates: &Path, state: &Path) -> Result<Self, SetupError> {
        for path in [certificates, state] {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path);
            made.map_err(|source| SetupError::Folder {
                path: path.into(),
                source,
            })?;
        }
        Ok(Self {
            certificates: certificates.into(),
            state: state.into(),
        })
    }

    /// Chain and key of a name, in PEM; none where one of them is missing. A `NAME.crt` is
    /// somebody else's: the edge would read it together with the key written here.
    pub(crate) fn pair(&self, name: &Name) -> Result<Option<Pair>, FileError> {
        let foreign = self.pair_file(name, "crt");
        if foreign.exists() {
            return Err(FileError {
                path: foreign,
                source: io::Error::other("is in the way of a certificate by acme"),
            });
        }
        let chain = read(&self.pair_file(name, "pem"))?;
        let key = read(&self.pair_file(name, "key"))?;
        Ok(chain.zip(key).map(|(chain, key)| Pair { chain, key }))
    }

    pub(crate) fn write_pair(&self, name: &Name, pair: &Pair) -> Result<(), FileError> {
        let (chain_path, key_path) = (self.pair_file(name, "pem"), self.pair_file(name, "key"));
        // Both are on disk before either is in its place: the moment in between is two renames.
        let key = stage(&key_path, &pair.key, PRIVATE)?;
        let chain = stage(&chain_path, &pair.chain, PUBLIC)?;
        persist(key, &key_path)?;
        persist(chain, &chain_path)?;
        sync_folder(&self.certificates)
    }

    pub(crate) fn record(&self, name: &Name) -> Result<Option<Record>, FileError> {
        read_json(&self.state.join(format!("{name}.json")))
    }

    pub(crate) fn write_record(&self, name: &Name, record: &Record) -> Result<(), FileError> {
        write_json(&self.state.join(format!("{name}.json")), record)
    }

    pub(crate) fn account<T: DeserializeOwned>(
        &self,
        directory: &DirectoryUrl,
    ) -> Result<Option<T>, FileError> {
        read_json(&self.account_file(directory))
    }

    pub(crate) fn write_account<T: Serialize>(
        &self,
        directory: &DirectoryUrl,
        credentials: &T,
    ) -> Result<(), FileError> {
        write_json(&self.account_file(directory), credentials)
    }

    /// None while another process orders.
    pub(crate) fn lock(&self) -> Result<Option<Lock>, FileError> {
        let path = self.state.join("lock");
        let failed = |source| FileError {
            path: path.clone(),
            source,
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn pair_file(&self, name: &Name, ending: &str) -> PathBuf {
        self.certificates.join(format!("{name}.{ending}"))
    }

    // An underscore is in no host name: an account can never be taken for the record of one.
    fn account_file(&self, directory: &DirectoryUrl) -> PathBuf {
        let stem = directory.file_stem();
        self.state.join(format!("account_{stem}.json"))
    }
}

/// The whole of a file; none where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let reading = || {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "more than {FILE_BYTES_MAX} bytes"
            )));
        }
        Ok(bytes)
    };
    match reading() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError {
            path: path.into(),
            source,
        }),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| FileError {
        path: path.into(),
        source: io::Error::other(error),
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(value).map_err(|error| FileError {
        path: path.into(),
        source: io::Error::other(error),
    })?;
    persist(stage(path, &bytes, PRIVATE)?, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Write beside `path`, to the disk.
fn stage(path: &Path, bytes: &[u8], mode: u32) -> Result<NamedTempFile, FileError> {
    let writing = || {
        // Made with mode 0600 under a random name.
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        let permissions = Permissions::from_mode(mode);
        file.as_file().set_permissions(permissions)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    writing().map_err(|source| FileError {
        path: path.into(),
        source,
    })
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), FileError> {
    file.persist(path).map(drop).map_err(|error| FileError {
        path: path.into(),
        source: error.error,
    })
}

/// A rename is on disk once its folder is.
fn sync_folder(path: &Path) -> Result<(), FileError> {
    let syncing = File::open(path).and_then(|folder| folder.sync_all());
    syncing.map_err(|source| FileError {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(&root.path().join("certs"), &root.path().join("state/acme"));
        (root, files.unwrap())
    }

    fn pair(chain: &str) -> Pair {
        Pair {
            chain: chain.into(),
            key: b"key".to_vec(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_pair_is_replaced_whole_and_its_key_is_private() {
        let (root, files) = files();
        let name: Name = "shop.test".parse().unwrap();
        assert!(files.pair(&name).unwrap().is_none());
        for round in ["first", "second, and longer", "3"] {
            files.write_pair(&name, &pair(round)).unwrap();
            assert!(files.pair(&name).unwrap() == Some(pair(round)), "{round}");
        }
        let certs = root.path().join("certs");
        assert_eq!(mode(&certs.join("shop.test.key")), 0o600);
        assert_eq!(mode(&certs.join("shop.test.pem")), 0o644);
        assert_eq!(
            fs::read_dir(&certs).unwrap().count(),
            2,
            "nothing is left beside"
        );
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let (root, files) = files();
        let name: Name = "shop.test".parse().unwrap();
        files.write_pair(&name, &pair("chain")).unwrap();
        // Nothing can be renamed over a folder: the pair is not begun, and nothing stays beside it.
        let other: Name = "blog.test".parse().unwrap();
        fs::create_dir(root.path().join("certs/blog.test.key")).unwrap();
        assert!(files.write_pair(&other, &pair("chain")).is_err());
        assert!(!root.path().join("certs/blog.test.pem").exists());
        assert!(files.pair(&name).unwrap() == Some(pair("chain")));
        assert_eq!(fs::read_dir(root.path().join("certs")).unwrap().count(), 3);
    }

    #[test]
    fn records_are_kept_and_a_broken_one_is_an_error() {
        let (root, files) = files();
        let name: Name = "shop.test".parse().unwrap();
        assert_eq!(files.record(&name).unwrap(), None);
        let record = Record {
            directory: "https://acme.test/".into(),
            issued: true,
            failures: 3,
            retry_at: 1_800_000_000,
        };
        files.write_record(&name, &record).unwrap();
        assert_eq!(files.record(&name).unwrap(), Some(record));
        let path = root.path().join("state/acme/shop.test.json");
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, "{").unwrap();
        let error = files.record(&name).unwrap_err().to_string();
        assert!(error.contains("shop.test.json"), "{error}");
    }

    #[test]
    fn one_process_orders_at_a_time() {
        let (_root, files) = files();
        let held = files.lock().unwrap();
        assert!(held.is_some());
        assert!(files.lock().unwrap().is_none());
        drop(held);
        assert!(files.lock().unwrap().is_some());
    }

    #[test]
    fn a_certificate_under_the_other_ending_is_not_touched() {
        let (root, files) = files();
        let name: Name = "shop.test".parse().unwrap();
        fs::write(root.path().join("certs/shop.test.crt"), "theirs").unwrap();
        fs::write(root.path().join("certs/shop.test.key"), "theirs").unwrap();
        let error = files.pair(&name).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("shop.test.crt")));
    }
}
