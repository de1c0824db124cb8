use std::{sync::Arc, time::Duration};

use core_platform::db::{Location, query};

use super::*;

mod storage;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
const EMAIL: &str = "ada@example.org";

struct World {
    accounts: Arc<Accounts>,
    db: Db,
    metrics: Metrics,
    dir: tempfile::TempDir,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&Location::Directory(dir.path().join("data")), "identity")
        .await
        .unwrap();
    db.migrate(&store::MIGRATIONS, None).await.unwrap();
    let settings = TokenSettings {
        issuer: "https://id.test".to_owned(),
        audience: "palisade".to_owned(),
    };
    let metrics = Metrics::new().unwrap();
    let accounts = Accounts::start(db.clone(), &settings, &metrics, NOW)
        .await
        .unwrap();
    World {
        accounts: Arc::new(accounts),
        db,
        metrics,
        dir,
    }
}

impl World {
    async fn register(&self, email: &str, password: &str) {
        self.accounts
            .register(email, password.to_owned(), "Ada", NOW)
            .await
            .unwrap();
    }

    async fn login(&self, password: &str) -> Result<Tokens, Error> {
        self.accounts.login(EMAIL, password.to_owned(), NOW).await
    }

    fn caller(&self, tokens: &Tokens) -> Caller {
        self.accounts
            .verifier()
            .verify(&tokens.access, NOW)
            .unwrap()
    }

    /// Waits until this many passwords have been hashed since the start.
    async fn hashed(&self, times: u32) {
        let line = format!("password_hash_duration_seconds_count {times}");
        let rendered = || String::from_utf8(self.metrics.render().unwrap()).unwrap();
        while !rendered().lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let row = query(sql).fetch_one(&self.db).await.unwrap();
        row.get(0).unwrap()
    }
}

fn bad_token(outcome: &Result<Tokens, Error>) -> bool {
    matches!(outcome, Err(Error::BadRefreshToken))
}

#[tokio::test]
async fn case_does_not_make_a_second_account() {
    let world = world().await;
    world.register("Ada@Example.org", "first password").await;
    world.register(EMAIL, "second password").await;
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
    assert!(world.login("first password").await.is_ok());
    assert!(matches!(
        world.login("second password").await,
        Err(Error::BadCredentials)
    ));
    let again = "SELECT count(*) FROM users WHERE registered_again_at IS NOT NULL";
    assert_eq!(world.count(again).await, 1);
}

#[tokio::test]
async fn unknown_and_wrong_look_alike() {
    let world = world().await;
    world.register(EMAIL, "right password").await;
    let wrong = world.login("wrong password").await.err().unwrap();
    let unknown = world
        .accounts
        .login("nobody@example.org", "x".to_owned(), NOW)
        .await
        .err()
        .unwrap();
    assert_eq!(wrong.to_string(), unknown.to_string());
    assert!(matches!(
        (wrong, unknown),
        (Error::BadCredentials, Error::BadCredentials)
    ));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_reuse_ends_all_of_the_family() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let first = world.login("a password").await.unwrap();
    let second = world.accounts.refresh(&first.refresh, NOW).await.unwrap();
    let third = world.accounts.refresh(&second.refresh, NOW).await.unwrap();
    let other = world.login("a password").await.unwrap();

    assert!(
        bad_token(&world.accounts.refresh(&first.refresh, NOW).await),
        "grandparent"
    );
    assert!(
        bad_token(&world.accounts.refresh(&second.refresh, NOW).await),
        "parent"
    );
    assert!(
        bad_token(&world.accounts.refresh(&third.refresh, NOW).await),
        "live descendant"
    );
    let ended = world.accounts.profile(&world.caller(&third), NOW).await;
    assert!(matches!(ended, Err(Error::SessionEnded)));
    assert!(
        world.accounts.refresh(&other.refresh, NOW).await.is_ok(),
        "another session lives"
    );
}

#[tokio::test]
async fn a_guessed_id_ends_nothing() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let tokens = world.login("a password").await.unwrap();
    let used = tokens.refresh.clone();
    let live = world.accounts.refresh(&used, NOW).await.unwrap();
    // Right id of a used token, somebody else's secret.
    let id = used.split_once('.').unwrap().0;
    let secret = RefreshToken::generate().unwrap().text();
    let forged = format!("{id}.{}", secret.split_once('.').unwrap().1);
    assert!(bad_token(&world.accounts.refresh(&forged, NOW).await));
    assert!(world.accounts.refresh(&live.refresh, NOW).await.is_ok());
}

#[tokio::test]
async fn tokens_and_sessions_end_by_time() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let mut tokens = world.login("a password").await.unwrap();
    let late = NOW + TOKEN_LIFETIME;
    assert!(bad_token(
        &world.accounts.refresh(&tokens.refresh, late).await
    ));
    // Kept busy, the session still ends.
    let step = TOKEN_LIFETIME - Duration::from_secs(1);
    let mut now = NOW;
    while now + step < NOW + SESSION_LIFETIME {
        now = now + step;
        tokens = world.accounts.refresh(&tokens.refresh, now).await.unwrap();
    }
    let end = NOW + SESSION_LIFETIME;
    assert!(bad_token(
        &world.accounts.refresh(&tokens.refresh, end).await
    ));
    // Used tokens past their time are forgotten: the family stays small.
    assert!(world.count("SELECT count(*) FROM refresh_tokens").await <= 3);
}

#[tokio::test]
async fn logout_ends_the_session_at_once() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let tokens = world.login("a password").await.unwrap();
    let caller = world.caller(&tokens);
    assert_eq!(
        world.accounts.profile(&caller, NOW).await.unwrap().email,
        EMAIL
    );
    world.accounts.logout(&caller, NOW).await.unwrap();
    assert!(matches!(
        world.accounts.logout(&caller, NOW).await,
        Err(Error::SessionEnded)
    ));
    assert!(matches!(
        world.accounts.profile(&caller, NOW).await,
        Err(Error::SessionEnded)
    ));
    assert!(bad_token(
        &world.accounts.refresh(&tokens.refresh, NOW).await
    ));
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let world = world().await;
    world.register(EMAIL, "old password").await;
    let mine = world.login("old password").await.unwrap();
    let other = world.login("old password").await.unwrap();
    let caller = world.caller(&mine);
    let change = async |current: &str, new: &str| {
        world
            .accounts
            .change_password(&caller, current.to_owned(), new.to_owned(), NOW)
            .await
    };
    assert!(matches!(
        change("not it", "new password").await,
        Err(Error::WrongPassword)
    ));
    assert!(matches!(
        change("old password", "old password").await,
        Err(Error::SamePassword)
    ));
    assert!(
        world
            .accounts
            .profile(&world.caller(&other), NOW)
            .await
            .is_ok()
    );

    change("old password", "new password").await.unwrap();
    assert!(world.login("old password").await.is_err());
    assert!(world.login("new password").await.is_ok());
    assert!(bad_token(
        &world.accounts.refresh(&other.refresh, NOW).await
    ));
    let ended = world.accounts.profile(&world.caller(&other), NOW).await;
    assert!(matches!(ended, Err(Error::SessionEnded)));
    assert!(
        world.accounts.refresh(&mine.refresh, NOW).await.is_ok(),
        "the caller's own lives"
    );
}

#[tokio::test]
async fn profiles_change_field_by_field() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let caller = world.caller(&world.login("a password").await.unwrap());
    let later = NOW + Duration::from_secs(5);
    let change = |display_name: Option<&str>, phone: Option<&str>| ProfileChange {
        name: None,
        display_name: display_name.map(str::to_owned),
        phone: phone.map(str::to_owned),
    };
    let set = change(Some("Countess"), Some("+4915112345678"));
    let user = world
        .accounts
        .update_profile(&caller, &set, later)
        .await
        .unwrap();
    assert_eq!(
        (user.name.as_str(), user.display_name.as_str()),
        ("Ada", "Countess")
    );
    assert_eq!((user.created_at, user.updated_at), (NOW, later));
    let cleared = change(None, Some(""));
    let user = world
        .accounts
        .update_profile(&caller, &cleared, later)
        .await
        .unwrap();
    assert_eq!(
        (user.display_name.as_str(), user.phone.as_str()),
        ("Countess", "")
    );
    assert_eq!(world.accounts.profile(&caller, later).await.unwrap(), user);
}

#[tokio::test]
async fn a_token_reaches_only_its_own_users_session() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    world.register("eve@example.org", "a password").await;
    let ada = world.caller(&world.login("a password").await.unwrap());
    let eve = world
        .accounts
        .login("eve@example.org", "a password".to_owned(), NOW)
        .await
        .unwrap();
    let mixed = Caller {
        session: ada.session,
        ..world.caller(&eve)
    };
    assert!(matches!(
        world.accounts.profile(&mixed, NOW).await,
        Err(Error::SessionEnded)
    ));
    assert!(matches!(
        world.accounts.logout(&mixed, NOW).await,
        Err(Error::SessionEnded)
    ));
    assert!(world.accounts.profile(&ada, NOW).await.is_ok());
}
