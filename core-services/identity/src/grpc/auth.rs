//! `auth.v1.AuthService`.

use std::sync::Arc;

use core_platform::{clock, validate::Validator};
use core_proto::auth::v1::{
    ChangeContactRequest, ChangeContactResponse, ChangePasswordRequest, FinishPasswordResetRequest,
    GetJwksRequest, Jwk, Jwks, ListSessionsRequest, ListSessionsResponse, LoginRequest,
    LogoutRequest, RefreshRequest, RegisterRequest, RegisterResponse, ResendVerificationRequest,
    ResendVerificationResponse, RevokeAllSessionsRequest, RevokeSessionRequest, Session,
    StartPasswordResetRequest, StartPasswordResetResponse, TokenResponse, VerifyContactRequest,
    VerifyContactResponse, auth_service_server::AuthService,
};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{caller, timestamp, uuid, with_http_status};
use crate::{
    accounts::{Accounts, Registration, Reset},
    origin::Origin,
    sessions::{self, Sessions, Tokens},
};

pub(crate) struct Auth {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) sessions: Sessions,
    pub(crate) validator: Arc<Validator>,
}

#[async_trait]
impl AuthService for Auth {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let RegisterRequest {
            email,
            password,
            name,
        } = request.into_inner();
        let new = Registration {
            email: &email,
            name: &name,
        };
        self.accounts
            .register(&new, password, &origin, clock::now())
            .await?;
        Ok(with_http_status(RegisterResponse {}, "201"))
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let LoginRequest { email, password } = request.into_inner();
        let signed_in = self
            .accounts
            .login(&email, password, &origin, clock::now())
            .await?;
        Ok(Response::new(signed_in.into()))
    }

    async fn refresh(
        &self,
        request: Request<RefreshRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let token = request.into_inner().refresh_token;
        let tokens = self.sessions.refresh(&token, &origin, clock::now()).await?;
        Ok(Response::new(tokens.into()))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        self.sessions
            .logout(&caller(&request)?, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let origin = Origin::of(request.metadata());
        let ChangePasswordRequest {
            current_password,
            new_password,
        } = request.into_inner();
        self.accounts
            .change_password(
                &caller,
                current_password,
                new_password,
                &origin,
                clock::now(),
            )
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn start_password_reset(
        &self,
        request: Request<StartPasswordResetRequest>,
    ) -> Result<Response<StartPasswordResetResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let email = &request.get_ref().email;
        self.accounts.start_reset(email, clock::now()).await?;
        Ok(with_http_status(StartPasswordResetResponse {}, "202"))
    }

    async fn finish_password_reset(
        &self,
        request: Request<FinishPasswordResetRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let FinishPasswordResetRequest {
            email,
            code,
            new_password,
        } = request.into_inner();
        let reset = Reset {
            email: &email,
            code: &code,
        };
        self.accounts
            .finish_reset(&reset, new_password, &origin, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn verify_contact(
        &self,
        request: Request<VerifyContactRequest>,
    ) -> Result<Response<VerifyContactResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let VerifyContactRequest { contact, code } = request.get_ref();
        self.accounts
            .verify_contact(contact, code, &origin, clock::now())
            .await?;
        Ok(Response::new(VerifyContactResponse {}))
    }

    async fn resend_verification(
        &self,
        request: Request<ResendVerificationRequest>,
    ) -> Result<Response<ResendVerificationResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let contact = &request.get_ref().contact;
        self.accounts.resend(contact, clock::now()).await?;
        Ok(with_http_status(ResendVerificationResponse {}, "202"))
    }

    async fn change_contact(
        &self,
        request: Request<ChangeContactRequest>,
    ) -> Result<Response<ChangeContactResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let contact = &request.get_ref().contact;
        self.accounts
            .change_contact(&caller, contact, clock::now())
            .await?;
        Ok(with_http_status(ChangeContactResponse {}, "202"))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let found = self.sessions.list(&caller, clock::now()).await?;
        let sessions = found.into_iter();
        Ok(Response::new(ListSessionsResponse {
            sessions: sessions
                .map(|session| wire_session(session, caller.session))
                .collect(),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let session = uuid("id", &request.get_ref().id)?;
        self.sessions
            .revoke(&caller(&request)?, session, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn revoke_all_sessions(
        &self,
        request: Request<RevokeAllSessionsRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let keep_current = request.get_ref().keep_current;
        self.sessions
            .revoke_all(&caller(&request)?, keep_current, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn get_jwks(&self, request: Request<GetJwksRequest>) -> Result<Response<Jwks>, Status> {
        self.validator.check(request.get_ref())?;
        let keys = self
            .sessions
            .signer
            .jwks(clock::now())
            .into_iter()
            .map(|key| Jwk {
                kty: key.kty.to_owned(),
                crv: key.crv.to_owned(),
                kid: key.kid,
                alg: key.alg.to_owned(),
                r#use: key.usage.to_owned(),
                x: key.x,
            });
        Ok(Response::new(Jwks {
            keys: keys.collect(),
        }))
    }
}

fn wire_session(session: sessions::Session, current: Uuid) -> Session {
    Session {
        id: session.id.to_string(),
        current: session.id == current,
        device: session.device,
        network: session.network,
        created_at: Some(timestamp(session.created_at)),
        last_seen_at: Some(timestamp(session.last_seen_at)),
        expires_at: Some(timestamp(session.expires_at)),
        amr: session.amr,
    }
}

impl From<Tokens> for TokenResponse {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in,
            ..Self::default()
        }
    }
}
