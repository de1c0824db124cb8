//! What was received, and the fault in force.
//! Invariant: who waits for a message hears of it, or is told what it waited for.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::Fault;

/// Generous: what has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// A test that sends more has lost control of itself.
const RECORDED_MAX: usize = 100_000;

pub(crate) struct Record<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
}

struct State<T> {
    received: Vec<T>,
    fault: Fault,
}

impl<T: Clone> Record<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                received: Vec::new(),
                fault: Fault::None,
            }),
            arrived: Notify::new(),
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.lock().fault
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    pub(crate) fn add(&self, message: T) {
        let mut state = self.lock();
        assert!(state.received.len() < RECORDED_MAX, "too many messages");
        state.received.push(message);
        drop(state);
        self.arrived.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().received.clone()
    }

    /// The newest message that fits, as soon as there is one.
    pub(crate) async fn wait(&self, what: &str, fits: impl Fn(&T) -> bool) -> T {
        let waiting = async {
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                // Before the look, so that nothing arrives between the two unheard.
                arrived.as_mut().enable();
                let found = self.lock().received.iter().rev().find(|m| fits(m)).cloned();
                if let Some(found) = found {
                    return found;
                }
                arrived.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
