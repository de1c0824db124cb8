//! One order, from the account to the chain (RFC 8555, 7.1).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationHandle, AuthorizationStatus, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};

use crate::files::{FileError, Files, Pair};
use crate::http_client::AcmeHttp;
use crate::pending::{Answering, Challenge, Pending};
use crate::settings::{ChallengeType, Name, Settings};

/// How long the authority may take to look at our answer, and again to sign: polled with pauses
/// that double, or when it says so (Retry-After).
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));
/// RFC 8555, 6.7: the authority has forgotten the account, or never knew it.
const ACCOUNT_UNKNOWN: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("{0}")]
    Acme(#[from] instant_acme::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the authority offers no {} challenge", .0.as_str())]
    NotOffered(ChallengeType),
    #[error("challenge certificate: {0}")]
    Challenge(String),
    #[error("the authority was not convinced: {0}")]
    NotProved(String),
}

/// Everything an order needs but its name.
pub(crate) struct Orderer {
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) http: AcmeHttp,
    pub(crate) pending: Arc<Pending>,
}

impl Orderer {
    pub(crate) async fn order(&self, name: &Name) -> Result<Pair, OrderError> {
        let identifiers = [Identifier::Dns(name.to_string())];
        let request = NewOrder::new(&identifiers);
        let mut order = match self.account().await?.new_order(&request).await {
            Err(instant_acme::Error::Api(problem)) if may_be_unknown(&problem) => {
                self.register().await?.new_order(&request).await?
            }
            order => order?,
        };
        self.prove(&mut order, name).await?;
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLLING).await?;
        Ok(Pair {
            chain: chain.into_bytes(),
            key: key.into_bytes(),
        })
    }

    async fn account(&self) -> Result<Account, OrderError> {
        let directory = &self.settings.directory;
        let credentials: Option<AccountCredentials> = self.files.account(directory)?;
        match credentials {
            Some(credentials) => {
                let builder = Account::builder_with_http(Box::new(self.http.clone()));
                Ok(builder.from_credentials(credentials).await?)
            }
            None => self.register().await,
        }
    }

    /// A new key for a new account; that the terms are agreed to was checked with the flags.
    async fn register(&self) -> Result<Account, OrderError> {
        let contact = self.settings.contact.as_ref();
        let contact = contact.map(|address| format!("mailto:{address}"));
        let account = NewAccount {
            contact: &contact.as_deref().into_iter().collect::<Vec<_>>(),
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = &self.settings.directory;
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let (account, credentials) = builder
            .create(&account, directory.as_str().to_owned(), None)
            .await?;
        self.files.write_account(directory, &credentials)?;
        tracing::info!(%directory, "acme account registered");
        Ok(account)
    }

    /// Answer the challenge for as long as the authority looks.
    async fn prove(&self, order: &mut Order, name: &Name) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        let mut answering = None;
        // One name, so one authorization; it may still hold from an order before.
        if let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            if authorization.status != AuthorizationStatus::Valid {
                answering = Some(self.answer(authorization, name).await?);
            }
        }
        let status = order.poll_ready(&POLLING).await;
        drop(answering);
        if status? == OrderStatus::Ready {
            return Ok(());
        }
        Err(OrderError::NotProved(reason(order).await))
    }

    async fn answer(
        &self,
        mut authorization: AuthorizationHandle<'_>,
        name: &Name,
    ) -> Result<Answering, OrderError> {
        let wanted = self.settings.challenge;
        let kind = match wanted {
            ChallengeType::Http01 => instant_acme::ChallengeType::Http01,
            ChallengeType::TlsAlpn01 => instant_acme::ChallengeType::TlsAlpn01,
        };
        let mut handle = authorization
            .challenge(kind)
            .ok_or(OrderError::NotOffered(wanted))?;
        let key_authorization = handle.key_authorization();
        let challenge = match wanted {
            ChallengeType::Http01 => Challenge::Http01 {
                token: handle.token.clone(),
                key_authorization: key_authorization.as_str().to_owned(),
            },
            ChallengeType::TlsAlpn01 => {
                Challenge::tls_alpn(name, key_authorization.digest().as_ref())
                    .map_err(OrderError::Challenge)?
            }
        };
        let answering = self.pending.answer(challenge);
        handle.set_ready().await?;
        Ok(answering)
    }
}

/// Whether the authority no longer knows the account. Some (smallstep's library, and so Caddy) give
/// no type at all; a new account is then the better guess than to fail for ever.
fn may_be_unknown(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref();
    kind.is_none_or(|kind| kind == ACCOUNT_UNKNOWN)
}

/// What the authority found wrong, for the log.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut errors = state.challenges.iter().filter_map(|it| it.error.as_ref());
        if let Some(problem) = errors.next() {
            return problem.to_string();
        }
    }
    "no reason given".to_owned()
}
