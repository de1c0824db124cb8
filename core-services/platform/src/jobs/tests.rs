//! Jobs on both databases: what every test here needs, and the life of one job.

pub(crate) mod crash;
mod time;
mod workers;

use core_testing::{Database, both_databases, eventually};

use super::{worker::Shared, *};
use crate::{
    clock,
    db::{Location, Migration, query},
    metrics::Metrics,
};

const EFFECTS: Migration = Migration {
    version: 1,
    name: "effects",
    // No key: an effect that happens twice shows as two rows.
    up: "CREATE TABLE effects (job {uuid} NOT NULL, attempt {int} NOT NULL) {strict}",
    down: "DROP TABLE effects",
};
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn open(at: &Database, migrations: &[Migration]) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    let db = Db::open(&location, "t").await.unwrap();
    db.migrate(migrations, None).await.unwrap();
    db
}

/// Late enough for every pause between attempts to be over.
pub(crate) fn later() -> UnixMicros {
    clock::now() + DAY
}

pub(crate) fn worker(db: &Db, jobs: Jobs, settings: Settings) -> Worker {
    let metrics = Arc::new(Metrics::new().unwrap());
    Worker::new(db.clone(), "t", jobs, metrics, settings)
}

/// Attempts one due job, if there is one.
pub(crate) async fn attempt(db: &Db, jobs: Jobs) -> bool {
    let shared = worker(db, jobs, Settings::default()).shared;
    attempt_by(&shared).await
}

async fn attempt_by(shared: &Arc<Shared>) -> bool {
    let now = later();
    let Some(claimed) = shared.claim(now).await.unwrap() else {
        return false;
    };
    shared.work(claimed, now).await;
    true
}

/// Lets other workers have what dead ones held.
pub(crate) async fn bury(db: &Db) {
    for pulse in store::pulses(db).await.unwrap() {
        store::take_back(db, pulse, later()).await.unwrap();
    }
}

/// Lets live workers finish what dead ones left. Asked again and again, because a
/// server may learn of a death, or of a last commit, a little late.
pub(crate) async fn recover(db: &Db, jobs: impl Fn() -> Jobs) {
    eventually("all jobs to be finished", || async {
        bury(db).await;
        while attempt(db, jobs()).await {}
        let row = query("SELECT count(*) FROM jobs WHERE finished_at IS NULL");
        let left: i64 = row.fetch_one(db).await.unwrap().get(0).unwrap();
        (left == 0).then_some(())
    })
    .await;
}

async fn add(db: &Db, job: NewJob) -> Uuid {
    let mut tx = db.begin().await.unwrap();
    let id = enqueue(&mut tx, job, clock::now()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

fn a_job() -> NewJob {
    NewJob::new("k", &"payload").unwrap()
}

async fn only(db: &Db) -> Listed {
    let mut all = list(db, &Filter::default(), 10).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn effects(db: &Db) -> Vec<(Uuid, i64)> {
    let rows = query("SELECT job, attempt FROM effects ORDER BY attempt")
        .fetch_all(db)
        .await
        .unwrap();
    let effects = rows
        .iter()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()));
    effects.collect()
}

async fn leave_effect(context: &JobContext, tx: &mut Tx) -> Result<(), Failure> {
    query("INSERT INTO effects (job, attempt) VALUES ($1, $2)")
        .bind(context.id)
        .bind(context.attempt)
        .execute(tx)
        .await?;
    Ok(())
}

/// Answers as a function says.
pub(crate) struct Says<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(&JobContext) -> Result<(), Failure> + Send + Sync + 'static> Job for Says<F> {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        (self.0)(context)
    }
}

fn says(answer: impl Fn(&JobContext) -> Result<(), Failure> + Send + Sync + 'static) -> Jobs {
    let mut jobs = Jobs::default();
    jobs.add("k", Options::default(), Says(answer));
    jobs
}

fn soon() -> Result<(), Failure> {
    Err(Failure::retry("not yet"))
}

both_databases! {
    #[tokio::test]
    async fn a_job_lives_as_its_transaction_does(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let mut tx = db.begin().await.unwrap();
        enqueue(&mut tx, a_job(), clock::now()).await.unwrap();
        drop(tx);
        assert!(!attempt(&db, says(|_| Ok(()))).await);
        let id = add(&db, a_job()).await;
        let right = move |context: &JobContext| {
            assert_eq!(context.payload::<String>().unwrap(), "payload");
            assert_eq!((context.id, context.attempt), (id, 1));
            Ok(())
        };
        assert!(attempt(&db, says(right)).await);
        let job = only(&db).await;
        assert_eq!((job.state, job.attempts), (State::Done, 1));
        assert!(!attempt(&db, says(|_| Ok(()))).await);
    }

    #[tokio::test]
    async fn a_key_is_unique_until_its_job_is_finished(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let first = add(&db, a_job().unique("x")).await;
        assert_eq!(add(&db, a_job().unique("x")).await, first);
        assert_ne!(add(&db, a_job().unique("y")).await, first);
        assert!(attempt(&db, says(|_| soon())).await);
        assert_eq!(add(&db, a_job().unique("x")).await, first);
        while attempt(&db, says(|_| Ok(()))).await {}
        assert_ne!(add(&db, a_job().unique("x")).await, first);
    }

    #[tokio::test]
    async fn failures_are_tried_again_until_they_are_final(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let id = add(&db, a_job().attempts_max(3)).await;
        for attempts in 1..=2 {
            assert!(attempt(&db, says(|_| soon())).await);
            let job = only(&db).await;
            assert_eq!((job.state, job.attempts), (State::Queued, attempts));
            assert_eq!(job.last_error.as_deref(), Some("not yet"));
        }
        assert!(attempt(&db, says(|_| soon())).await);
        assert_eq!(only(&db).await.state, State::Failed);
        assert!(!attempt(&db, says(|_| Ok(()))).await);

        let mut tx = db.begin().await.unwrap();
        assert!(retry(&mut tx, id, clock::now()).await.unwrap());
        tx.commit().await.unwrap();
        assert!(attempt(&db, says(|_| Err(Failure::Permanent("never".to_owned())))).await);
        let job = only(&db).await;
        assert_eq!((job.state, job.attempts), (State::Failed, 4));

        let mut tx = db.begin().await.unwrap();
        assert!(retry(&mut tx, id, clock::now()).await.unwrap());
        assert!(!retry(&mut tx, Uuid::now_v7(), clock::now()).await.unwrap());
        tx.commit().await.unwrap();
        assert!(attempt(&db, says(|_| Ok(()))).await);
        let mut tx = db.begin().await.unwrap();
        assert!(!retry(&mut tx, id, clock::now()).await.unwrap());
        drop(tx);
        let job = only(&db).await;
        assert_eq!((job.state, job.last_error), (State::Done, None));
    }

    #[tokio::test]
    async fn a_panic_and_a_hang_are_failures(at: Database) {
        struct Hangs;
        #[async_trait]
        impl Job for Hangs {
            async fn run(&self, _: &JobContext) -> Result<(), Failure> {
                std::future::pending().await
            }
        }
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        let panics = says(|_| panic!("a test's panic"));
        assert!(attempt(&db, panics).await);
        let said = only(&db).await.last_error.unwrap();
        assert_eq!(said, "the handler panicked");
        let mut jobs = Jobs::default();
        let timeout = Duration::from_millis(1);
        jobs.add("k", Options { timeout, ..Options::default() }, Hangs);
        assert!(attempt(&db, jobs).await);
        let job = only(&db).await;
        assert_eq!(job.last_error.unwrap(), "the handler took too long");
        assert_eq!((job.state, job.attempts), (State::Queued, 2));
    }

    #[tokio::test]
    async fn operators_list_by_state_and_kind_and_page(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(add(&db, a_job()).await);
        }
        let other = add(&db, NewJob::new("other", &()).unwrap()).await;
        assert!(attempt(&db, says(|_| Ok(()))).await);
        let listed = async |filter: Filter, limit| {
            let rows = list(&db, &filter, limit).await.unwrap();
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        let state = |state| Filter { state: Some(state), ..Filter::default() };
        let kind = Some("other".to_owned());
        assert_eq!(listed(state(State::Done), 9).await, [ids[0]]);
        assert_eq!(listed(state(State::Queued), 9).await, [other, ids[2], ids[1]]);
        assert_eq!(listed(Filter { kind, ..Filter::default() }, 9).await, [other]);
        let before = Some(other);
        assert_eq!(listed(Filter { before, ..Filter::default() }, 2).await, [ids[2], ids[1]]);
    }

    #[tokio::test]
    async fn finished_jobs_are_forgotten_after_a_while(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        assert!(attempt(&db, says(|_| Ok(()))).await);
        let waiting = add(&db, a_job()).await;
        for (days, left) in [(13, 2), (20, 1)] {
            let shared = worker(&db, Jobs::new().unwrap(), Settings::default()).shared;
            let sweep = add(&db, NewJob::new(operate::SWEEP, &()).unwrap()).await;
            let claimed = shared.claim(later()).await.unwrap().unwrap();
            shared.work(claimed, clock::now() + DAY * days).await;
            let all = list(&db, &Filter::default(), 9).await.unwrap();
            let others: Vec<_> = all.iter().filter(|job| job.id != sweep && job.kind == "k").collect();
            assert_eq!(others.len(), left, "after {days} days");
            assert_eq!(others[0].id, waiting);
        }
    }
}
