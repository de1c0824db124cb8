//! Signing in at other providers: who is let in, who is linked, and what lies are noticed.

use core_fakes::{OidcFault, Person, Provider};
use core_platform::policy::PolicyStore;

use super::*;
use crate::oidc::{Callback, Oidc, Started};

/// The rules beside a provider, and the folder with its policy.
struct Site {
    oidc: Oidc,
    provider: Provider,
    _folder: tempfile::TempDir,
}

/// A site that knows one provider by its three profiles.
async fn site(world: &World) -> Site {
    let provider = Provider::start().await;
    provider.set_now(u64::try_from(NOW.seconds()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let secret = world.keys.path().join("client-secret");
    std::fs::write(&secret, provider.client_secret()).unwrap();
    let secret = secret.to_str().unwrap();
    let written: String = [
        ("google", "oidc"),
        ("github", "github"),
        ("discord", "discord"),
    ]
    .map(|(name, profile)| provider.policy(name, profile, secret))
    .concat();
    let text = format!("version: 1\nproviders:\n{written}");
    std::fs::write(folder.path().join("oidc-providers.yaml"), text).unwrap();
    let policies = Arc::new(PolicyStore::open(folder.path()).unwrap());
    let accounts = world.rules.accounts.clone();
    Site {
        oidc: Oidc::new(accounts, policies, "https://localhost:8443").unwrap(),
        provider,
        _folder: folder,
    }
}

impl Site {
    async fn start(&self, name: &str) -> Started {
        self.oidc.start(name, NOW).await.unwrap()
    }

    async fn finish(
        &self,
        name: &str,
        (code, state): &(String, String),
        cookie: Option<&str>,
    ) -> Result<SignIn, Error> {
        let callback = Callback {
            code,
            state,
            iss: "",
            is_refused: false,
            cookie,
        };
        self.oidc
            .finish(name, &callback, &super::at("laptop"), NOW)
            .await
    }

    /// There and back.
    async fn visit(&self, name: &str) -> Result<SignIn, Error> {
        let started = self.start(name).await;
        let back = self.provider.consent(&started.url);
        self.finish(name, &back, Some(&started.cookie)).await
    }

    async fn enter(&self, name: &str) -> Tokens {
        match self.visit(name).await.unwrap() {
            SignIn::Done(tokens) => tokens,
            SignIn::Wanted(_) => panic!("a second factor is wanted"),
        }
    }
}

fn person(email: &str, verified: bool) -> Person {
    Person {
        subject: "1815".to_owned(),
        email: email.to_owned(),
        verified,
        name: "Ada Lovelace".to_owned(),
    }
}

both_databases! {
    #[tokio::test]
    async fn the_first_visit_makes_an_account_and_the_next_ones_open_it(at: Database) {
        let world = world(&at).await;
        for name in ["google", "github", "discord"] {
            let site = site(&world).await;
            site.provider.sign_in_as(person(&format!("{name}@example.org"), true));
            let first = site.enter(name).await;
            let caller = world.caller(&first);
            assert_eq!(caller.amr, ["fed"], "{name}");
            let profile = world.rules.profiles.get(&caller, NOW).await.unwrap();
            assert_eq!(profile.name, "Ada Lovelace");
            let email = profile.email.unwrap();
            assert_eq!((email.value, email.verified), (format!("{name}@example.org"), true));
            // Whatever the address is now: the account is the person's.
            site.provider.sign_in_as(person("countess@example.org", false));
            let again = site.enter(name).await;
            assert_eq!(world.caller(&again).user, caller.user, "{name}");
            let (found, _) = world.credentials().list(&caller, NOW).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].kind.as_str(), found[0].provider.as_str()), ("oidc", name));
            // Nothing else opens the account.
            let last = world.credentials().delete(&caller, found[0].id, NOW).await;
            refused!(last, Error::LastCredential);
        }
    }

    #[tokio::test]
    async fn an_account_is_linked_only_if_its_owner_has_proved_the_address(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        // Somebody was here first, with an address that may be another's.
        world.register(EMAIL, PASSWORD).await;
        site.provider.sign_in_as(person(EMAIL, false));
        refused!(site.visit("google").await, Error::OidcUnverified);
        site.provider.sign_in_as(person("ADA@Example.org", true));
        refused!(site.visit("google").await, Error::OidcSignInFirst);
        world.verified().await;
        let mine = world.caller(&world.login(PASSWORD).await.unwrap());
        let linked = site.enter("google").await;
        assert_eq!(world.caller(&linked).user, mine.user);
        assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
        assert_eq!(world.sent(Template::CredentialChanged).await, 1);
        // With a password left, the link may go.
        let (found, _) = world.credentials().list(&mine, NOW).await.unwrap();
        assert!(world.credentials().delete(&mine, found[0].id, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn who_gets_an_address_later_does_not_get_the_account(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        site.provider.sign_in_as(person(EMAIL, true));
        let mine = world.caller(&site.enter("google").await);
        let successor = Person { subject: "1852".to_owned(), ..person(EMAIL, true) };
        site.provider.sign_in_as(successor);
        refused!(site.visit("google").await, Error::OidcSignInFirst);
        let (found, _) = world.credentials().list(&mine, NOW).await.unwrap();
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn lies_of_a_provider_open_nothing(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        for fault in [
            OidcFault::WrongNonce,
            OidcFault::WrongAudience,
            OidcFault::WrongIssuer,
            OidcFault::Expired,
            OidcFault::WrongKey,
            OidcFault::Huge,
            OidcFault::Redirect,
        ] {
            let started = site.start("google").await;
            let back = site.provider.consent(&started.url);
            site.provider.set(fault);
            let finished = site.finish("google", &back, Some(&started.cookie)).await;
            assert!(matches!(finished, Err(Error::BadOidcAnswer)), "{fault:?}");
            site.provider.set(OidcFault::None);
        }
        let started = site.start("google").await;
        let back = site.provider.consent(&started.url);
        site.provider.set(OidcFault::Broken);
        refused!(site.finish("google", &back, Some(&started.cookie)).await, Error::OidcAway);
        assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
        site.provider.set(OidcFault::None);
        site.enter("google").await;
    }

    #[tokio::test]
    async fn a_visit_is_finished_once_where_it_was_begun(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        for (name, cookie) in [("google", None), ("google", Some("x")), ("github", Some(""))] {
            let started = site.start("google").await;
            let back = site.provider.consent(&started.url);
            let own = started.cookie.as_str();
            let cookie = cookie.map(|cookie| if cookie.is_empty() { own } else { cookie });
            refused!(site.finish(name, &back, cookie).await, Error::BadOidcState);
            // Nor afterwards: the state is used up.
            let again = site.finish("google", &back, Some(&started.cookie)).await;
            refused!(again, Error::BadOidcState);
        }
        let started = site.start("google").await;
        let back = site.provider.consent(&started.url);
        assert!(site.finish("google", &back, Some(&started.cookie)).await.is_ok());
        refused!(site.finish("google", &back, Some(&started.cookie)).await, Error::BadOidcState);
        refused!(site.oidc.start("nobody", NOW).await, Error::NoSuchProvider);
        // A state of ours with a code of somebody else's.
        let started = site.start("google").await;
        let (_, state) = site.provider.consent(&started.url);
        let forged = ("code-0".to_owned(), state);
        refused!(site.finish("google", &forged, Some(&started.cookie)).await, Error::BadOidcAnswer);
    }

    #[tokio::test]
    async fn who_answers_is_who_was_asked(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        let issuer = site.provider.issuer();
        for (iss, is_refused, expected) in [
            ("https://another.example", false, "the provider's answer is not valid"),
            (issuer, true, "the provider did not sign you in"),
        ] {
            let started = site.start("google").await;
            let (code, state) = site.provider.consent(&started.url);
            let callback = Callback {
                code: &code,
                state: &state,
                iss,
                is_refused,
                cookie: Some(&started.cookie),
            };
            let here = super::at("laptop");
            let finished = site.oidc.finish("google", &callback, &here, NOW).await;
            assert_eq!(finished.err().unwrap().to_string(), expected);
            // Neither is it tried again.
            let again = Callback { iss: issuer, is_refused: false, ..callback };
            refused!(site.oidc.finish("google", &again, &here, NOW).await, Error::BadOidcState);
        }
        assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
    }

    #[tokio::test]
    async fn keys_may_change_between_two_visits(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        site.enter("google").await;
        site.provider.rotate_keys();
        site.enter("google").await;
    }

    #[tokio::test]
    async fn the_second_factor_is_wanted_all_the_same(at: Database) {
        let world = world(&at).await;
        let site = site(&world).await;
        world.register(EMAIL, PASSWORD).await;
        world.verified().await;
        let (authenticator, _) = world.confirmed(false).await;
        let SignIn::Wanted(begun) = site.visit("google").await.unwrap() else {
            panic!("no second factor was wanted");
        };
        // Nothing is added to the account by the address alone.
        let links = "SELECT count(*) FROM credentials WHERE kind = 'oidc'";
        assert_eq!(world.count(links).await, 0);
        let told = world.sent(Template::CredentialChanged).await;
        let next = NOW + Duration::from_secs(30);
        let tokens = world.complete(&begun, authenticator.code(next), next).await.unwrap();
        assert_eq!(world.caller_at(&tokens, next).amr, ["fed", "otp", "mfa"]);
        assert_eq!(world.count(links).await, 1);
        assert_eq!(world.sent(Template::CredentialChanged).await, told + 1);
        // Nor is a linked identity enough.
        assert!(matches!(site.visit("google").await.unwrap(), SignIn::Wanted(_)));
    }
}
