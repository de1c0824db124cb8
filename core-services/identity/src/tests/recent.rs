//! Profiles through the cache: read once, and never older than the last change.

use core_testing::{Redis, redis};

use super::*;
use crate::{
    accounts::Deletion,
    profiles::{Profile, ProfileChange},
};

const PHONE: &str = "+4915112345678";

/// Two replicas before one Redis. Neither hears what the other deletes: what they show must
/// be right without that.
struct Pair {
    world: Arc<World>,
    other: Rules,
    /// Of the other one.
    metrics: Metrics,
}

async fn pair(at: &Database, redis: &Redis) -> Pair {
    pair_with(at, redis, Policy::default()).await
}

async fn pair_with(at: &Database, redis: &Redis, policy: Policy) -> Pair {
    let url = redis.url();
    let before = |vault: &Vault, metrics: &Metrics| {
        Cache::before_redis("identity", (&url, 0), vault, metrics).unwrap()
    };
    let world = world_before(at, policy, before).await;
    let metrics = Metrics::new().unwrap();
    let cache = before(&world.vault, &metrics);
    eventually("Redis", async || cache.ping().await.ok()).await;
    let other = world.replica_with(cache).await;
    Pair {
        world,
        other,
        metrics,
    }
}

impl Pair {
    /// What either replica shows, which must be the same.
    async fn shown(&self, caller: &Caller) -> Profile {
        let one = self.world.rules.profiles.get(caller, NOW).await.unwrap();
        let two = self.other.profiles.get(caller, NOW).await.unwrap();
        assert!(one == two, "versions {} and {}", one.version, two.version);
        one
    }

    /// Somebody whose profile the second replica read from Redis, where the first put it.
    /// A server that is slow for a moment is passed over, so several are asked.
    async fn somebody(&self, now: UnixMicros) -> (Caller, String) {
        eventually("a profile from Redis", async || {
            let email = format!("{}@example.org", Uuid::now_v7());
            let caller = self.world.somebody(&email, now).await;
            let before = lookups(&self.metrics, "shared");
            self.shown(&caller).await;
            (lookups(&self.metrics, "shared") > before).then_some((caller, email))
        })
        .await
    }
}

fn key(caller: &Caller) -> String {
    format!("user:profile:{}", caller.user)
}

/// Without the line's end that `redis-cli` adds; empty too where a delete left its shadow.
fn value(redis: &Redis, key: &str) -> Vec<u8> {
    let mut printed = redis.cli(&["-n", "0", "GET", key]);
    printed.pop();
    printed
}

fn lookups(metrics: &Metrics, result: &str) -> u64 {
    let labels = ["identity", "user:profile", result];
    metrics.cache_lookups.with_label_values(&labels).get()
}

fn named(name: &str) -> ProfileChange {
    ProfileChange {
        display_name: Some(name.to_owned()),
        ..ProfileChange::default()
    }
}

impl World {
    async fn proved(&self, contact: &str) {
        let code = self.code(contact).await;
        let (accounts, here) = (&self.rules.accounts, Origin::default());
        accounts
            .verify_contact(contact, &code, &here, NOW)
            .await
            .unwrap();
    }
}

both_databases! {
    #[tokio::test]
    async fn a_profile_is_read_once_and_again_after_each_change(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let profiles = &world.rules.profiles;
        let mut reads = 0;
        let mut shown = async || {
            let first = profiles.get(&ada, NOW).await.unwrap();
            reads += 1;
            for _ in 0..3 {
                assert!(profiles.get(&ada, NOW).await.unwrap() == first);
            }
            assert_eq!(lookups(&world.metrics, "miss"), reads);
            assert_eq!(lookups(&world.metrics, "local"), 3 * reads);
            first
        };
        let made = shown().await;
        assert!(!made.email.unwrap().verified);
        world.proved(EMAIL).await;
        let proved = shown().await;
        assert!(proved.email.unwrap().verified && proved.version > made.version);

        let change = ProfileChange {
            phone: Some(PHONE.to_owned()),
            ..named("Countess")
        };
        profiles.update(&ada, &change, None, NOW).await.unwrap();
        let told = shown().await;
        assert_eq!(told.display_name, "Countess");
        assert!(!told.phone.unwrap().verified);
        world.proved(PHONE).await;
        assert!(shown().await.phone.unwrap().verified);

        world.rules.accounts.change_contact(&ada, "new@example.org", NOW).await.unwrap();
        assert_eq!(profiles.get(&ada, NOW).await.unwrap().email.unwrap().value, EMAIL);
        world.proved("new@example.org").await;
        let email = profiles.get(&ada, NOW).await.unwrap().email.unwrap();
        assert!(email.value == "new@example.org" && email.verified);
    }

    #[tokio::test]
    async fn a_reset_that_proves_the_address_is_seen(at: Database) {
        let world = world(&at).await;
        let ada = world.somebody(EMAIL, NOW).await;
        let profiles = &world.rules.profiles;
        assert!(!profiles.get(&ada, NOW).await.unwrap().email.unwrap().verified);
        let accounts = &world.rules.accounts;
        accounts.start_reset(EMAIL, NOW).await.unwrap();
        let code = world.code(EMAIL).await;
        let reset = Reset { email: EMAIL, code: &code };
        let fresh = "another-engine".to_owned();
        accounts.finish_reset(&reset, fresh, &at_home(), NOW).await.unwrap();
        refused!(profiles.get(&ada, NOW).await, Error::SessionEnded);
        let tokens = world.open(ada.user, NOW).await.unwrap();
        let ada = world.caller(&tokens);
        assert!(profiles.get(&ada, NOW).await.unwrap().email.unwrap().verified);
    }

    #[tokio::test]
    async fn replicas_share_it_sealed(at: Database) {
        let redis = redis();
        let pair = pair(&at, redis).await;
        let (ada, email) = pair.somebody(NOW).await;
        let kept = value(redis, &key(&ada));
        assert!(!kept.is_empty());
        let kept = String::from_utf8_lossy(&kept);
        for hidden in [&email, "Lovelace", "name"] {
            assert!(!kept.contains(hidden), "`{hidden}` is in Redis");
        }
        let keys = redis.cli(&["-n", "0", "KEYS", "user:*"]);
        assert!(!String::from_utf8_lossy(&keys).contains('@'));
    }

    #[tokio::test]
    async fn one_replicas_change_is_the_others_next_answer(at: Database) {
        let pair = pair(&at, redis()).await;
        let ada = pair.world.somebody(EMAIL, NOW).await;
        for n in 0..10 {
            let name = format!("Countess {n}");
            let by = [&pair.world.rules, &pair.other][n % 2];
            by.profiles.update(&ada, &named(&name), None, NOW).await.unwrap();
            assert_eq!(pair.shown(&ada).await.display_name, name);
        }
    }

    #[tokio::test]
    async fn a_change_that_redis_missed_is_seen_nevertheless(at: Database) {
        let redis = redis();
        let pair = pair(&at, redis).await;
        let (ada, _) = pair.somebody(NOW).await;
        let (key, kept) = (key(&ada), format!("kept:{}", ada.user));
        redis.cli(&["-n", "0", "COPY", &key, &kept]);
        let profiles = &pair.world.rules.profiles;
        profiles.update(&ada, &named("Countess"), None, NOW).await.unwrap();
        // As if the process had died between the commit and the delete.
        redis.cli(&["-n", "0", "COPY", &kept, &key, "REPLACE"]);
        assert_eq!(pair.shown(&ada).await.display_name, "Countess");
    }

    #[tokio::test]
    async fn one_users_profile_under_anothers_key_is_not_shown(at: Database) {
        let redis = redis();
        let pair = pair(&at, redis).await;
        let (ada, _) = pair.somebody(NOW).await;
        let eve = pair.world.somebody("eve@example.org", NOW).await;
        redis.cli(&["-n", "0", "COPY", &key(&ada), &key(&eve), "REPLACE"]);
        let shown = pair.shown(&eve).await;
        assert_eq!((shown.id, shown.email.unwrap().value.as_str()), (eve.user, "eve@example.org"));
    }

    #[tokio::test]
    async fn nothing_hangs_on_redis(at: Database) {
        let redis = Redis::start();
        let pair = pair(&at, &redis).await;
        let ada = pair.world.somebody(EMAIL, NOW).await;
        pair.shown(&ada).await;
        let by = |n: usize| [&pair.world.rules, &pair.other][n % 2];
        let renamed = async |n: usize| {
            let name = format!("Countess {n}");
            by(n).profiles.update(&ada, &named(&name), None, NOW).await.unwrap();
            assert_eq!(pair.shown(&ada).await.display_name, name);
        };
        redis.pause();
        renamed(1).await;
        redis.resume();
        renamed(2).await;
        redis.kill();
        renamed(3).await;
        renamed(4).await;
        redis.restart();
        renamed(5).await;
    }

    #[tokio::test]
    async fn a_deleted_account_leaves_nothing_to_show(at: Database) {
        let redis = redis();
        let policy = Policy {
            deletion_grace: Duration::ZERO,
            ..Policy::default()
        };
        let pair = pair_with(&at, redis, policy).await;
        let now = clock::now();
        let (ada, _) = pair.somebody(now).await;
        pair.world.rules.accounts.close(&ada, now).await.unwrap();
        let forgetting = core_platform::jobs::NewJob::new(Deletion::KIND, &()).unwrap();
        let mut tx = pair.world.db.begin().await.unwrap();
        core_platform::jobs::enqueue(&mut tx, forgetting, now).await.unwrap();
        tx.commit().await.unwrap();
        pair.world.work(Deletion::KIND).await;
        assert_eq!(pair.world.count("SELECT count(*) FROM users").await, 0);
        for rules in [&pair.world.rules, &pair.other] {
            refused!(rules.profiles.get(&ada, now).await, Error::SessionEnded);
        }
        assert!(value(redis, &key(&ada)).is_empty());
    }

    #[tokio::test]
    async fn whose_session_is_over_sees_nothing(at: Database) {
        let pair = pair(&at, redis()).await;
        let admin = pair.world.holder("admin@example.org", "admin", NOW).await;
        let ada = pair.world.somebody(EMAIL, NOW).await;
        pair.shown(&ada).await;
        let administration = &pair.world.rules.administration;
        administration.suspend(&admin, ada.user, NOW).await.unwrap();
        for rules in [&pair.world.rules, &pair.other] {
            refused!(rules.profiles.get(&ada, NOW).await, Error::SessionEnded);
        }
    }
}

fn at_home() -> Origin {
    super::at("laptop")
}
