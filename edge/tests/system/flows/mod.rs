//! What people do from end to end, through the edge by HTTP, in every layout of the core services:
//! one process on SQLite; each service its own process on PostgreSQL, NATS and Redis; two of each.
//!
//! Invariant: a flow is written once and knows its layout only where it stops a server.

mod profile;
mod sessions;
mod strong_login;
mod programs;
mod trouble;
mod leaving;
mod lineage;

use std::fs;

use core_fakes::{Gateway, Mail, Relay};
use serde_json::{Value, json};

use crate::accounts::{Account, Api, Tokens};
use crate::client::{Protocol, Response};
use crate::harness::System;
use crate::harness::core::Layout;
use crate::harness::files::Files;

/// The same flow once in each layout.
macro_rules! in_every_layout {
    ($($(#[$doc:meta])* $flow:ident),+ $(,)?) => {
        $($(#[$doc])* mod $flow {
            use crate::flows::Stage;
            use crate::harness::core::Layout;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_one_process() {
                super::$flow(Stage::set(Layout::Single).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_processes_of_their_own() {
                super::$flow(Stage::set(Layout::Split).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_two_replicas() {
                super::$flow(Stage::set(Layout::Replicas).await).await;
            }
        })+
    };
}
use in_every_layout;

/// A system with a mail relay and an SMS gateway.
struct Stage {
    system: System,
    relay: Relay,
    gateway: Gateway,
}

impl Stage {
    async fn set(layout: Layout) -> Self {
        let (relay, gateway) = (Relay::start().await, Gateway::start().await);
        let mut files = Files::new();
        files.lift_limits();
        let token = files.certs().join("sms-token");
        fs::write(&token, format!("{}\n", gateway.token())).expect("the folder is ours");
        files.core_arguments = [
            "--smtp-url",
            &relay.url(),
            "--sms-url",
            &gateway.url(),
            "--sms-token-file",
            token.to_str().expect("text"),
        ]
        .map(str::to_owned)
        .to_vec();
        Self {
            system: System::start_in(layout, files).await,
            relay,
            gateway,
        }
    }

    async fn api(&self, protocol: Protocol) -> Api {
        Api::new(self.system.client(protocol).await, &self.system.secrets)
    }

    /// Signs somebody up who proves the address.
    async fn sign_up(&self, api: &mut Api, account: &Account) -> Tokens {
        api.register(account).await;
        let mail = self.relay.mail_to(&account.email, has_code).await;
        let proof = json!({"contact": account.email, "code": code(mail.body())});
        let verified = api.post("/v1/auth/verify", None, proof).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        api.login(account).await
    }

    /// Signs in somebody whom the operator made an administrator.
    async fn administrator(&self, api: &mut Api) -> Tokens {
        let account = Account::new("admin");
        api.register(&account).await;
        let System { cores, files, .. } = &self.system;
        let role = [account.email.as_str(), "admin"];
        cores.command(files, "ops grant-role", &role).await;
        api.login(&account).await
    }

    async fn end(self) {
        self.system.end().await;
    }
}

/// The code in a text: its first word.
fn code(text: &str) -> String {
    text.split_whitespace().next().expect("a word").to_owned()
}

fn has_code(mail: &Mail) -> bool {
    code(mail.body()).bytes().all(|byte| byte.is_ascii_digit())
}

fn subject(mail: &Mail) -> &str {
    mail.header("subject").unwrap_or_default()
}

/// Refused because the session is over, by whoever notices first.
#[track_caller]
fn assert_over(response: &Response) {
    assert_eq!(response.status, 401, "{response:?}");
}

/// A member of an answer, as text.
#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("text: {value}"))
}
