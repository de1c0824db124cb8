//! The toy: our two accounts, and a bank that is another service with a mind of its own.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::*;

/// In order; the faults count them.
pub(super) const STEPS: [&str; 4] = ["reserve", "authorize", "capture", "credit"];
pub(super) const PIVOT: usize = 2;

/// What goes wrong with a request to the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Refuse,
    /// The request is lost.
    LoseBefore,
    /// The answer is lost.
    LoseAfter,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Refuse, Kind::LoseBefore, Kind::LoseAfter];

/// Used up by the first request that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: usize,
    pub(super) undo: bool,
    pub(super) kind: Kind,
}

/// Remembers requests by their keys; outlives every worker.
#[derive(Default)]
pub(super) struct Bank {
    faults: Vec<Fault>,
    done: HashMap<String, usize>,
    taken_back: HashSet<String>,
    pub(super) captures_asked_for: usize,
    /// Does not tell what became of a request.
    pub(super) is_dark: bool,
}

impl Bank {
    pub(super) fn new(faults: &[Fault]) -> Self {
        Self {
            faults: faults.to_vec(),
            ..Self::default()
        }
    }

    fn meet(&mut self, step: usize, undo: bool) -> Option<Kind> {
        let fits = |fault: &Fault| fault.step == step && fault.undo == undo;
        let index = self.faults.iter().position(fits)?;
        Some(self.faults.remove(index).kind)
    }

    fn request(&mut self, step: usize, call: &Call) -> Result<(), Trouble> {
        let key = call.key();
        self.captures_asked_for += usize::from(step == PIVOT);
        let fault = self.meet(step, false);
        if fault == Some(Kind::LoseBefore) {
            return Err(Trouble::Unknown("no answer".to_owned()));
        }
        // What was done stays done; what was taken back stays away.
        let refused = fault == Some(Kind::Refuse) && !self.done.contains_key(&key);
        if refused && step <= PIVOT {
            // A no is remembered by its key as well; after the pivot it means "not now".
            self.taken_back.insert(key.clone());
        }
        if refused || self.taken_back.contains(&key) {
            return Err(Trouble::Refused("the bank says no".to_owned()));
        }
        *self.done.entry(key).or_default() = 1;
        match fault {
            Some(Kind::LoseAfter) => Err(Trouble::Unknown("no answer".to_owned())),
            _ => Ok(()),
        }
    }

    fn take_back(&mut self, step: usize, call: &Call) -> Result<(), Trouble> {
        let fault = self.meet(step, true);
        match fault {
            Some(Kind::LoseBefore) => return Err(Trouble::Unknown("no answer".to_owned())),
            Some(Kind::Refuse) => return Err(Trouble::Refused("not now".to_owned())),
            _ => {}
        }
        self.done.remove(&call.key());
        self.taken_back.insert(call.key());
        match fault {
            Some(Kind::LoseAfter) => Err(Trouble::Unknown("no answer".to_owned())),
            _ => Ok(()),
        }
    }

    fn did(&self, saga: Uuid, step: usize) -> bool {
        self.done.contains_key(&format!("{saga}:{}", STEPS[step]))
    }

    pub(super) fn took_once(&self, saga: Uuid) -> bool {
        (0..STEPS.len()).all(|step| self.did(saga, step))
    }

    pub(super) fn holds_nothing(&self, saga: Uuid) -> bool {
        !(0..STEPS.len()).any(|step| self.did(saga, step))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) amount: i64,
    pub(super) reserved: bool,
}

/// Every step talks to the bank; the first and the last also touch our accounts.
struct BankStep {
    index: usize,
    bank: Arc<Mutex<Bank>>,
}

async fn change(tx: &mut Tx, account: &str, by: i64) -> Result<bool, Error> {
    let touched =
        query("UPDATE accounts SET balance = balance + $2 WHERE name = $1 AND balance + $2 >= 0")
            .bind(account)
            .bind(by)
            .execute(tx)
            .await?;
    Ok(touched > 0)
}

#[async_trait]
impl Step<Transfer> for BankStep {
    fn name(&self) -> &'static str {
        STEPS[self.index]
    }

    async fn call(&self, call: &Call, _: &mut Transfer) -> Result<(), Trouble> {
        // A network has waits, at which a worker can die.
        tokio::task::yield_now().await;
        let answer = self.bank.lock().unwrap().request(self.index, call);
        tokio::task::yield_now().await;
        answer
    }

    async fn ask(&self, call: &Call, _: &mut Transfer) -> Result<Known, Trouble> {
        tokio::task::yield_now().await;
        let bank = self.bank.lock().unwrap();
        if bank.is_dark {
            return Err(Trouble::Unknown("no answer".to_owned()));
        }
        Ok(if bank.did(call.saga, self.index) {
            Known::Happened
        } else {
            Known::NotHappened
        })
    }

    async fn record(&self, tx: &mut Tx, _: &Call, data: &mut Transfer) -> Result<(), Trouble> {
        if self.index == 0 {
            data.reserved = true;
            if !change(tx, "a", -data.amount).await? {
                return Err(Trouble::Refused("too little money".to_owned()));
            }
        }
        if self.index + 1 == STEPS.len() {
            change(tx, "b", data.amount).await?;
        }
        Ok(())
    }

    async fn undo(&self, call: &Call, _: &mut Transfer) -> Result<(), Trouble> {
        tokio::task::yield_now().await;
        let answer = self.bank.lock().unwrap().take_back(self.index, call);
        tokio::task::yield_now().await;
        answer
    }

    async fn record_undo(&self, tx: &mut Tx, _: &Call, data: &mut Transfer) -> Result<(), Error> {
        if self.index == 0 && data.reserved {
            change(tx, "a", data.amount).await?;
            data.reserved = false;
        }
        Ok(())
    }
}

pub(super) fn steps(bank: &Arc<Mutex<Bank>>) -> Vec<Box<dyn Step<Transfer>>> {
    let step = |index| -> Box<dyn Step<Transfer>> {
        Box::new(BankStep {
            index,
            bank: bank.clone(),
        })
    };
    (0..STEPS.len()).map(step).collect()
}

pub(super) fn transfer(bank: &Arc<Mutex<Bank>>) -> Definition<Transfer> {
    Definition::new("transfer", steps(bank), STEPS[PIVOT]).unwrap()
}
