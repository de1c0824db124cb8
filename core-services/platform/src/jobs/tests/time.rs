//! Clocks that are stepped, leases that end, schedules that tick.

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// 2023-11-14T08:00:00Z
const EIGHT: UnixMicros = UnixMicros(1_699_948_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn second(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn earlier(at: UnixMicros, by: Duration) -> UnixMicros {
    UnixMicros(at.0 - i64::try_from(by.as_micros()).unwrap())
}

fn hourly() -> Jobs {
    let mut jobs = says(|_| Ok(()));
    jobs.schedule("k", "0 * * * *").unwrap();
    jobs
}

async fn ticks(db: &Db, now: UnixMicros) -> usize {
    cron::tick(db, &hourly().schedules, now).await.unwrap()
}

both_databases! {
    #[tokio::test]
    async fn a_step_of_the_clock_takes_no_living_workers_job(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        let holder = worker(&db, says(|_| Ok(())), Settings::default()).shared;
        let claimed = holder.claim(later()).await.unwrap().unwrap();
        let mut other = worker(&db, says(|_| Ok(())), Settings { lease: LEASE, ..Settings::default() });
        for (now, from) in [(later() + YEAR, 0), (earlier(clock::now(), YEAR), 300)] {
            for tick in 0..30 {
                if tick % 2 == 0 {
                    holder.pulse(now).await.unwrap();
                }
                other.round(now, second(from + 10 * tick)).await.unwrap();
                assert_eq!(only(&db).await.state, State::Running);
            }
        }
        holder.work(claimed, later()).await;
        let job = only(&db).await;
        assert_eq!((job.state, job.attempts), (State::Done, 1));
    }

    #[tokio::test]
    async fn a_step_of_the_clock_keeps_no_dead_workers_job(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        for now in [later() + YEAR, earlier(clock::now(), YEAR)] {
            let id = add(&db, a_job()).await;
            let dead = worker(&db, says(|_| Ok(())), Settings::default()).shared;
            dead.claim(later()).await.unwrap().unwrap();
            let mut other = worker(&db, says(|_| Ok(())), Settings { lease: LEASE, ..Settings::default() });
            for (at, state) in [(0, State::Running), (29, State::Running), (30, State::Done)] {
                other.round(now, second(at)).await.unwrap();
                // Ends the attempt that the round began, if it did.
                while other.tasks_join().await {}
                let all = list(&db, &Filter::default(), 9).await.unwrap();
                let job = all.iter().find(|job| job.id == id).unwrap();
                assert_eq!(job.state, state, "after {at} s");
            }
        }
    }

    #[tokio::test]
    async fn who_lost_the_lease_commits_nothing(at: Database) {
        struct Overtaken(Db);
        #[async_trait]
        impl Job for Overtaken {
            async fn run(&self, context: &JobContext) -> Result<(), Failure> {
                bury(&self.0).await;
                let jobs = says(|context| {
                    assert_eq!(context.attempt, 2);
                    Ok(())
                });
                assert!(attempt(&self.0, jobs).await);
                assert!(matches!(context.begin().await, Err(Failure::LeaseLost)));
                let mut tx = context.db.begin().await?;
                leave_effect(context, &mut tx).await?;
                context.finish(&mut tx).await?;
                tx.commit().await?;
                Ok(())
            }
        }
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        let mut jobs = Jobs::default();
        jobs.add("k", Options::default(), Overtaken(db.clone()));
        assert!(attempt(&db, jobs).await);
        assert!(effects(&db).await.is_empty());
        let job = only(&db).await;
        assert_eq!((job.state, job.attempts), (State::Done, 2));
    }

    #[tokio::test]
    async fn a_job_whose_lease_was_lost_is_told(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job()).await;
        struct Waits;
        #[async_trait]
        impl Job for Waits {
            async fn run(&self, context: &JobContext) -> Result<(), Failure> {
                context.cancelled.cancelled().await;
                Ok(())
            }
        }
        let mut jobs = Jobs::default();
        jobs.add("k", Options::default(), Waits);
        let shared = worker(&db, jobs, Settings::default()).shared;
        let claimed = shared.claim(later()).await.unwrap().unwrap();
        shared.pulse(clock::now()).await.unwrap();
        bury(&db).await;
        shared.pulse(clock::now()).await.unwrap();
        shared.work(claimed, later()).await;
        assert_eq!(only(&db).await.state, State::Queued);
    }

    #[tokio::test]
    async fn a_job_that_kills_its_workers_fails(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        add(&db, a_job().attempts_max(2)).await;
        for state in [State::Queued, State::Failed] {
            let shared = worker(&db, says(|_| Ok(())), Settings::default()).shared;
            shared.claim(later()).await.unwrap().unwrap();
            bury(&db).await;
            let job = only(&db).await;
            assert_eq!(job.state, state);
            assert_eq!(job.last_error.unwrap(), "its worker died");
        }
    }

    #[tokio::test]
    async fn a_tick_is_one_job_and_missed_ticks_are_one(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let other = open(&at, &[EFFECTS]).await;
        let done = async || while attempt(&db, says(|_| Ok(()))).await {};
        assert_eq!(ticks(&db, EIGHT).await, 0, "nothing is made up for at first sight");
        for (after, expected) in [(59, 0), (60, 1), (61, 0), (300, 1), (301, 0)] {
            let now = EIGHT + HOUR / 60 * after;
            let schedules = hourly().schedules;
            let both = tokio::join!(ticks(&db, now), cron::tick(&other, &schedules, now));
            assert_eq!(both.0 + both.1.unwrap(), expected, "after {after} minutes");
            done().await;
        }
    }

    #[tokio::test]
    async fn a_tick_waits_for_the_run_before(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        ticks(&db, EIGHT).await;
        assert_eq!(ticks(&db, EIGHT + HOUR).await, 1);
        assert_eq!(ticks(&db, EIGHT + HOUR * 2).await, 0);
        assert_eq!(ticks(&db, EIGHT + HOUR * 3).await, 0);
        assert!(attempt(&db, says(|_| Ok(()))).await);
        assert_eq!(ticks(&db, EIGHT + HOUR * 3).await, 1, "late, and once");
        assert!(attempt(&db, says(|_| Ok(()))).await);
        assert_eq!(ticks(&db, EIGHT + HOUR * 3).await, 0);
    }

    #[tokio::test]
    async fn a_clock_set_back_repeats_no_tick_and_stops_no_schedule(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let run = async |now| {
            let made = ticks(&db, now).await;
            while attempt(&db, says(|_| Ok(()))).await {}
            made
        };
        assert_eq!(run(EIGHT).await, 0);
        assert_eq!(run(EIGHT + HOUR).await, 1);
        assert_eq!(run(EIGHT).await, 0, "an hour back");
        assert_eq!(run(EIGHT + HOUR).await, 0, "the same hour again");
        assert_eq!(run(EIGHT + HOUR * 2).await, 1);
        assert_eq!(run(EIGHT + YEAR).await, 1, "a clock gone wrong");
        assert_eq!(run(EIGHT + HOUR * 2).await, 0, "and corrected");
        assert_eq!(run(EIGHT + HOUR * 3).await, 1);
    }
}
