//! Calls that race each other, and what the database holds afterwards.

use super::*;

#[tokio::test]
async fn one_token_traded_at_once_gives_one_lineage() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let tokens = world.login("a password").await.unwrap();
    let mut trades = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (accounts, refresh) = (world.accounts.clone(), tokens.refresh.clone());
        trades.spawn(async move { accounts.refresh(&refresh, NOW).await.is_ok() });
    }
    let won = trades
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
    // The others were reuse: the session is over, the winner's token too.
    let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
    assert_eq!(world.count(live).await, 0);
}

#[tokio::test]
async fn the_oldest_session_makes_room() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let (user, _) = store::credentials(&world.db, EMAIL).await.unwrap().unwrap();
    let mut tx = world.db.begin().await.unwrap();
    let mut opened = Vec::new();
    for n in 0..SESSIONS_PER_USER_MAX + 2 {
        let now = NOW + Duration::from_secs(u64::try_from(n).unwrap());
        let end = now + SESSION_LIFETIME;
        let keep = SESSIONS_PER_USER_MAX - 1;
        opened.push(
            store::open_session(&mut tx, user, now, end, keep)
                .await
                .unwrap(),
        );
    }
    tx.commit().await.unwrap();
    assert_eq!(
        world.count("SELECT count(*) FROM sessions").await,
        SESSIONS_PER_USER_MAX
    );
    let live = async |id| store::is_live(&world.db, user, id, NOW).await.unwrap();
    assert!(!live(opened[0]).await && !live(opened[1]).await);
    assert!(live(opened[2]).await && live(*opened.last().unwrap()).await);
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let world = world().await;
    world.register(EMAIL, "a password").await;
    let tokens = world.login("a password").await.unwrap();
    let settings = TokenSettings {
        issuer: "https://id.test".to_owned(),
        audience: "palisade".to_owned(),
    };
    let again = Accounts::start(world.db.clone(), &settings, &Metrics::new().unwrap(), NOW)
        .await
        .unwrap();
    assert_eq!(again.jwks_json(), world.accounts.jwks_json());
    assert!(again.verifier().verify(&tokens.access, NOW).is_ok());
    assert_eq!(world.count("SELECT count(*) FROM signing_keys").await, 1);
}

#[tokio::test]
async fn the_database_holds_no_secret_in_the_clear() {
    let world = world().await;
    world.register(EMAIL, "a very secret password").await;
    let tokens = world.login("a very secret password").await.unwrap();
    let secret = tokens.refresh.split_once('.').unwrap().1.to_owned();
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(world.dir.path().join("data")).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds(EMAIL), "the search finds what is there");
    assert!(!holds("a very secret password"));
    assert!(!holds(&secret));
    assert!(!holds(&tokens.access));
}

#[tokio::test]
async fn a_login_that_raced_a_password_change_opens_nothing() {
    let world = world().await;
    world.register(EMAIL, "old password").await;
    let (user, _) = store::credentials(&world.db, EMAIL).await.unwrap().unwrap();
    // The write lock is taken: the login checks the old password, then waits.
    let mut tx = world.db.begin().await.unwrap();
    let login = tokio::spawn({
        let accounts = world.accounts.clone();
        async move {
            accounts
                .login(EMAIL, "old password".to_owned(), NOW)
                .await
                .err()
        }
    });
    world.hashed(2).await;
    store::set_password_hash(&mut tx, user, "another", NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(login.await.unwrap(), Some(Error::BadCredentials)));
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn of_two_password_changes_at_once_one_wins() {
    let world = world().await;
    world.register(EMAIL, "old password").await;
    let caller = world.caller(&world.login("old password").await.unwrap());
    let tx = world.db.begin().await.unwrap();
    let mut changes = tokio::task::JoinSet::new();
    for new in ["first new password", "second new password"] {
        let (accounts, caller) = (world.accounts.clone(), caller.clone());
        changes.spawn(async move {
            let current = "old password".to_owned();
            let changed = accounts
                .change_password(&caller, current, new.to_owned(), NOW)
                .await;
            (new, changed)
        });
    }
    // Registered, logged in, and both have checked the old password and hashed the new one.
    world.hashed(6).await;
    drop(tx);
    let (won, lost): (Vec<_>, Vec<_>) = changes
        .join_all()
        .await
        .into_iter()
        .partition(|(_, changed)| changed.is_ok());
    assert_eq!((won.len(), lost.len()), (1, 1));
    assert!(matches!(lost[0].1, Err(Error::WrongPassword)));
    assert!(world.login(won[0].0).await.is_ok());
}
