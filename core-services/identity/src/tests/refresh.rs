//! Trading refresh tokens: alone, twice, stolen, all at once.

use std::collections::BTreeSet;

use super::*;
use crate::sessions::{GRACE, SESSION_LIFETIME, TOKEN_LIFETIME, token::RefreshToken};

/// Long enough after a trade to be no second try of it.
const LATER: Duration = Duration::from_secs(11);

both_databases! {
    #[tokio::test]
    async fn a_token_works_once_and_reuse_ends_all_of_the_family(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let first = world.login(PASSWORD).await.unwrap();
        let second = world.refresh(&first.refresh, NOW).await.unwrap();
        let third = world.refresh(&second.refresh, NOW).await.unwrap();
        let other = world.login(PASSWORD).await.unwrap();

        // The grandparent, although the ten seconds are not over.
        refused!(world.refresh(&first.refresh, NOW).await, Error::BadRefreshToken);
        refused!(world.refresh(&second.refresh, NOW).await, Error::BadRefreshToken);
        refused!(world.refresh(&third.refresh, NOW).await, Error::BadRefreshToken);
        assert!(!world.is_live(&third).await, "the live descendant died, too");
        assert!(world.refresh(&other.refresh, NOW).await.is_ok(), "another session lives");
        let events = world.events().await;
        assert!(events.ends_with(&[
            "session.revoked".to_owned(),
            "auth.token_reuse_detected".to_owned()
        ]), "{events:?}");
        assert!(world.audited().await.contains(&"token_reuse_detected".to_owned()));
    }

    #[tokio::test]
    async fn a_lost_answer_is_given_again_for_ten_seconds(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let first = world.login(PASSWORD).await.unwrap();
        let second = world.refresh(&first.refresh, NOW).await.unwrap();
        let again = world.refresh(&first.refresh, NOW + GRACE).await.unwrap();
        assert_eq!(second.refresh, again.refresh, "the same line goes on");
        assert_eq!(world.count("SELECT count(*) FROM refresh_tokens").await, 2);
        // A replica whose clock is a little behind.
        let behind = UnixMicros(NOW.0 - 2_000_000);
        assert!(world.refresh(&first.refresh, behind).await.is_ok());
        assert!(world.refresh(&again.refresh, NOW + LATER).await.is_ok());
        // Its successor was traded: now it is a thief's.
        refused!(world.refresh(&first.refresh, NOW + GRACE).await, Error::BadRefreshToken);
        assert!(!world.is_live(&again).await);
    }

    #[tokio::test]
    async fn after_ten_seconds_the_parent_is_a_thiefs(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let first = world.login(PASSWORD).await.unwrap();
        let second = world.refresh(&first.refresh, NOW).await.unwrap();
        refused!(world.refresh(&first.refresh, NOW + LATER).await, Error::BadRefreshToken);
        refused!(world.refresh(&second.refresh, NOW + LATER).await, Error::BadRefreshToken);
    }

    #[tokio::test]
    async fn traded_by_many_at_once_it_gives_one_line(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let mut trades = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (world, token) = (world.clone(), tokens.refresh.clone());
            trades.spawn(async move { world.refresh(&token, NOW).await.unwrap().refresh });
        }
        let successors: BTreeSet<_> = trades.join_all().await.into_iter().collect();
        assert_eq!(successors.len(), 1);
        let unused = "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL";
        assert_eq!(world.count(unused).await, 1);
        assert!(world.is_live(&tokens).await);
    }

    #[tokio::test]
    async fn late_reuse_by_many_at_once_ends_it_once(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let first = world.login(PASSWORD).await.unwrap();
        let second = world.refresh(&first.refresh, NOW).await.unwrap();
        let mut trades = tokio::task::JoinSet::new();
        for n in 0..8 {
            let token = if n % 2 == 0 { &first } else { &second };
            let (world, token) = (world.clone(), token.refresh.clone());
            trades.spawn(async move { world.refresh(&token, NOW + LATER).await.is_ok() });
        }
        trades.join_all().await;
        // Whatever came first, nobody holds a live token now.
        refused!(world.refresh(&second.refresh, NOW + LATER).await, Error::BadRefreshToken);
        let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
        assert_eq!(world.count(live).await, 0);
        let told = world.events().await;
        let reused = told.iter().filter(|kind| *kind == "auth.token_reuse_detected");
        assert_eq!(reused.count(), 1);
    }

    #[tokio::test]
    async fn a_guessed_id_ends_nothing(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let used = world.login(PASSWORD).await.unwrap().refresh;
        let live = world.refresh(&used, NOW).await.unwrap();
        // Right id of a used token, somebody else's secret.
        let id = used.split_once('.').unwrap().0;
        let secret = RefreshToken::generate().unwrap().text();
        let forged = format!("{id}.{}", secret.split_once('.').unwrap().1);
        refused!(world.refresh(&forged, NOW + LATER).await, Error::BadRefreshToken);
        assert!(world.refresh(&live.refresh, NOW + LATER).await.is_ok());
    }

    #[tokio::test]
    async fn tokens_and_sessions_end_by_time(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let mut tokens = world.login(PASSWORD).await.unwrap();
        refused!(
            world.refresh(&tokens.refresh, NOW + TOKEN_LIFETIME).await,
            Error::BadRefreshToken
        );
        // Kept busy, the session still ends.
        let step = TOKEN_LIFETIME - Duration::from_secs(1);
        let mut now = NOW;
        while now + step < NOW + SESSION_LIFETIME {
            now = now + step;
            tokens = world.refresh(&tokens.refresh, now).await.unwrap();
        }
        refused!(
            world.refresh(&tokens.refresh, NOW + SESSION_LIFETIME).await,
            Error::BadRefreshToken
        );
        // Used tokens past their time are forgotten: the family stays small.
        assert!(world.count("SELECT count(*) FROM refresh_tokens").await <= 3);
    }

    #[tokio::test]
    async fn claims_say_how_and_when_the_owner_signed_in(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let tokens = world.login(PASSWORD).await.unwrap();
        let renewed = world.refresh(&tokens.refresh, NOW + MINUTE).await.unwrap();
        let claims = |token: &str| -> Value {
            use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
            let payload = token.split('.').nth(1).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
        };
        let (first, second) = (claims(&tokens.access), claims(&renewed.access));
        for claims in [&first, &second] {
            assert_eq!(claims["auth_time"], NOW.seconds(), "a renewal proves nothing new");
            assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
            assert_eq!(claims["acr"], "1");
            assert_eq!(claims["roles"], serde_json::json!(["user"]));
            assert_eq!(claims["scope"], "profile:read profile:write");
        }
        assert_eq!(first["sid"], second["sid"]);
        assert_eq!(second["iat"], (NOW + MINUTE).seconds());
    }
}

/// What a client of the property test does next.
#[derive(Clone, Debug)]
enum Step {
    /// Trades the token that it got as the n-th, after so many seconds.
    Trade(usize, u64),
}

/// However tokens are replayed and time goes by: there is at most one unused token, only
/// the newest or its parent (for ten seconds) is honoured, and reuse ends the family.
#[test]
fn any_history_leaves_one_line_or_none() {
    use proptest::prelude::*;
    let steps = proptest::collection::vec(
        (0_usize..8, 0_u64..15).prop_map(|(token, wait)| Step::Trade(token, wait)),
        1..12,
    );
    let config = ProptestConfig {
        cases: 24,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&steps, |steps| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(replay(steps));
            Ok(())
        })
        .unwrap();
}

async fn replay(steps: Vec<Step>) {
    let at = Database::sqlite();
    let world = world(&at).await;
    world.register(EMAIL, PASSWORD).await;
    // The line as it should be: every token, and when it was traded.
    let mut line = vec![(world.login(PASSWORD).await.unwrap().refresh, None)];
    let (mut now, mut dead) = (NOW, false);
    for Step::Trade(which, wait) in steps {
        now = now + Duration::from_secs(wait);
        let which = which % line.len();
        let (token, used_at): (String, Option<UnixMicros>) = line[which].clone();
        let answer = world
            .refresh(&token, now)
            .await
            .map(|tokens| tokens.refresh);
        let newest = line.len() - 1;
        let again = used_at.is_some_and(|at| at + GRACE >= now) && which + 1 == newest;
        match answer {
            Ok(successor) if which == newest => {
                assert!(!dead);
                line[which].1 = Some(now);
                line.push((successor, None));
            }
            Ok(successor) => {
                assert!(
                    !dead && again,
                    "only the parent of the newest, and only at once"
                );
                assert_eq!(successor, line[newest].0);
            }
            Err(Error::BadRefreshToken) => {
                assert!(dead || (which != newest && !again));
                dead = true;
            }
            Err(error) => panic!("{error}"),
        }
        let unused = "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL";
        assert!(world.count(unused).await <= 1);
        let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
        assert_eq!(world.count(live).await, i64::from(!dead));
    }
}
