//! Authenticators, recovery codes, short messages: what completes a sign-in, and what doesn't.

use totp_rs::{Builder, Secret};

use super::api_keys::key as api_key;
use super::*;
use crate::{credentials::Proof, profiles::ProfileChange, store::tickets};

const STEP: Duration = Duration::from_secs(30);
const PHONE: &str = "+442071838750";

/// An authenticator, as it was told its secret.
pub(super) struct Authenticator(totp_rs::Totp);

impl Authenticator {
    fn new(secret: &str) -> Self {
        let secret = Secret::try_from_base32(secret).unwrap();
        Self(Builder::new().with_secret(secret).build().unwrap())
    }

    pub(super) fn code(&self, now: UnixMicros) -> Proof {
        Proof::Totp(self.digits(now))
    }

    fn digits(&self, now: UnixMicros) -> String {
        self.0
            .generate(u64::try_from(now.seconds()).unwrap())
            .to_string()
    }
}

impl World {
    /// An authenticator that was confirmed at `NOW`, and the recovery codes.
    pub(super) async fn confirmed(&self, allow_sms: bool) -> (Authenticator, Vec<String>) {
        let caller = self.caller(&self.login(PASSWORD).await.unwrap());
        self.confirmed_by(&caller, allow_sms).await
    }

    /// The same in a session that is there already.
    pub(super) async fn confirmed_by(
        &self,
        caller: &Caller,
        allow_sms: bool,
    ) -> (Authenticator, Vec<String>) {
        let enrolled = self.credentials().enroll_totp(caller, NOW).await.unwrap();
        let authenticator = Authenticator::new(&enrolled.secret);
        let code = authenticator.digits(NOW);
        let here = super::at("laptop");
        let credentials = self.credentials();
        let codes = credentials
            .confirm_totp(caller, &code, allow_sms, &here, NOW)
            .await;
        (authenticator, codes.unwrap())
    }

    pub(super) async fn complete(
        &self,
        begun: &SecondFactor,
        proof: Proof,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let here = super::at("laptop");
        self.credentials()
            .complete(&begun.ticket, proof, &here, now)
            .await
    }

    async fn verified_phone(&self, caller: &Caller, number: &str) {
        let change = ProfileChange {
            phone: Some(number.to_owned()),
            ..ProfileChange::default()
        };
        self.rules
            .profiles
            .update(caller, &change, None, NOW)
            .await
            .unwrap();
        let code = self.code(number).await;
        let accounts = &self.rules.accounts;
        accounts
            .verify_contact(number, &code, &Origin::default(), NOW)
            .await
            .unwrap();
    }
}

both_databases! {
    #[tokio::test]
    async fn an_authenticator_counts_once_it_was_confirmed(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let credentials = world.credentials();
        let first = credentials.enroll_totp(&caller, NOW).await.unwrap();
        let enrolled = credentials.enroll_totp(&caller, NOW).await.unwrap();
        assert_ne!(first.secret, enrolled.secret);
        let uri = format!("otpauth://totp/Palisade:ada%40example.org?secret={}", enrolled.secret);
        assert!(enrolled.uri.starts_with(&uri), "{}", enrolled.uri);
        // Not yet.
        assert!(world.login(PASSWORD).await.is_ok());
        let confirm = async |secret: &str| {
            let code = Authenticator::new(secret).digits(NOW);
            let here = Origin::default();
            credentials.confirm_totp(&caller, &code, false, &here, NOW).await
        };
        refused!(confirm(&first.secret).await, Error::BadCode);
        let codes = confirm(&enrolled.secret).await.unwrap();
        assert_eq!(codes.len(), 10);
        refused!(confirm(&enrolled.secret).await, Error::TotpActive);
        refused!(credentials.enroll_totp(&caller, NOW).await, Error::TotpActive);
        let begun = world.begin_login(NOW).await;
        assert_eq!(begun.methods, ["totp", "recovery_code"]);
        assert_eq!(world.sent(Template::CredentialChanged).await, 1);
        assert!(world.events().await.contains(&"auth.credential_changed".to_owned()));
        assert!(world.audited().await.contains(&"credential.changed".to_owned()));
    }

    #[tokio::test]
    async fn a_code_works_once(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (authenticator, _) = world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        // It has confirmed the authenticator.
        let replayed = world.complete(&begun, authenticator.code(NOW), NOW).await;
        refused!(replayed, Error::BadSecondFactor);
        let next = NOW + STEP;
        let tokens = world.complete(&begun, authenticator.code(next), next).await.unwrap();
        let caller = world.caller_at(&tokens, next);
        assert_eq!(caller.amr, ["pwd", "otp", "mfa"]);
        assert_eq!(caller.acr.as_deref(), Some("2"));
        // Neither the ticket nor the code a second time.
        let again = world.complete(&begun, authenticator.code(next + STEP), next).await;
        refused!(again, Error::BadMfaToken);
        let begun = world.begin_login(next).await;
        let replayed = world.complete(&begun, authenticator.code(next), next).await;
        refused!(replayed, Error::BadSecondFactor);
        // Nor one of a step before it.
        let older = world.complete(&begun, authenticator.code(NOW), next).await;
        refused!(older, Error::BadSecondFactor);
    }

    #[tokio::test]
    async fn of_many_with_one_code_one_gets_in(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (authenticator, _) = world.confirmed(false).await;
        let next = NOW + STEP;
        let code = authenticator.digits(next);
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let begun = world.begin_login(next).await;
            let (world, code) = (world.clone(), code.clone());
            tries.spawn(async move {
                world.complete(&begun, Proof::Totp(code), next).await.is_ok()
            });
        }
        let opened = tries.join_all().await;
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
    }

    #[tokio::test]
    async fn guesses_are_bounded_and_slowed_down(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (authenticator, _) = world.confirmed(false).await;
        let now = NOW + STEP;
        let right = authenticator.digits(now);
        let wrong = if right == "000000" { "000001" } else { "000000" };
        let begun = world.begin_login(now).await;
        for _ in 0..5 {
            let tried = world.complete(&begun, Proof::Totp(wrong.to_owned()), now).await;
            refused!(tried, Error::BadSecondFactor);
        }
        // This sign-in is over, and a new one has to wait.
        let tried = world.complete(&begun, Proof::Totp(right.clone()), now).await;
        refused!(tried, Error::BadMfaToken);
        let begun = world.begin_login(now).await;
        let tried = world.complete(&begun, Proof::Totp(right.clone()), now).await;
        refused!(tried, Error::Throttled(_));
        let later = now + Duration::from_secs(1);
        assert!(world.complete(&begun, Proof::Totp(right), later).await.is_ok());
    }

    #[tokio::test]
    async fn a_sign_in_waits_for_five_minutes(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (authenticator, _) = world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        let late = NOW + MINUTE * 5;
        let tried = world.complete(&begun, authenticator.code(late), late).await;
        refused!(tried, Error::BadMfaToken);
        let begun = world.begin_login(NOW).await;
        let in_time = NOW + MINUTE * 4;
        assert!(world.complete(&begun, authenticator.code(in_time), in_time).await.is_ok());
        let made_up = SecondFactor { ticket: "x".to_owned(), methods: Vec::new() };
        let tried = world.complete(&made_up, authenticator.code(late), late).await;
        refused!(tried, Error::BadMfaToken);
    }

    #[tokio::test]
    async fn a_new_password_ends_what_waits(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let (authenticator, _) = world.confirmed_by(&caller, false).await;
        let begun = world.begin_login(NOW).await;
        let (current, new) = (PASSWORD.to_owned(), "analytical-engine".to_owned());
        let accounts = &world.rules.accounts;
        accounts.change_password(&caller, current, new, &Origin::default(), NOW).await.unwrap();
        let next = NOW + STEP;
        let tried = world.complete(&begun, authenticator.code(next), next).await;
        refused!(tried, Error::BadMfaToken);
    }

    #[tokio::test]
    async fn sessions_of_one_factor_end_when_two_are_wanted(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let (mine, other) = (world.login(PASSWORD).await.unwrap(), world.login(PASSWORD).await.unwrap());
        world.confirmed_by(&world.caller(&mine), false).await;
        assert!(!world.is_live(&other).await);
        refused!(world.refresh(&other.refresh, NOW).await, Error::BadRefreshToken);
        assert!(world.refresh(&mine.refresh, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn a_reset_is_no_way_around_the_second_factor(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.verified().await;
        let (authenticator, codes) = world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        world.rules.accounts.start_reset(EMAIL, NOW).await.unwrap();
        world.reset(&world.code(EMAIL).await, PASSWORD).await.unwrap();
        let next = NOW + STEP;
        // What waited is over, and who has the new password is asked again.
        let tried = world.complete(&begun, authenticator.code(next), next).await;
        refused!(tried, Error::BadMfaToken);
        let begun = world.begin_login(next).await;
        let code = Proof::RecoveryCode(codes[0].clone());
        assert!(world.complete(&begun, code, next).await.is_ok());
    }

    #[tokio::test]
    async fn the_first_proof_of_the_address_ends_what_a_stranger_has_added(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        let stranger = world.caller(&world.login(PASSWORD).await.unwrap());
        let (mut key, _) = (world.passkey(&stranger).await, world.confirmed_by(&stranger, false).await);
        let keys = &world.rules.api_keys;
        let (program, _) = keys.create(&stranger, api_key(&["profile:read"]), NOW).await.unwrap();
        let told = world.sent(Template::CredentialChanged).await;
        world.rules.accounts.start_reset(EMAIL, NOW).await.unwrap();
        world.reset(&world.code(EMAIL).await, "the owner's own").await.unwrap();
        refused!(world.sign_in_with(&mut key).await, Error::BadPasskey);
        assert!(keys.introspect(&program.text(), NOW).await.unwrap().is_none());
        let mine = world.caller(&world.login("the owner's own").await.unwrap());
        let (found, left) = world.credentials().list(&mine, NOW).await.unwrap();
        assert_eq!((found.len(), left), (0, 0));
        assert_eq!(world.sent(Template::CredentialChanged).await, told + 2);
    }

    #[tokio::test]
    async fn what_has_expired_is_forgotten(at: Database) {
        let world = world(&at).await;
        world.register(EMAIL, PASSWORD).await;
        world.confirmed(false).await;
        world.begin_login(NOW).await;
        let waiting = "SELECT count(*) FROM tickets";
        for (after, left) in [(MINUTE * 4, 1), (MINUTE * 5, 0)] {
            let mut tx = world.db.begin().await.unwrap();
            tickets::sweep(&mut tx, NOW + after).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(world.count(waiting).await, left, "{after:?}");
        }
    }

    #[tokio::test]
    async fn credentials_go_with_their_user(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        world.passkey(&caller).await;
        world.confirmed_by(&caller, false).await;
        world.begin_login(NOW).await;
        let mut tx = world.db.begin().await.unwrap();
        query("DELETE FROM users").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        for left in [
            "SELECT count(*) FROM credentials",
            "SELECT count(*) FROM recovery_codes",
            "SELECT count(*) FROM tickets",
        ] {
            assert_eq!(world.count(left).await, 0, "{left}");
        }
    }

    #[tokio::test]
    async fn codes_go_to_the_number_that_was_allowed(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        world.verified_phone(&caller, PHONE).await;
        world.confirmed_by(&caller, true).await;
        let begun = world.begin_login(NOW).await;
        world.credentials().send_sms(&begun.ticket, NOW).await.unwrap();
        let sent = world.code(PHONE).await;
        // A thief of the session needs no fresh sign-in for this.
        world.verified_phone(&caller, "+442071838751").await;
        let next = world.begin_login(NOW).await;
        assert_eq!(next.methods, ["totp", "recovery_code"]);
        refused!(world.credentials().send_sms(&next.ticket, NOW).await, Error::Invalid("send_sms", _));
        let tried = world.complete(&begun, Proof::Sms(sent), NOW).await;
        refused!(tried, Error::BadSecondFactor);
    }

    #[tokio::test]
    async fn recovery_codes_work_once_and_are_replaced(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let here = Origin::default();
        let none = world.credentials().regenerate_recovery_codes(&caller, &here, NOW).await;
        refused!(none, Error::NoTotp);
        let (_, codes) = world.confirmed(false).await;
        let begun = world.begin_login(NOW).await;
        let typed = Proof::RecoveryCode(codes[0].replace('-', " ").to_lowercase());
        let tokens = world.complete(&begun, typed, NOW).await.unwrap();
        let caller = world.caller(&tokens);
        assert_eq!(caller.amr, ["pwd", "otp", "mfa"]);
        let (_, left) = world.credentials().list(&caller, NOW).await.unwrap();
        assert_eq!(left, 9);
        assert_eq!(world.sent(Template::CredentialChanged).await, 2, "made, and used");
        let begun = world.begin_login(NOW).await;
        let tried = world.complete(&begun, Proof::RecoveryCode(codes[0].clone()), NOW).await;
        refused!(tried, Error::BadSecondFactor);

        let made = world.credentials().regenerate_recovery_codes(&caller, &here, NOW).await;
        let made = made.unwrap();
        let tried = world.complete(&begun, Proof::RecoveryCode(codes[1].clone()), NOW).await;
        refused!(tried, Error::BadSecondFactor);
        let new = Proof::RecoveryCode(made[1].clone());
        assert!(world.complete(&begun, new, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn a_phone_takes_codes_where_its_owner_allowed_it(at: Database) {
        let world = world(&at).await;
        let caller = world.somebody(EMAIL, NOW).await;
        let enrolled = world.credentials().enroll_totp(&caller, NOW).await.unwrap();
        let code = Authenticator::new(&enrolled.secret).digits(NOW);
        let here = Origin::default();
        let allowed = world.credentials().confirm_totp(&caller, &code, true, &here, NOW).await;
        refused!(allowed, Error::Invalid("allow_sms", _));

        world.verified_phone(&caller, PHONE).await;
        world.confirmed_by(&caller, true).await;
        let begun = world.begin_login(NOW).await;
        assert_eq!(begun.methods, ["totp", "recovery_code", "sms"]);
        let tried = world.complete(&begun, Proof::Sms("123456".to_owned()), NOW).await;
        refused!(tried, Error::BadSecondFactor);
        let sent = world.credentials().send_sms(&begun.ticket, NOW).await.unwrap();
        assert_eq!(sent.ticket, begun.ticket);
        assert_eq!(world.sent(Template::SignInCode).await, 1);
        let code = world.code(PHONE).await;
        let tokens = world.complete(&begun, Proof::Sms(code), NOW).await.unwrap();
        assert_eq!(world.caller(&tokens).amr, ["pwd", "sms", "mfa"]);
    }

    #[tokio::test]
    async fn without_the_authenticator_the_password_is_enough_again(at: Database) {
        let world = world(&at).await;
        let eve = world.somebody("eve@example.org", NOW).await;
        let caller = world.somebody(EMAIL, NOW).await;
        world.verified_phone(&caller, PHONE).await;
        world.confirmed_by(&caller, true).await;
        let (found, _) = world.credentials().list(&caller, NOW).await.unwrap();
        let kinds: Vec<_> = found.iter().map(|found| found.kind.as_str()).collect();
        assert_eq!(kinds, ["totp", "sms"]);
        let others = world.credentials().delete(&eve, found[0].id, NOW).await;
        refused!(others, Error::NoSuchCredential);
        world.credentials().delete(&caller, found[0].id, NOW).await.unwrap();
        let (found, left) = world.credentials().list(&caller, NOW).await.unwrap();
        assert_eq!((found.len(), left), (0, 0));
        assert!(world.login(PASSWORD).await.is_ok());
    }
}
