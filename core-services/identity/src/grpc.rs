//! Wire to domain and back.
//! Invariant: a handler checks its input first, takes the caller from the
//! verified token and never from the message, and reads the time once.
//! Refuses to decide anything else.

use std::sync::Arc;

use core_platform::{
    clock::{self, UnixMicros},
    errors,
    token::Caller,
    validate::Validator,
};
use core_proto::{
    auth::v1::{
        ChangePasswordRequest, GetJwksRequest, Jwk, Jwks, LoginRequest, LogoutRequest,
        RefreshRequest, RegisterRequest, RegisterResponse, TokenResponse,
        auth_service_server::AuthService,
    },
    user::v1::{
        GetProfileRequest, Profile, UpdateProfileRequest, user_service_server::UserService,
    },
};
use prost_types::Timestamp;
use tonic::{Code, Request, Response, Status, async_trait, metadata::MetadataValue};

use crate::{
    accounts::{Accounts, Tokens},
    error::Error,
    password,
    store::{ProfileChange, User},
};

/// The edge sets the HTTP status from it; other gRPC callers don't see a difference.
const HTTP_STATUS: &str = "x-http-status";

pub(crate) struct Grpc {
    accounts: Arc<Accounts>,
    validator: Arc<Validator>,
}

impl Grpc {
    pub(crate) fn new(accounts: Arc<Accounts>, validator: Arc<Validator>) -> Self {
        Self {
            accounts,
            validator,
        }
    }
}

#[async_trait]
impl AuthService for Grpc {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let RegisterRequest {
            email,
            password,
            name,
        } = request.into_inner();
        self.accounts
            .register(&email, password, &name, clock::now())
            .await?;
        Ok(with_http_status(RegisterResponse {}, "201"))
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let LoginRequest { email, password } = request.into_inner();
        let tokens = self.accounts.login(&email, password, clock::now()).await?;
        Ok(Response::new(tokens.into()))
    }

    async fn refresh(
        &self,
        request: Request<RefreshRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let tokens = self
            .accounts
            .refresh(&request.get_ref().refresh_token, clock::now())
            .await?;
        Ok(Response::new(tokens.into()))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        self.accounts
            .logout(caller(&request)?, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?.clone();
        let ChangePasswordRequest {
            current_password,
            new_password,
        } = request.into_inner();
        self.accounts
            .change_password(&caller, current_password, new_password, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn get_jwks(&self, request: Request<GetJwksRequest>) -> Result<Response<Jwks>, Status> {
        self.validator.check(request.get_ref())?;
        let keys = self.accounts.jwks().into_iter().map(|key| Jwk {
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

#[async_trait]
impl UserService for Grpc {
    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        self.validator.check(request.get_ref())?;
        let user = self
            .accounts
            .profile(caller(&request)?, clock::now())
            .await?;
        Ok(Response::new(user.into()))
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?.clone();
        let UpdateProfileRequest {
            name,
            display_name,
            phone,
        } = request.into_inner();
        let change = ProfileChange {
            name,
            display_name,
            phone,
        };
        let user = self
            .accounts
            .update_profile(&caller, &change, clock::now())
            .await?;
        Ok(Response::new(user.into()))
    }
}

/// The verified caller; the platform's layer put it there.
fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .ok_or_else(|| errors::internal("an RPC that needs a caller is declared public"))
}

fn with_http_status<T>(message: T, status: &'static str) -> Response<T> {
    let mut response = Response::new(message);
    response
        .metadata_mut()
        .insert(HTTP_STATUS, MetadataValue::from_static(status));
    response
}

impl From<Tokens> for TokenResponse {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in,
        }
    }
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email,
            name: user.name,
            display_name: user.display_name,
            phone: user.phone,
            created_at: Some(timestamp(user.created_at)),
            updated_at: Some(timestamp(user.updated_at)),
        }
    }
}

fn timestamp(at: UnixMicros) -> Timestamp {
    Timestamp {
        seconds: at.seconds(),
        nanos: at.subsecond_nanos(),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        let unauthenticated = |reason| errors::refused(Code::Unauthenticated, reason, said.clone());
        match error {
            Error::BadCredentials => unauthenticated("BAD_CREDENTIALS"),
            Error::BadRefreshToken => unauthenticated("BAD_REFRESH_TOKEN"),
            Error::SessionEnded => unauthenticated("SESSION_ENDED"),
            // Not UNAUTHENTICATED: a client would throw its good token away.
            Error::WrongPassword => errors::refused(Code::PermissionDenied, "WRONG_PASSWORD", said),
            Error::SamePassword => errors::invalid(vec![(
                "new_password".to_owned(),
                "must differ from the current one".to_owned(),
            )]),
            Error::Password(password::Error::Busy) => errors::busy("PASSWORD_QUEUE_FULL"),
            Error::Db(error) => error.into(),
            Error::Password(_) | Error::Keys(_) | Error::Random(_) => errors::internal(&said),
        }
    }
}
