//! Drives one saga as a job: step after step, until an end or until something has to wait.
//! Invariant: whoever comes after a crash asks about the current step's call before
//! making it; a step after the pivot, and one that undoes, is tried for ever.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    Call, Data, Definition, Known, Status, Step, TRIES_MAX, Trouble,
    store::{self, Saved},
    to_json,
};
use crate::{
    db::Tx,
    jobs::{Failure, Job, JobContext, PAUSES},
    reason::shortened,
};

pub(super) struct Driver<D>(pub(super) Arc<Definition<D>>);

/// One attempt's view of a saga.
struct Drive<'a, D> {
    definition: &'a Definition<D>,
    context: &'a JobContext,
    id: Uuid,
    data: D,
    index: usize,
    status: Status,
    attempts: i64,
    /// The call of the current step may have been made before.
    in_doubt: bool,
}

#[async_trait]
impl<D: Data> Job for Driver<D> {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let id = context.payload()?;
        let saved = store::load(&context.db, id).await?;
        let index = self.0.position(&saved.step);
        let mut drive = Drive {
            definition: &self.0,
            context,
            id,
            data: from_json(saved.state)?,
            // An older process met a newer one's saga: one that knows the step will come.
            index: index.ok_or_else(|| Failure::retry("a step of another version"))?,
            status: saved.status,
            attempts: saved.attempts,
            in_doubt: context.attempt > 1,
        };
        while matches!(drive.status, Status::Running | Status::Compensating) {
            if context.cancelled.is_cancelled() {
                return Err(Failure::retry("stopping"));
            }
            if drive.status == Status::Running {
                drive.forward().await?;
            } else {
                drive.back().await?;
            }
        }
        Ok(())
    }
}

impl<'a, D: Data> Drive<'a, D> {
    fn step(&self) -> Result<(&'a dyn Step<D>, Call), Failure> {
        let step = self.definition.steps.get(self.index);
        let step = step.ok_or_else(|| Failure::retry("no such step"))?.as_ref();
        let call = Call {
            saga: self.id,
            step: step.name(),
            now: self.context.now,
        };
        Ok((step, call))
    }

    /// Takes the current step.
    async fn forward(&mut self) -> Result<(), Failure> {
        let (step, call) = self.step()?;
        let may_turn = self.index <= self.definition.pivot;
        match self.call(step, &call).await {
            Ok(()) => {}
            // Refused, it left nothing: those before it are undone.
            Err(Trouble::Refused(reason)) if may_turn => {
                return self.turn(self.index.checked_sub(1), &reason).await;
            }
            // Its end stays unknown: it is undone, too, happened or not. But not the
            // pivot, which has nothing to undo it.
            Err(Trouble::Unknown(reason))
                if self.index < self.definition.pivot && self.attempts + 1 >= TRIES_MAX =>
            {
                return self.turn(Some(self.index), &reason).await;
            }
            Err(trouble) => return self.wait(trouble).await,
        }
        self.record(step, &call).await
    }

    async fn call(&mut self, step: &dyn Step<D>, call: &Call) -> Result<(), Trouble> {
        if self.in_doubt && step.ask(call, &mut self.data).await? == Known::Happened {
            return Ok(());
        }
        step.call(call, &mut self.data).await
    }

    /// The step's effects and the saga's advance, together.
    async fn record(&mut self, step: &dyn Step<D>, call: &Call) -> Result<(), Failure> {
        let before = to_json(&self.data)?;
        let mut tx = self.context.begin().await?;
        let recorded = step.record(&mut tx, call, &mut self.data).await;
        let Err(trouble) = recorded else {
            if self.index + 1 == self.definition.steps.len() {
                self.status = Status::Done;
            } else {
                self.index += 1;
            }
            return self.commit(tx).await;
        };
        // What it wrote goes, here as there.
        drop(tx);
        self.data = from_json(before)?;
        match trouble {
            Trouble::Refused(reason) if self.index < self.definition.pivot => {
                self.turn(Some(self.index), &reason).await
            }
            trouble => self.wait(trouble).await,
        }
    }

    /// From here on backwards, with `first` as the first step to undo. The decision is
    /// committed before anything is undone: a crash must not lead forward again.
    async fn turn(&mut self, first: Option<usize>, reason: &str) -> Result<(), Failure> {
        tracing::warn!(saga = %self.id, kind = self.definition.kind, reason, "undoing a saga");
        let mut tx = self.context.begin().await?;
        store::note(&mut tx, self.id, &shortened(reason), self.context.now).await?;
        self.turn_to(first);
        self.commit(tx).await
    }

    /// Undoes the current step.
    async fn back(&mut self) -> Result<(), Failure> {
        let (step, call) = self.step()?;
        if let Err(trouble) = step.undo(&call, &mut self.data).await {
            return self.wait(trouble).await;
        }
        let mut tx = self.context.begin().await?;
        step.record_undo(&mut tx, &call, &mut self.data).await?;
        self.turn_to(self.index.checked_sub(1));
        self.commit(tx).await
    }

    fn turn_to(&mut self, next: Option<usize>) {
        match next {
            Some(next) => (self.status, self.index) = (Status::Compensating, next),
            None => self.status = Status::Failed,
        }
    }

    async fn commit(&mut self, mut tx: Tx) -> Result<(), Failure> {
        (self.attempts, self.in_doubt) = (0, false);
        let (_, call) = self.step()?;
        let saved = Saved {
            state: to_json(&self.data)?,
            step: call.step.to_owned(),
            status: self.status,
            attempts: 0,
        };
        let now = self.context.now;
        store::advance(&mut tx, self.id, &saved, now).await?;
        if matches!(self.status, Status::Done | Status::Failed) {
            self.context.finish(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Leaves the saga where it is and comes back later.
    async fn wait(&self, trouble: Trouble) -> Result<(), Failure> {
        let reason = match trouble {
            Trouble::Db(error) => return Err(error.into()),
            trouble => shortened(&trouble.to_string()),
        };
        let mut tx = self.context.begin().await?;
        store::note(&mut tx, self.id, &reason, self.context.now).await?;
        tx.commit().await?;
        Err(Failure::Retry {
            after: Some(PAUSES.after(self.attempts + 1)),
            reason,
        })
    }
}

fn from_json<D: Data>(state: Json) -> Result<D, Failure> {
    serde_json::from_value(state)
        .map_err(|error| Failure::retry(format!("the saga's state cannot be read: {error}")))
}
