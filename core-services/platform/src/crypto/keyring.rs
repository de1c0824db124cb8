//! The key-encryption keys, from a file: one `id:base64` line each. The first
//! line wraps; the others only unwrap what was wrapped before a rotation.
//! Invariant: the file is its owner's alone (0600), and keys never leave this
//! module but as a cipher.
//! Refuses a file that is missing where one was named: a new ring opens nothing old.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use uuid::Uuid;
use zeroize::Zeroizing;

/// AES-256.
pub(super) const KEY_BYTES: usize = 32;
/// A ring grows by one line a rotation and loses one after `rewrap`; a longer file is another file.
const KEYS_MAX: usize = 16;
/// Sixteen lines and some comments.
const FILE_BYTES_MAX: u64 = 8 * 1024;
/// Ids stand in the database beside what they wrapped.
const ID_BYTES_MAX: usize = 32;
/// The file that development makes for itself, in the data directory.
const FILE: &str = "keyring";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("key ring: cannot use `{}`: {source}\nhint: one `id:base64 of 32 bytes` line each, mode 0600", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("key ring: `{0}` is open to other users (mode {mode:04o})\nhint: chmod 600 {0}", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("key ring: `{}` is larger than {FILE_BYTES_MAX} bytes\nhint: is this the right file?", .0.display())]
    TooLarge(PathBuf),
    /// The line is not shown: it may hold a key.
    #[error("key ring: {}:{line}: {what}\nhint: `openssl rand -base64 32` makes a key; ids are a-z, 0-9 and `-`", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        what: &'static str,
    },
    #[error("key ring: `{}` holds no key\nhint: echo \"k1:$(openssl rand -base64 32)\" makes a first line", .0.display())]
    Empty(PathBuf),
    #[error("key ring: no random bytes")]
    Random,
}

/// A key that wraps data keys.
struct Kek {
    id: String,
    cipher: LessSafeKey,
}

/// All of them, the one that wraps first.
pub struct KeyRing {
    newest: Kek,
    older: Vec<Kek>,
}

impl KeyRing {
    /// The ring in `named`; without a name the one in `data_dir`, made if it is missing.
    ///
    /// # Errors
    /// A file others may read, or one with a line that is no key.
    pub fn open(named: Option<&Path>, data_dir: &Path) -> Result<Self, Error> {
        match named {
            Some(path) => Self::load(path),
            None => {
                let path = data_dir.join(FILE);
                make(&path, data_dir)?;
                Self::load(&path)
            }
        }
    }

    /// The ring in `data_dir`, and whether there is one.
    pub(super) fn own(data_dir: &Path) -> (PathBuf, bool) {
        let path = data_dir.join(FILE);
        let exists = path.exists();
        (path, exists)
    }

    /// # Errors
    /// As [`KeyRing::open`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let failed = at(path);
        let found = fs::metadata(path).map_err(&failed)?;
        let mode = found.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Open {
                path: path.to_owned(),
                mode,
            });
        }
        if found.len() > FILE_BYTES_MAX {
            return Err(Error::TooLarge(path.to_owned()));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(&failed)?);
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut keys: Vec<Kek> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let wrong = |what| Error::Line {
                path: path.to_owned(),
                line: index + 1,
                what,
            };
            let kek = kek(line_text).map_err(wrong)?;
            if keys.iter().any(|known| known.id == kek.id) {
                return Err(wrong("an id that an earlier line has"));
            }
            if keys.len() == KEYS_MAX {
                return Err(wrong("more keys than a ring holds (16)"));
            }
            keys.push(kek);
        }
        let mut keys = keys.into_iter();
        let newest = keys.next().ok_or_else(|| Error::Empty(path.to_owned()))?;
        Ok(Self {
            newest,
            older: keys.collect(),
        })
    }

    /// The key that wraps.
    pub(super) fn newest(&self) -> (&str, &LessSafeKey) {
        (&self.newest.id, &self.newest.cipher)
    }

    /// The ids of the keys that only unwrap.
    pub(super) fn older(&self) -> Vec<String> {
        self.older.iter().map(|kek| kek.id.clone()).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<&LessSafeKey> {
        std::iter::once(&self.newest)
            .chain(&self.older)
            .find(|kek| kek.id == id)
            .map(|kek| &kek.cipher)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = std::iter::once(&self.newest).chain(&self.older);
        f.debug_list().entries(ids.map(|kek| &kek.id)).finish()
    }
}

fn kek(line: &str) -> Result<Kek, &'static str> {
    let (id, key) = line.split_once(':').ok_or("not `id:base64`")?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(plain) {
        return Err("an id that is not 1 to 32 of a-z, 0-9 and `-`");
    }
    let key = Zeroizing::new(
        STANDARD
            .decode(key)
            .map_err(|_| "a key that is no base64")?,
    );
    if key.len() != KEY_BYTES {
        return Err("a key that is not 32 bytes long");
    }
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| "a key that is unusable")?;
    Ok(Kek {
        id: id.to_owned(),
        cipher: LessSafeKey::new(key),
    })
}

/// Makes a ring of one new key, unless there is one. It appears whole or not at
/// all: two processes that start at once agree on the one that was linked first.
fn make(path: &Path, dir: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let failed = at(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(&failed)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(key.as_mut()).map_err(|_| Error::Random)?;
    let name = Uuid::new_v4().simple().to_string();
    let id = name.get(..8).unwrap_or(&name);
    let line = Zeroizing::new(format!("{id}:{}\n", STANDARD.encode(key.as_ref())));
    let draft = dir.join(format!(".{FILE}.{name}"));
    let linked = write(&draft, line.as_bytes()).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.and(removed).map_err(&failed),
    }
}

fn write(draft: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text)?;
    // Lost in a power cut, it would take all that was sealed along.
    file.sync_all()
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(id: &str, byte: u8) -> String {
        format!("{id}:{}\n", STANDARD.encode([byte; KEY_BYTES]))
    }

    fn error_of(text: &str) -> String {
        let parsed = KeyRing::parse(text, Path::new("ring"));
        parsed.unwrap_err().to_string()
    }

    #[test]
    fn the_first_line_wraps_and_all_are_found() {
        let text = format!("# rotated\n\n{}{}", line("k2", 2), line("k1", 1));
        let ring = KeyRing::parse(&text, Path::new("ring")).unwrap();
        assert_eq!(ring.newest().0, "k2");
        assert!(ring.find("k1").is_some() && ring.find("k2").is_some());
        assert!(ring.find("k3").is_none());
        assert_eq!(format!("{ring:?}"), r#"["k2", "k1"]"#);
    }

    #[test]
    fn a_wrong_line_is_named_but_not_shown() {
        let good = line("k1", 1);
        let many: String = (0..17).map(|n| line(&format!("k{n}"), n)).collect();
        for (text, part) in [
            (String::new(), "holds no key"),
            (format!("{good}secret\n"), "ring:2: not `id:base64`"),
            (line("K1", 1), "ring:1: an id"),
            ("k1:secret!\n".to_owned(), "ring:1: a key that is no base64"),
            ("k1:c2VjcmV0\n".to_owned(), "ring:1: a key that is not 32"),
            (format!("{good}{good}"), "ring:2: an id that an earlier"),
            (many, "ring:17: more keys"),
        ] {
            let message = error_of(&text);
            assert!(message.contains(part), "{message}");
            assert!(
                !message.contains("secret") && !message.contains("c2Vj"),
                "{message}"
            );
        }
    }

    #[test]
    fn development_makes_one_ring_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = KeyRing::open(None, &data).unwrap();
        let again = KeyRing::open(None, &data).unwrap();
        assert_eq!(first.newest().0, again.newest().0);
        let path = data.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = KeyRing::open(None, &data).unwrap_err().to_string();
        assert!(refused.contains("hint: chmod 600"), "{refused}");
    }

    #[test]
    fn starts_at_the_same_time_agree() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| KeyRing::open(None, dir.path()).unwrap()))
                .collect();
            let rings = starts.into_iter().map(|start| start.join().unwrap());
            rings.map(|ring| ring.newest().0.to_owned()).collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    }

    #[test]
    fn a_named_file_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        assert!(KeyRing::open(Some(&missing), dir.path()).is_err());
        assert!(!missing.exists());
    }
}
