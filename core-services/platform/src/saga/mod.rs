//! Work of several steps in several services that is done whole or undone whole.
//! Invariant: a step's advance and its effects are one transaction; before the
//! pivot every step can be undone, after it the saga only goes forward.
//! Refuses to take silence for an answer: a call that timed out has an unknown
//! end, and is asked about before anything else is decided.

mod store;
mod drive;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    clock::UnixMicros,
    db::{Error, Tx},
    jobs::{self, Jobs, NewJob, Options},
};

use drive::Driver;
pub use store::{Listed, Status, list, open};

/// More steps than this are several sagas.
const STEPS_MAX: usize = 32;
/// Tries of one step before the pivot that end unknown or unavailable; then it is undone.
const TRIES_MAX: i64 = 10;

/// What the steps know of each other; kept as JSON, so no secrets and no personal data.
pub trait Data: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Data for T {}

/// What a call to another service carries.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub saga: Uuid,
    /// The step's name.
    pub step: &'static str,
    pub now: UnixMicros,
}

impl Call {
    /// The idempotency key of the step's call: the same in every try.
    pub fn key(&self) -> String {
        format!("{}:{}", self.saga, self.step)
    }

    /// The idempotency key of what undoes it.
    pub fn undo_key(&self) -> String {
        format!("{}:{}:undo", self.saga, self.step)
    }
}

/// Why a call did not succeed. Reasons are kept and logged: no secrets, no personal data.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The other side said no: nothing happened and nothing will.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer, or none that tells: it may have happened.
    #[error("unknown: {0}")]
    Unknown(String),
    /// Our own database; the step is tried again.
    #[error(transparent)]
    Db(#[from] Error),
}

/// What the other side knows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Happened,
    /// Or: making the call again with the same key is safe, and tells.
    NotHappened,
}

/// One step. Calls run outside of any transaction and may be repeated with the same
/// key; what they learn goes into `data`. Records run in the transaction that advances the saga.
#[async_trait]
pub trait Step<D: Data>: Send + Sync + 'static {
    /// Stable and unique in its saga: it is what the database remembers.
    fn name(&self) -> &'static str;

    /// Asks the other service to act.
    async fn call(&self, _call: &Call, _data: &mut D) -> Result<(), Trouble> {
        Ok(())
    }

    /// Asks what became of an earlier call whose end is not known.
    async fn ask(&self, _call: &Call, _data: &mut D) -> Result<Known, Trouble> {
        Ok(Known::NotHappened)
    }

    /// Writes the step's effects into the service's own tables. May refuse, too: its
    /// call, which was made, is undone then.
    async fn record(&self, _tx: &mut Tx, _call: &Call, _data: &mut D) -> Result<(), Trouble> {
        Ok(())
    }

    /// Asks the other service to take it back. Must also succeed when the call never
    /// happened, and keep it from happening later.
    async fn undo(&self, _call: &Call, _data: &mut D) -> Result<(), Trouble> {
        Ok(())
    }

    /// Takes the step's effects back in the service's own tables. Must also succeed when
    /// the step was given up before its record; `data` tells, as `record` writes to it.
    async fn record_undo(&self, _tx: &mut Tx, _call: &Call, _data: &mut D) -> Result<(), Error> {
        Ok(())
    }
}

/// A definition that makes no saga.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("saga `{kind}` has {count} steps, not 1 to {STEPS_MAX}")]
    Count { kind: &'static str, count: usize },
    #[error("saga `{kind}` has two steps `{step}`")]
    Twice {
        kind: &'static str,
        step: &'static str,
    },
    #[error("saga `{kind}` has no step `{step}` to be its pivot")]
    Pivot {
        kind: &'static str,
        step: &'static str,
    },
}

/// The steps of one kind of saga, in order.
pub struct Definition<D> {
    kind: &'static str,
    steps: Vec<Box<dyn Step<D>>>,
    /// The last step whose refusal undoes the saga.
    pivot: usize,
}

/// Starts sagas of one kind.
pub struct Sagas<D> {
    definition: Arc<Definition<D>>,
}

impl<D: Data> Definition<D> {
    /// `pivot` names the step after whose success there is no way back.
    ///
    /// # Errors
    /// See [`DefinitionError`].
    pub fn new(
        kind: &'static str,
        steps: Vec<Box<dyn Step<D>>>,
        pivot: &'static str,
    ) -> Result<Self, DefinitionError> {
        let count = steps.len();
        if count == 0 || count > STEPS_MAX {
            return Err(DefinitionError::Count { kind, count });
        }
        let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        for (index, step) in names.iter().enumerate() {
            if names.iter().skip(index + 1).any(|other| other == step) {
                return Err(DefinitionError::Twice { kind, step });
            }
        }
        let Some(pivot) = names.iter().position(|name| *name == pivot) else {
            return Err(DefinitionError::Pivot { kind, step: pivot });
        };
        Ok(Self { kind, steps, pivot })
    }

    /// Lets the service's worker drive sagas of this kind.
    pub fn register(self, jobs: &mut Jobs, options: Options) -> Sagas<D> {
        let definition = Arc::new(self);
        let driver = Driver(definition.clone());
        jobs.add(&definition.job_kind(), options, driver);
        Sagas { definition }
    }

    fn job_kind(&self) -> String {
        format!("saga.{}", self.kind)
    }

    fn position(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|each| each.name() == step)
    }
}

impl<D: Data> Sagas<D> {
    /// Starts the saga `id` in the caller's transaction; once it commits, the saga ends
    /// done or undone. False if there is one of that id already, which is left alone.
    ///
    /// # Errors
    /// See [`Error`]; data that is no JSON is [`Error::Corrupt`].
    pub async fn start(
        &self,
        tx: &mut Tx,
        id: Uuid,
        data: &D,
        now: UnixMicros,
    ) -> Result<bool, Error> {
        let first = self.definition.steps.first();
        let first = first.ok_or(Error::Corrupt("saga steps"))?.name();
        let state = to_json(data)?;
        if !store::insert(tx, id, self.definition.kind, state, first, now).await? {
            return Ok(false);
        }
        let job = NewJob::new(&self.definition.job_kind(), &id)
            .map_err(|_| Error::Corrupt("saga id"))?
            .unique(format!("saga:{id}"))
            // It ends by its own rules: there is no last attempt at going forward or back.
            .attempts_max(u32::MAX);
        jobs::enqueue(tx, job, now).await?;
        Ok(true)
    }
}

fn to_json(data: &impl Serialize) -> Result<Json, Error> {
    serde_json::to_value(data).map_err(|_| Error::Corrupt("saga state"))
}

#[cfg(test)]
mod tests;
