//! Death at every point of a job: the future is dropped, or the process is killed.

use std::{
    future::Future,
    pin::{Pin, pin},
    process::Stdio,
    task::{Context, Poll},
};

use super::*;

/// Dies at the poll after `polls`. Every statement waits at least once, so that all
/// counts together die before and after each statement.
struct Dying<F> {
    life: F,
    polls: usize,
}

impl<F: Future + Unpin> Future for Dying<F> {
    /// None: died.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.polls.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.polls = left;
        Pin::new(&mut self.life).poll(context).map(Some)
    }
}

/// Lets one worker attempt a due job and die on the way. False if it lived to the end.
pub(crate) async fn die_in_attempt(db: &Db, jobs: Jobs, polls: usize) -> bool {
    let life = pin!(attempt(db, jobs));
    Dying { life, polls }.await.is_none()
}

struct Leaves;

#[async_trait]
impl Job for Leaves {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let mut tx = context.begin().await?;
        leave_effect(context, &mut tx).await?;
        context.finish(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

fn leaves() -> Jobs {
    let mut jobs = Jobs::default();
    jobs.add("k", Options::default(), Leaves);
    jobs
}

/// More waits than one attempt has.
const POLLS_MAX: usize = 500;
/// A life that did not have to wait ends early and tells nothing: only several of them
/// mean that all points of death were seen.
pub(crate) const LIVES: usize = 5;

both_databases! {
    #[tokio::test]
    async fn death_anywhere_leaves_one_effect(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let (mut deaths, mut lives) = (0, 0);
        for polls in 0..POLLS_MAX {
            let id = add(&db, a_job()).await;
            let died = die_in_attempt(&db, leaves(), polls).await;
            recover(&db, leaves).await;
            let effects = effects(&db).await;
            let of_this = effects.iter().filter(|(job, _)| *job == id).count();
            assert_eq!(of_this, 1, "dead after {polls} polls");
            deaths += usize::from(died);
            lives += usize::from(!died);
            if lives == LIVES {
                break;
            }
        }
        assert_eq!(lives, LIVES, "{deaths} deaths");
        // Of a dozen statements a busy machine answers most before they are waited for.
        assert!(deaths > 3, "{deaths} deaths");
    }

    #[tokio::test]
    async fn a_killed_process_leaves_its_job_to_another(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let id = add(&db, a_job()).await;
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "jobs::tests::crash::the_process_that_is_killed"])
            .env(SETTING, at.setting())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("the child's attempt", || async {
            (!effects(&db).await.is_empty()).then_some(())
        })
        .await;
        child.kill().await.unwrap();
        let settings = Settings {
            lease: Duration::from_millis(300),
            poll: Duration::from_millis(20),
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let ended = tokio::spawn(worker(&db, leaves(), settings).run(stop.clone()));
        eventually("the second attempt", || async {
            (only(&db).await.state == State::Done).then_some(())
        })
        .await;
        stop.cancel();
        ended.await.unwrap();
        assert_eq!(effects(&db).await, [(id, 1), (id, 2)]);
    }
}

/// Where the child finds its parent's database.
const SETTING: &str = "CORE_TEST_DATABASE";

struct LeavesAndHangs;

#[async_trait]
impl Job for LeavesAndHangs {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let mut tx = context.begin().await?;
        leave_effect(context, &mut tx).await?;
        tx.commit().await?;
        std::future::pending().await
    }
}

#[tokio::test]
#[ignore = "the other half of `a_killed_process_leaves_its_job_to_another`"]
async fn the_process_that_is_killed() {
    let setting = std::env::var(SETTING).expect("started by the other half");
    let location = Location::from_setting(&setting).unwrap();
    let db = Db::open(&location, "t").await.unwrap();
    let mut jobs = Jobs::default();
    jobs.add("k", Options::default(), LeavesAndHangs);
    let worker = worker(&db, jobs, Settings::default());
    worker.run(CancellationToken::new()).await;
}
