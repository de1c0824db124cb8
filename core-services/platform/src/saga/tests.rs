//! A bank transfer with every failure there is: ends done or undone, never half.
//! Invariant of the toy: what left `a` is in `b`, or with the bank while the saga
//! runs; the bank took money once, or gave back what it held.

mod bank;

use std::sync::Mutex;

use core_testing::{Database, both_databases};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;
use crate::{
    db::{Db, Migration, query},
    jobs::tests::{
        attempt,
        crash::{LIVES, die_in_attempt},
        open, recover,
    },
};

use bank::{Bank, Fault, STEPS, transfer};

const ACCOUNTS: Migration = Migration {
    version: 1,
    name: "accounts",
    up: "CREATE TABLE accounts (name TEXT PRIMARY KEY NOT NULL, balance {int} NOT NULL) {strict}",
    down: "DROP TABLE accounts",
};
const START: i64 = 1_000;
const NOW: UnixMicros = UnixMicros(1_699_948_800_000_000);
/// More waits than one saga has.
const POLLS_MAX: usize = 2_000;

struct Rig {
    db: Db,
    bank: Arc<Mutex<Bank>>,
}

impl Rig {
    async fn new(at: &Database) -> Self {
        let db = open(at, &[ACCOUNTS]).await;
        let mut tx = db.begin().await.unwrap();
        for name in ["a", "b"] {
            query("INSERT INTO accounts (name, balance) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(name)
                .bind(START)
                .execute(&mut tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let bank = Arc::default();
        Self { db, bank }
    }

    fn jobs(&self) -> Jobs {
        let mut jobs = Jobs::default();
        transfer(&self.bank).register(&mut jobs, Options::default());
        jobs
    }

    /// Starts a transfer in a world with these faults to come.
    async fn start(&self, amount: i64, faults: &[Fault]) -> Uuid {
        *self.bank.lock().unwrap() = Bank::new(faults);
        let id = Uuid::now_v7();
        let sagas = transfer(&self.bank).register(&mut Jobs::default(), Options::default());
        let mut tx = self.db.begin().await.unwrap();
        let data = bank::Transfer {
            amount,
            reserved: false,
        };
        assert!(sagas.start(&mut tx, id, &data, NOW).await.unwrap());
        assert!(!sagas.start(&mut tx, id, &data, NOW).await.unwrap());
        tx.commit().await.unwrap();
        id
    }

    async fn balances(&self) -> (i64, i64) {
        let rows = query("SELECT balance FROM accounts ORDER BY name")
            .fetch_all(&self.db)
            .await
            .unwrap();
        (rows[0].get(0).unwrap(), rows[1].get(0).unwrap())
    }

    async fn saga(&self, id: Uuid) -> Listed {
        let all = list(&self.db, None, None, 500).await.unwrap();
        all.into_iter().find(|saga| saga.id == id).unwrap()
    }

    /// Runs the saga to its end and checks that it is a whole one. `before` are the
    /// balances before it began.
    async fn ends_whole(&self, id: Uuid, amount: i64, before: (i64, i64), story: &str) -> Status {
        recover(&self.db, || self.jobs()).await;
        let saga = self.saga(id).await;
        let after = self.balances().await;
        let bank = self.bank.lock().unwrap();
        match saga.status {
            Status::Done => {
                assert_eq!(after, (before.0 - amount, before.1 + amount), "{story}");
                assert!(bank.took_once(id), "{story}");
            }
            Status::Failed => {
                assert_eq!(after, before, "{story}");
                assert!(bank.holds_nothing(id), "{story}");
            }
            other => panic!("{story}: ended {other:?}"),
        }
        saga.status
    }
}

fn refuse(step: usize) -> Fault {
    Fault {
        step,
        undo: false,
        kind: bank::Kind::Refuse,
    }
}

fn fault(step: usize, undo: bool, kind: bank::Kind) -> Fault {
    Fault { step, undo, kind }
}

both_databases! {
    #[tokio::test]
    async fn a_transfer_is_made(at: Database) {
        let rig = Rig::new(&at).await;
        let id = rig.start(300, &[]).await;
        assert!(attempt(&rig.db, rig.jobs()).await);
        assert_eq!(rig.ends_whole(id, 300, (START, START), "").await, Status::Done);
        assert!(!attempt(&rig.db, rig.jobs()).await, "nothing is left to do");
        assert_eq!(rig.saga(id).await.step, "credit");
    }

    #[tokio::test]
    async fn each_single_fault_ends_whole(at: Database) {
        let rig = Rig::new(&at).await;
        for (step, name) in STEPS.iter().enumerate() {
            for kind in bank::KINDS {
                let before = rig.balances().await;
                let id = rig.start(1, &[fault(step, false, kind)]).await;
                let story = format!("{name} {kind:?}");
                let status = rig.ends_whole(id, 1, before, &story).await;
                let turns = kind == bank::Kind::Refuse && step <= bank::PIVOT;
                let expected = if turns { Status::Failed } else { Status::Done };
                assert_eq!(status, expected, "{story}");
            }
        }
        // Taking back meets faults, too.
        for (step, name) in STEPS.iter().enumerate().take(bank::PIVOT) {
            for kind in bank::KINDS {
                let before = rig.balances().await;
                let faults = [refuse(bank::PIVOT), fault(step, true, kind)];
                let id = rig.start(1, &faults).await;
                let story = format!("undo of {name} {kind:?}");
                assert_eq!(rig.ends_whole(id, 1, before, &story).await, Status::Failed);
            }
        }
    }

    #[tokio::test]
    async fn our_own_table_may_refuse(at: Database) {
        let rig = Rig::new(&at).await;
        let id = rig.start(START + 1, &[]).await;
        let status = rig.ends_whole(id, START + 1, (START, START), "too much").await;
        assert_eq!(status, Status::Failed);
        let said = rig.saga(id).await.last_error.unwrap();
        assert_eq!(said, "too little money");
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_is_asked_for(at: Database) {
        let rig = Rig::new(&at).await;
        let id = rig.start(1, &[fault(bank::PIVOT, false, bank::Kind::LoseAfter)]).await;
        assert!(attempt(&rig.db, rig.jobs()).await);
        let saga = rig.saga(id).await;
        assert_eq!((saga.status, saga.step.as_str(), saga.attempts), (Status::Running, "capture", 1));
        rig.ends_whole(id, 1, (START, START), "").await;
        assert_eq!(rig.bank.lock().unwrap().captures_asked_for, 1);
    }

    #[tokio::test]
    async fn silence_before_the_pivot_is_given_up_and_at_the_pivot_it_is_not(at: Database) {
        let rig = Rig::new(&at).await;
        for kind in [bank::Kind::LoseBefore, bank::Kind::LoseAfter] {
            let before = rig.balances().await;
            let mut faults = vec![fault(1, false, kind); 20];
            faults.push(fault(1, true, bank::Kind::LoseBefore));
            rig.bank.lock().unwrap().is_dark = true;
            let id = rig.start(1, &faults).await;
            rig.bank.lock().unwrap().is_dark = true;
            assert_eq!(rig.ends_whole(id, 1, before, "silence").await, Status::Failed);
        }
        let before = rig.balances().await;
        let faults = vec![fault(bank::PIVOT, false, bank::Kind::LoseBefore); 20];
        let id = rig.start(1, &faults).await;
        assert_eq!(rig.ends_whole(id, 1, before, "pivot").await, Status::Done);
    }

    #[tokio::test]
    async fn death_anywhere_ends_whole(at: Database) {
        let rig = Rig::new(&at).await;
        let stories = [
            (vec![], Status::Done),
            (vec![refuse(bank::PIVOT)], Status::Failed),
        ];
        for (faults, expected) in stories {
            let (mut polls, mut lives) = (0, 0);
            while lives < LIVES {
                let before = rig.balances().await;
                let id = rig.start(1, &faults).await;
                let died = die_in_attempt(&rig.db, rig.jobs(), polls).await;
                let story = format!("dead after {polls} polls, {faults:?}");
                assert_eq!(rig.ends_whole(id, 1, before, &story).await, expected);
                lives += usize::from(!died);
                polls += 1;
                assert!(polls < POLLS_MAX, "never lives to the end");
            }
            assert!(polls > 15, "{polls} deaths are too few");
        }
    }

    #[tokio::test]
    async fn any_faults_and_deaths_end_whole(at: Database) {
        let rig = Rig::new(&at).await;
        let kind = proptest::sample::select(bank::KINDS.to_vec());
        let fault = (0..STEPS.len(), any::<bool>(), kind)
            .prop_map(|(step, undo, kind)| Fault { step, undo, kind });
        let faults = proptest::collection::vec(fault, 0..8);
        let plan = (faults, proptest::collection::vec(0..80_usize, 0..4));
        let mut runner = TestRunner::default();
        for _ in 0..40 {
            let (faults, deaths) = plan.new_tree(&mut runner).unwrap().current();
            let before = rig.balances().await;
            let id = rig.start(1, &faults).await;
            for polls in &deaths {
                die_in_attempt(&rig.db, rig.jobs(), *polls).await;
                crate::jobs::tests::bury(&rig.db).await;
            }
            let story = format!("{faults:?}, deaths after {deaths:?} polls");
            rig.ends_whole(id, 1, before, &story).await;
        }
    }
}

#[test]
fn definitions_are_checked() {
    let bank = Arc::default();
    let steps = || bank::steps(&bank);
    let refused = |steps, pivot| {
        Definition::new("t", steps, pivot)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        refused(vec![], "capture"),
        "saga `t` has 0 steps, not 1 to 32"
    );
    assert_eq!(
        refused(steps(), "fly"),
        "saga `t` has no step `fly` to be its pivot"
    );
    let twice = steps().into_iter().chain(steps()).collect();
    assert_eq!(
        refused(twice, "capture"),
        "saga `t` has two steps `reserve`"
    );
}
