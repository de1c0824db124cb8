//! Several workers on one database, and how one stops.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;

fn quick() -> Settings {
    Settings {
        poll: Duration::from_millis(20),
        ..Settings::default()
    }
}

/// Notes who runs at the same time.
#[derive(Default)]
struct Seen {
    inside: Mutex<HashSet<Uuid>>,
    most: AtomicUsize,
}

struct Noting(Arc<Seen>);

#[async_trait]
impl Job for Noting {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        {
            let mut inside = self.0.inside.lock().unwrap();
            assert!(inside.insert(context.id), "one job, two attempts at once");
            self.0.most.fetch_max(inside.len(), Ordering::Relaxed);
        }
        let mut tx = context.begin().await?;
        leave_effect(context, &mut tx).await?;
        tx.commit().await?;
        self.0.inside.lock().unwrap().remove(&context.id);
        Ok(())
    }
}

async fn unfinished(db: &Db) -> Option<()> {
    let row = query("SELECT count(*) FROM jobs WHERE state <> 'done'")
        .fetch_one(db)
        .await
        .unwrap();
    (row.get::<i64>(0).unwrap() == 0).then_some(())
}

both_databases! {
    #[tokio::test]
    async fn of_racing_workers_one_runs_a_job(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        // A second handle stands for a second process.
        let other = open(&at, &[EFFECTS]).await;
        let mut ids = HashSet::new();
        for _ in 0..100 {
            ids.insert(add(&db, a_job()).await);
        }
        let seen = Arc::new(Seen::default());
        let stop = CancellationToken::new();
        let mut workers = tokio::task::JoinSet::new();
        for handle in [&db, &other, &db, &other] {
            let mut jobs = Jobs::default();
            jobs.add("k", Options::default(), Noting(seen.clone()));
            workers.spawn(worker(handle, jobs, quick()).run(stop.clone()));
        }
        eventually("all jobs", || unfinished(&db)).await;
        stop.cancel();
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
        let effects = effects(&db).await;
        assert_eq!(effects.len(), 100);
        assert!(effects.iter().all(|(_, attempt)| *attempt == 1));
        assert_eq!(effects.iter().map(|(job, _)| *job).collect::<HashSet<_>>(), ids);
    }

    #[tokio::test]
    async fn a_kind_and_a_process_have_bounds(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        for (parallel_max, kind_max, expected) in [(16, 2, 2), (3, 16, 3)] {
            for _ in 0..8 {
                add(&db, a_job()).await;
            }
            let options = Options { parallel_max: kind_max, ..Options::default() };
            let mut jobs = Jobs::default();
            jobs.add("k", options, Hangs);
            let mut worker = worker(&db, jobs, Settings { parallel_max, ..quick() });
            worker.round(later(), Duration::ZERO).await.unwrap();
            let running = Filter { state: Some(State::Running), ..Filter::default() };
            assert_eq!(list(&db, &running, 99).await.unwrap().len(), expected);
            drop(worker);
            eventually("its death to be known", || async {
                bury(&db).await;
                list(&db, &running, 99).await.unwrap().is_empty().then_some(())
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_stop_lets_jobs_end_and_gives_the_rest_back(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let ending = add(&db, NewJob::new("ends", &()).unwrap()).await;
        let leaving = add(&db, NewJob::new("leaves", &()).unwrap()).await;
        let hanging = add(&db, a_job()).await;
        let mut jobs = Jobs::default();
        jobs.add("k", Options::default(), Hangs);
        jobs.add("ends", Options::default(), AtStop(|| Ok(())));
        jobs.add("leaves", Options::default(), AtStop(soon));
        let settings = Settings { stop_deadline: Duration::from_millis(300), ..quick() };
        let worker = worker(&db, jobs, settings);
        let metrics = worker.shared.metrics();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(worker.run(stop.clone()));
        let running = Filter { state: Some(State::Running), ..Filter::default() };
        eventually("all to run", || async {
            (list(&db, &running, 9).await.unwrap().len() == 3).then_some(())
        })
        .await;
        stop.cancel();
        ended.await.unwrap();
        for job in list(&db, &Filter::default(), 9).await.unwrap() {
            let expected = if job.id == ending { State::Done } else { State::Queued };
            assert_eq!(job.state, expected, "{}", job.kind);
            assert_eq!(job.lease_owner, None);
            // What was given back has as many attempts to go as before.
            let left = if job.id == ending { 9 } else { 10 };
            assert_eq!(job.attempts_max - job.attempts, left, "{}", job.kind);
        }
        assert!(leaving != hanging);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for (kind, status) in [("ends", "done"), ("leaves", "released"), ("k", "released")] {
            let line = format!(
                r#"background_jobs_total{{job_type="{kind}",service="t",status="{status}"}} 1"#
            );
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[tokio::test]
    async fn a_waker_spares_the_wait_for_the_poll(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let hour = Settings { poll: Duration::from_secs(3_600), ..Settings::default() };
        let worker = worker(&db, says(|_| Ok(())), hour);
        let waker = worker.waker();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(worker.run(stop.clone()));
        for _ in 0..3 {
            add(&db, a_job()).await;
            waker.wake();
            eventually("the job", || unfinished(&db)).await;
        }
        stop.cancel();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn the_queue_is_measured(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        add(&db, a_job()).await;
        let shared = worker(&db, says(|_| Ok(())), quick()).shared;
        shared.pulse(clock::now() + Duration::from_secs(90)).await.unwrap();
        let metrics = shared.metrics();
        assert_eq!(metrics.jobs_queued.with_label_values(&["t"]).get(), 2);
        let oldest = metrics.jobs_oldest_seconds.with_label_values(&["t"]).get();
        assert!((90..150).contains(&oldest), "{oldest}");
    }
}

struct Hangs;

#[async_trait]
impl Job for Hangs {
    async fn run(&self, _: &JobContext) -> Result<(), Failure> {
        std::future::pending().await
    }
}

/// Answers when the process stops.
struct AtStop(fn() -> Result<(), Failure>);

#[async_trait]
impl Job for AtStop {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        context.cancelled.cancelled().await;
        (self.0)()
    }
}
