//! Session tickets that every replica with the same folder accepts, and no other trust domain.
//!
//! Time is cut into periods; the key of period N is the file `N.key`, made by whoever needs it
//! first. A period's key encrypts during it; those before and after it still decrypt, so clocks
//! may differ and a ticket lives for a period at least. Older files are removed: what was recorded
//! then stays secret. Each trust domain has keys of its own, derived from these.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use tracing::{info, warn};

use super::Error;

/// Seconds for which a key encrypts; also the shortest life of a ticket.
const PERIOD: u32 = 12 * 3_600;
const SECRET_BYTES: usize = 32;
/// Which key a ticket is under; told to everybody, so derived and not the secret's own bytes.
const NAME_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// Session state with a chain of client certificates (rustls takes handshakes of 64 KiB).
const TICKET_BYTES_MAX: usize = 80 * 1024;

/// The keys of the folder around now.
pub(super) struct TicketKeys {
    folder: PathBuf,
    ring: ArcSwap<Ring>,
    /// The last error, so that it is said once and not every second.
    complaint: Mutex<Option<String>>,
}

/// Keys of the period before, this one and the next; none where the system has no randomness.
#[derive(Default)]
struct Ring {
    period: u64,
    keys: [Option<Key>; 3],
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    name: [u8; NAME_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Never fails: without files there are keys of this process alone.
    pub(super) fn load(folder: &Path, now: u64) -> Self {
        let this = Self {
            folder: folder.into(),
            ring: ArcSwap::default(),
            complaint: Mutex::new(None),
        };
        this.look(now, &|_| {});
        this
    }

    /// Take up what changed, make what is missing, remove what is past.
    pub(super) fn look(&self, now: u64, on_error: &impl Fn(&Error)) {
        let period = now / u64::from(PERIOD);
        let before = self.ring.load();
        let mut failed = None;
        let periods = [period.saturating_sub(1), period, period + 1];
        let keys = periods.map(|number| {
            let read = read_or_make(&self.folder, number);
            let reason = match read {
                Ok(key) => return Some(key),
                Err(reason) => reason,
            };
            failed = Some(Error::TicketKey {
                path: file(&self.folder, number),
                reason,
            });
            before.key(number).cloned().or_else(Key::local)
        });
        if before.period != period {
            info!(period, "ticket keys rotated");
        }
        if before.period != period || before.keys != keys {
            self.ring.store(Arc::new(Ring { period, keys }));
        }
        remove_before(&self.folder, period.saturating_sub(1));
        let mut complaint = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let text = failed.as_ref().map(ToString::to_string);
        if let Some(error) = failed.filter(|_| *complaint != text) {
            warn!(%error, "ticket key not taken from its file, the one in force stays");
            on_error(&error);
        }
        *complaint = text;
    }
}

impl Ring {
    fn key(&self, period: u64) -> Option<&Key> {
        let at = (period + 1).checked_sub(self.period)?;
        self.keys.get(usize::try_from(at).ok()?)?.as_ref()
    }
}

fn file(folder: &Path, period: u64) -> PathBuf {
    folder.join(format!("{period}.key"))
}

/// The key of a period; the first of all replicas to come makes it.
fn read_or_make(folder: &Path, period: u64) -> Result<Key, String> {
    let path = file(folder, period);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(folder, &path).map_err(|error| format!("cannot be made: {error}"))?;
        }
        Err(error) => return Err(format!("cannot be read: {error}")),
        Ok(bytes) => return Key::of(&bytes),
    }
    let bytes = fs::read(&path).map_err(|error| format!("cannot be read: {error}"))?;
    Key::of(&bytes)
}

/// Whole or not at all, and never over one that another replica made meanwhile.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let secret = random().map_err(io::Error::other)?;
    let temporary = folder.join(format!(".{:016x}", fastrand::u64(..)));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(&secret)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Best effort: a folder that cannot be written was complained about already.
fn remove_before(folder: &Path, period: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".key"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        if number.is_some_and(|number| number < period) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn random() -> Result<[u8; SECRET_BYTES], Unspecified> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

impl Key {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let secret: [u8; SECRET_BYTES] = bytes
            .try_into()
            .map_err(|_| format!("has {} bytes instead of {SECRET_BYTES}", bytes.len()))?;
        Ok(Self::new(secret))
    }

    /// Of this process alone.
    fn local() -> Option<Self> {
        random().ok().map(Self::new)
    }

    fn new(secret: [u8; SECRET_BYTES]) -> Self {
        let mut name = [0; NAME_BYTES];
        let tag = derive(&secret, b"name", &[]);
        for (to, from) in name.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self { name, secret }
    }

    fn cipher(&self, label: &[u8]) -> Option<RandomizedNonceKey> {
        let key = derive(&self.secret, b"ticket", label);
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).ok()
    }
}

/// HMAC as the pseudo-random function that key derivation needs (SP 800-108, 4.1): the output is one block.
fn derive(secret: &[u8], purpose: &[u8], label: &[u8]) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose);
    context.update(&[0]);
    context.update(label);
    context.sign()
}

/// Tickets of one configuration.
#[derive(Debug)]
pub(super) struct Ticketer {
    keys: Arc<TicketKeys>,
    /// What tells this configuration's tickets from those of others.
    label: Vec<u8>,
}

impl Ticketer {
    pub(super) fn new(keys: Arc<TicketKeys>, label: Vec<u8>) -> Self {
        Self { keys, label }
    }
}

/// Key name, nonce, ciphertext with its tag.
impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.keys.ring.load();
        let key = ring.key(ring.period)?;
        let mut sealed = plain.to_vec();
        let nonce = key
            .cipher(&self.label)?
            .seal_in_place_append_tag(Aad::from(key.name), &mut sealed)
            .ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_BYTES + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let ring = self.keys.ring.load();
        let key = ring.keys.iter().flatten().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = key
            .cipher(&self.label)?
            .open_in_place(nonce, Aad::from(key.name), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const START: u64 = 1_000 * PERIOD as u64;

    fn ticketer(folder: &Path, now: u64, label: &str) -> Ticketer {
        Ticketer::new(
            Arc::new(TicketKeys::load(folder, now)),
            label.as_bytes().to_vec(),
        )
    }

    fn later(ticketer: &Ticketer, now: u64) -> usize {
        let errors = std::cell::Cell::new(0);
        ticketer.keys.look(now, &|_| errors.set(errors.get() + 1));
        errors.get()
    }

    #[test]
    fn replicas_and_restarts_share_keys_domains_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tickets");
        let first = ticketer(&folder, START, "a");
        let ticket = first.encrypt(b"state").unwrap();
        let replica = ticketer(&folder, START + 5, "a");
        assert_eq!(replica.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(ticketer(&folder, START, "b").decrypt(&ticket), None);
        assert_eq!(ticketer(&folder, START, "").decrypt(&ticket), None);
        let elsewhere = ticketer(&dir.path().join("other"), START, "a");
        assert_eq!(elsewhere.decrypt(&ticket), None);
        for entry in fs::read_dir(&folder).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_ticket_lives_for_a_period_and_less_than_two() {
        let dir = tempfile::tempdir().unwrap();
        let (period, folder) = (u64::from(PERIOD), dir.path());
        let edge = ticketer(folder, START, "a");
        let ahead = ticketer(folder, START + period, "a");
        let from_ahead = ahead.encrypt(b"ahead").unwrap();
        assert!(edge.decrypt(&from_ahead).is_some(), "clocks may differ");
        let last = START + period - 1;
        assert_eq!(later(&edge, last), 0);
        let ticket = edge.encrypt(b"state").unwrap();
        later(&edge, last + period);
        assert!(edge.decrypt(&ticket).is_some());
        later(&edge, last + period + 1);
        assert_eq!(edge.decrypt(&ticket), None);
        let left = fs::read_dir(folder).unwrap().count();
        assert_eq!(left, 3, "keys of the past are gone");
    }

    #[test]
    fn a_broken_file_leaves_the_key_in_force_and_a_missing_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let edge = ticketer(dir.path(), START, "a");
        let ticket = edge.encrypt(b"state").unwrap();
        let path = file(dir.path(), START / u64::from(PERIOD));
        let whole = fs::read(&path).unwrap();
        for broken in [&whole[..31], &[], &[whole.clone(), vec![0]].concat()] {
            fs::write(&path, broken).unwrap();
            assert_eq!(later(&edge, START), 1, "said once");
            assert_eq!(later(&edge, START), 0);
            assert!(edge.decrypt(&ticket).is_some());
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(later(&edge, START), 0);
        assert_eq!(edge.decrypt(&ticket), None, "removing a key revokes it");
        assert!(path.exists());
    }

    #[test]
    fn any_bytes_are_no_ticket() {
        let dir = tempfile::tempdir().unwrap();
        let edge = ticketer(dir.path(), START, "a");
        let ticket = edge.encrypt(b"state").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(edge.decrypt(&ticket[..length]), None);
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(edge.decrypt(&changed), None);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_leaves_keys_of_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let edge = ticketer(&blocked.join("tickets"), START, "a");
        let ticket = edge.encrypt(b"state").unwrap();
        later(&edge, START + 1);
        assert!(edge.decrypt(&ticket).is_some());
    }
}
