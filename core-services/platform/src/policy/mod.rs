//! Rules of the services that change while they run: `policies/services/*.yaml`.
//! Invariant: what is in force compiled as a whole; a snapshot never changes.
//! Refuses to guess: unknown files and keys are errors, and the last good rules
//! stay in force.

mod flags;
mod rbac;
mod access;
mod providers;
mod load;
mod follow;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
pub use palisade_documents::diagnostic::Diagnostics;

pub use access::{Matrix, Unfit};
pub use flags::Flags;
pub use follow::follow;
pub use load::{Loaded, load};
pub use providers::{Profile, Provider, Providers};
pub use rbac::Roles;

/// All rules at one moment.
#[derive(Debug, Default)]
pub struct Policies {
    pub flags: Flags,
    pub roles: Roles,
    pub access: Matrix,
    pub providers: Providers,
}

/// The rules in force; readers take a snapshot and keep it for one decision.
#[derive(Debug, Default)]
pub struct PolicyStore {
    current: ArcSwap<Policies>,
    generation: AtomicU64,
    /// Why what is in the folder now is not in force.
    refused: ArcSwapOption<Diagnostics>,
    /// The files that led to the above.
    seen: ArcSwap<load::Seen>,
}

impl PolicyStore {
    /// The rules of a folder.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(dir: &Path) -> Result<Self, Diagnostics> {
        let Loaded { outcome, seen } = load(dir);
        let store = Self::default();
        store.replace(outcome?);
        store.seen.store(Arc::new(seen));
        Ok(store)
    }

    /// The rules in force.
    pub fn current(&self) -> Arc<Policies> {
        self.current.load_full()
    }

    /// How often rules came into force in this process.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What is wrong with the newest files, if anything is.
    pub fn refused(&self) -> Option<Arc<Diagnostics>> {
        self.refused.load_full()
    }

    /// Puts other rules in force.
    pub fn replace(&self, policies: Policies) {
        self.current.store(Arc::new(policies));
        self.refused.store(None);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn refuse(&self, diagnostics: Diagnostics) {
        self.refused.store(Some(Arc::new(diagnostics)));
    }
}

#[cfg(test)]
mod tests;
