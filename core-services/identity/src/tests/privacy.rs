//! What the database holds, read as a thief of it would.

use super::*;
use crate::profiles::ProfileChange;

both_databases! {
    #[tokio::test]
    async fn no_secret_and_no_personal_data_is_in_the_clear(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, "a very secret password").await;
        let tokens = world.login("a very secret password").await.unwrap();
        let caller = world.caller(&tokens);
        let change = ProfileChange {
            phone: Some("+4915112345678".to_owned()),
            display_name: Some("Countess".to_owned()),
            ..ProfileChange::default()
        };
        world.rules.profiles.update(&caller, &change, None, NOW).await.unwrap();
        world.rules.accounts.start_reset(EMAIL, NOW).await.unwrap();
        let device = super::at("an unusual device");
        world.login_at(EMAIL, "a very secret password", &device, NOW).await.unwrap();
        let credentials = world.credentials();
        let enrolled = credentials.enroll_totp(&caller, NOW).await.unwrap();
        credentials.begin_passkey_registration(&caller, NOW).await.unwrap();
        let code = world.code(EMAIL).await;
        let sms = world.code("+4915112345678").await;

        let dump = dump(&world).await;
        assert!(dump.contains("Countess"), "the search finds what is there");
        let secret = tokens.refresh.split_once('.').unwrap().1;
        for hidden in [
            EMAIL,
            "ada@",
            "Lovelace",
            "4915112345678",
            "unusual device",
            "a very secret password",
            secret,
            &tokens.access,
            &enrolled.secret,
            &code,
            &sms,
        ] {
            assert!(!dump.contains(hidden), "`{hidden}` is in the database");
        }
    }
}

/// Every table's every value, as text; blobs both as they are and as text.
async fn dump(world: &World) -> String {
    let mut dump = String::new();
    for sql in [
        "SELECT CAST(handle AS TEXT), CAST(display_name AS TEXT), name FROM users",
        "SELECT kind, kind, value FROM contacts",
        "SELECT kind, kind, value_index FROM contacts",
        "SELECT phc, phc, NULL FROM passwords",
        "SELECT amr, network, device FROM sessions",
        "SELECT purpose, kind, code_hash FROM verification_codes",
        "SELECT purpose, kind, contact_index FROM verification_codes",
        "SELECT purpose, kind, value FROM verification_codes",
        "SELECT kind, CAST(payload AS TEXT), NULL FROM jobs",
        "SELECT type, type, body FROM outbox",
        "SELECT action, CAST(detail AS TEXT), NULL FROM audit_log",
        "SELECT scope, scope, subject FROM login_attempts",
        "SELECT kind, provider, name FROM credentials",
        "SELECT kind, provider, secret FROM credentials",
        "SELECT kind, kind, state FROM tickets",
    ] {
        for row in query(sql).fetch_all(&world.db).await.unwrap() {
            dump.push_str(&row.get::<Option<String>>(0).unwrap().unwrap_or_default());
            dump.push_str(&row.get::<Option<String>>(1).unwrap().unwrap_or_default());
            if !sql.contains("NULL") {
                let blob = row.get::<Option<Vec<u8>>>(2).unwrap().unwrap_or_default();
                dump.push_str(&String::from_utf8_lossy(&blob));
            }
        }
    }
    dump
}
