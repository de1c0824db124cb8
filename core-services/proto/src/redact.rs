//! `Debug` of the messages that carry passwords, tokens, codes, personal data or what
//! users wrote.
//! Invariant: what these print holds no secret and no address, whoever logs it.
//! Refuses to be derived: a new field is hidden until someone names it here.

use std::fmt::{Debug, Formatter, Result};

use crate::{
    auth::v1::{
        ApiKey, BeginPasskeyLoginResponse, BeginPasskeyRegistrationResponse, ChangeContactRequest,
        ChangePasswordRequest, CompleteMfaRequest, ConfirmTotpRequest, CreateApiKeyRequest,
        CreateApiKeyResponse, Credential, EnrollTotpResponse, FinishOidcRequest,
        FinishPasskeyLoginRequest, FinishPasskeyRegistrationRequest, FinishPasswordResetRequest,
        IntrospectRequest, IntrospectResponse, LoginRequest, RecoveryCodes, RefreshRequest,
        RegisterRequest, ResendVerificationRequest, Session, StartOidcResponse,
        StartPasswordResetRequest, TokenResponse, VerifyContactRequest,
    },
    google::api::HttpBody,
    platform::v1::Event,
    user::v1::{ListUsersRequest, Profile, UpdateProfileRequest, User},
};

macro_rules! opaque {
    ($($message:ty),+ $(,)?) => {
        $(impl Debug for $message {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        })+
    };
}

opaque!(
    RegisterRequest,
    LoginRequest,
    RefreshRequest,
    TokenResponse,
    ChangePasswordRequest,
    StartPasswordResetRequest,
    FinishPasswordResetRequest,
    VerifyContactRequest,
    ResendVerificationRequest,
    ChangeContactRequest,
    Session,
    CompleteMfaRequest,
    BeginPasskeyRegistrationResponse,
    FinishPasskeyRegistrationRequest,
    BeginPasskeyLoginResponse,
    FinishPasskeyLoginRequest,
    Credential,
    EnrollTotpResponse,
    ConfirmTotpRequest,
    RecoveryCodes,
    StartOidcResponse,
    FinishOidcRequest,
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    IntrospectRequest,
    IntrospectResponse,
    UpdateProfileRequest,
    Profile,
    ListUsersRequest,
    User,
    HttpBody,
    Event,
);

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &impl Debug) -> String {
        format!("{message:?}")
    }

    #[test]
    fn debug_hides_every_field() {
        let secret = || "s3cret".to_owned();
        let printed = [
            shown(&RegisterRequest {
                email: secret(),
                password: secret(),
                name: secret(),
            }),
            shown(&LoginRequest {
                email: secret(),
                password: secret(),
            }),
            shown(&RefreshRequest {
                refresh_token: secret(),
            }),
            shown(&ChangePasswordRequest {
                current_password: secret(),
                new_password: secret(),
            }),
            shown(&TokenResponse {
                access_token: secret(),
                refresh_token: secret(),
                token_type: secret(),
                expires_in: 600,
                mfa_token: secret(),
                mfa_methods: vec![secret()],
            }),
            shown(&FinishPasswordResetRequest {
                email: secret(),
                code: secret(),
                new_password: secret(),
            }),
            shown(&VerifyContactRequest {
                contact: secret(),
                code: secret(),
            }),
            shown(&CreateApiKeyResponse {
                key: secret(),
                api_key: None,
            }),
            shown(&IntrospectRequest { token: secret() }),
            format!(
                "{:?}",
                IntrospectResponse {
                    access_token: secret(),
                    ..IntrospectResponse::default()
                }
            ),
            shown(&HttpBody {
                data: secret().into_bytes(),
                ..HttpBody::default()
            }),
            shown(&Profile {
                email: secret(),
                phone: secret(),
                name: secret(),
                ..Profile::default()
            }),
        ];
        for text in printed {
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn debug_hides_credentials() {
        let secret = || "s3cret".to_owned();
        let printed = [
            shown(&CompleteMfaRequest {
                mfa_token: secret(),
                code: secret(),
                recovery_code: secret(),
                sms_code: secret(),
                ..CompleteMfaRequest::default()
            }),
            shown(&EnrollTotpResponse {
                secret: secret(),
                otpauth_uri: secret(),
            }),
            shown(&RecoveryCodes {
                recovery_codes: vec![secret()],
            }),
        ];
        for text in printed {
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
