//! `auth.v1.CredentialService`.

use std::sync::Arc;

use core_platform::{
    clock::{self, UnixMicros},
    errors,
    validate::Validator,
};
use core_proto::auth::v1::{
    BeginPasskeyLoginRequest, BeginPasskeyLoginResponse, BeginPasskeyRegistrationRequest,
    BeginPasskeyRegistrationResponse, CompleteMfaRequest, ConfirmTotpRequest, Credential,
    DeleteCredentialRequest, EnrollTotpRequest, EnrollTotpResponse, FinishOidcRequest,
    FinishPasskeyLoginRequest, FinishPasskeyRegistrationRequest, ListCredentialsRequest,
    ListCredentialsResponse, RecoveryCodes, RegenerateRecoveryCodesRequest, StartOidcRequest,
    StartOidcResponse, TokenResponse, credential_service_server::CredentialService,
};
use prost_types::Struct;
use serde_json::Value;
use tonic::{
    Request, Response, Status, async_trait,
    metadata::{AsciiMetadataValue, MetadataMap, MetadataValue},
};

use super::{caller, timestamp, uuid, with_http_status};
use crate::{
    credentials::{self, Credentials, Proof, SecondFactor, SignIn},
    json,
    oidc::{Callback, Oidc},
    origin::Origin,
};

const LOCATION: &str = "x-http-header-location";
const SET_COOKIE: &str = "x-http-header-set-cookie";
const CACHE_CONTROL: &str = "x-http-header-cache-control";
/// Only this host sets it, over TLS, for all paths (RFC 6265bis section 4.1.3.2).
const COOKIE: &str = "__Host-palisade-oidc";
/// As long as a visit.
const COOKIE_SECONDS: u32 = 600;

pub(crate) struct CredentialRpc {
    pub(crate) credentials: Credentials,
    pub(crate) oidc: Arc<Oidc>,
    pub(crate) validator: Arc<Validator>,
}

#[async_trait]
impl CredentialService for CredentialRpc {
    async fn complete_mfa(
        &self,
        request: Request<CompleteMfaRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let request = request.into_inner();
        let ticket = request.mfa_token.clone();
        let Some(proof) = proof(request)? else {
            let sent = self.credentials.send_sms(&ticket, clock::now()).await?;
            return Ok(with_http_status(sent.into(), "202"));
        };
        let tokens = self
            .credentials
            .complete(&ticket, proof, &origin, clock::now())
            .await?;
        Ok(Response::new(tokens.into()))
    }

    async fn begin_passkey_registration(
        &self,
        request: Request<BeginPasskeyRegistrationRequest>,
    ) -> Result<Response<BeginPasskeyRegistrationResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let begun = self
            .credentials
            .begin_passkey_registration(&caller(&request)?, clock::now())
            .await?;
        Ok(Response::new(BeginPasskeyRegistrationResponse {
            ceremony: begun.ticket,
            options: Some(wire(&begun.options)),
        }))
    }

    async fn finish_passkey_registration(
        &self,
        request: Request<FinishPasskeyRegistrationRequest>,
    ) -> Result<Response<Credential>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let origin = Origin::of(request.metadata());
        let FinishPasskeyRegistrationRequest {
            ceremony,
            credential,
            name,
        } = request.into_inner();
        let made = value("credential", credential)?;
        let kept = self
            .credentials
            .finish_passkey_registration(&caller, &ceremony, made, &name, &origin, clock::now())
            .await?;
        Ok(with_http_status(kept.into(), "201"))
    }

    async fn begin_passkey_login(
        &self,
        request: Request<BeginPasskeyLoginRequest>,
    ) -> Result<Response<BeginPasskeyLoginResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let begun = self.credentials.begin_passkey_login(clock::now()).await?;
        Ok(Response::new(BeginPasskeyLoginResponse {
            ceremony: begun.ticket,
            options: Some(wire(&begun.options)),
        }))
    }

    async fn finish_passkey_login(
        &self,
        request: Request<FinishPasskeyLoginRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let FinishPasskeyLoginRequest {
            ceremony,
            credential,
        } = request.into_inner();
        let answer = value("credential", credential)?;
        let tokens = self
            .credentials
            .finish_passkey_login(&ceremony, answer, &origin, clock::now())
            .await?;
        Ok(Response::new(tokens.into()))
    }

    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Result<Response<ListCredentialsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (found, left) = self
            .credentials
            .list(&caller(&request)?, clock::now())
            .await?;
        Ok(Response::new(ListCredentialsResponse {
            credentials: found.into_iter().map(Credential::from).collect(),
            recovery_codes_left: i32::try_from(left).unwrap_or(i32::MAX),
        }))
    }

    async fn delete_credential(
        &self,
        request: Request<DeleteCredentialRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let id = uuid("id", &request.get_ref().id)?;
        self.credentials
            .delete(&caller(&request)?, id, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn enroll_totp(
        &self,
        request: Request<EnrollTotpRequest>,
    ) -> Result<Response<EnrollTotpResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let enrolled = self
            .credentials
            .enroll_totp(&caller(&request)?, clock::now())
            .await?;
        Ok(Response::new(EnrollTotpResponse {
            secret: enrolled.secret,
            otpauth_uri: enrolled.uri,
        }))
    }

    async fn confirm_totp(
        &self,
        request: Request<ConfirmTotpRequest>,
    ) -> Result<Response<RecoveryCodes>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let origin = Origin::of(request.metadata());
        let ConfirmTotpRequest { code, allow_sms } = request.into_inner();
        let recovery_codes = self
            .credentials
            .confirm_totp(&caller, &code, allow_sms, &origin, clock::now())
            .await?;
        Ok(Response::new(RecoveryCodes { recovery_codes }))
    }

    async fn regenerate_recovery_codes(
        &self,
        request: Request<RegenerateRecoveryCodesRequest>,
    ) -> Result<Response<RecoveryCodes>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let recovery_codes = self
            .credentials
            .regenerate_recovery_codes(&caller(&request)?, &origin, clock::now())
            .await?;
        Ok(Response::new(RecoveryCodes { recovery_codes }))
    }

    async fn start_oidc(
        &self,
        request: Request<StartOidcRequest>,
    ) -> Result<Response<StartOidcResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let provider = &request.get_ref().provider;
        let started = self.oidc.start(provider, clock::now()).await?;
        let location = ascii(&started.url)?;
        let mut response = with_http_status(
            StartOidcResponse {
                authorization_url: started.url,
            },
            "302",
        );
        let metadata = response.metadata_mut();
        metadata.insert(LOCATION, location);
        set_cookie(metadata, &started.cookie, COOKIE_SECONDS)?;
        Ok(response)
    }

    async fn finish_oidc(
        &self,
        request: Request<FinishOidcRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let origin = Origin::of(request.metadata());
        let cookie = cookie(request.metadata());
        let answer = request.get_ref();
        let callback = Callback {
            code: &answer.code,
            state: &answer.state,
            iss: &answer.iss,
            is_refused: !answer.error.is_empty() || answer.code.is_empty(),
            cookie: cookie.as_deref(),
        };
        let now: UnixMicros = clock::now();
        let signed_in = self
            .oidc
            .finish(&answer.provider, &callback, &origin, now)
            .await?;
        let mut response = Response::new(TokenResponse::from(signed_in));
        set_cookie(response.metadata_mut(), "", 0)?;
        Ok(response)
    }
}

/// The one proof that was given; `None` asks for a short message.
fn proof(request: CompleteMfaRequest) -> Result<Option<Proof>, Status> {
    let one = || {
        let text = "give one of `code`, `recovery_code`, `sms_code`, `passkey`, `send_sms`";
        errors::invalid(vec![("code".to_owned(), text.to_owned())])
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    let passkey = request
        .passkey
        .map(|passkey| value("passkey", Some(passkey)));
    let passkey = passkey.transpose()?.map(|answer| Proof::Passkey {
        ticket: request.ceremony,
        answer,
    });
    let proofs = [
        given(request.code).map(Proof::Totp),
        given(request.recovery_code).map(Proof::RecoveryCode),
        given(request.sms_code).map(Proof::Sms),
        passkey,
    ];
    let mut proofs = proofs.into_iter().flatten();
    match (proofs.next(), proofs.next(), request.send_sms) {
        (Some(proof), None, false) => Ok(Some(proof)),
        (None, None, true) => Ok(None),
        _ => Err(one()),
    }
}

fn wire(value: &Value) -> Struct {
    value.as_object().map(json::to_struct).unwrap_or_default()
}

fn value(field: &'static str, sent: Option<Struct>) -> Result<Value, Status> {
    let read = sent.and_then(json::from_struct);
    let read = read.ok_or_else(|| {
        errors::invalid(vec![(field.to_owned(), "must be a JSON object".to_owned())])
    });
    Ok(Value::Object(read?))
}

fn set_cookie(metadata: &mut MetadataMap, value: &str, seconds: u32) -> Result<(), Status> {
    // Lax: the provider's page sends the browser here.
    let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax";
    let cookie = format!("{COOKIE}={value}; {attributes}; Max-Age={seconds}");
    metadata.insert(SET_COOKIE, ascii(&cookie)?);
    metadata.insert(CACHE_CONTROL, MetadataValue::from_static("no-store"));
    Ok(())
}

/// The value of our cookie (RFC 6265 section 5.4).
fn cookie(metadata: &MetadataMap) -> Option<String> {
    let sent = metadata.get("cookie")?.to_str().ok()?;
    let mut pairs = sent
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.find(|(name, _)| *name == COOKIE);
    ours.map(|(_, value)| value.to_owned())
}

fn ascii(text: &str) -> Result<AsciiMetadataValue, Status> {
    AsciiMetadataValue::try_from(text)
        .map_err(|_| errors::internal("a header field that no header can hold"))
}

impl From<credentials::Credential> for Credential {
    fn from(found: credentials::Credential) -> Self {
        Self {
            id: found.id.to_string(),
            kind: found.kind,
            name: found.name,
            provider: found.provider,
            created_at: Some(timestamp(found.created_at)),
            last_used_at: found.last_used_at.map(timestamp),
            confirmed: found.confirmed,
        }
    }
}

impl From<SecondFactor> for TokenResponse {
    fn from(wanted: SecondFactor) -> Self {
        Self {
            mfa_token: wanted.ticket,
            mfa_methods: wanted.methods.into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }
}

impl From<SignIn> for TokenResponse {
    fn from(signed_in: SignIn) -> Self {
        match signed_in {
            SignIn::Done(tokens) => tokens.into(),
            SignIn::Wanted(wanted) => wanted.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_proof_is_taken() {
        let check = |request: CompleteMfaRequest, expected: Option<bool>| {
            let found = proof(request).ok().map(|proof| proof.is_some());
            assert_eq!(found, expected);
        };
        let text = || "1".to_owned();
        let none = CompleteMfaRequest::default;
        check(none(), None);
        check(
            CompleteMfaRequest {
                code: text(),
                ..none()
            },
            Some(true),
        );
        check(
            CompleteMfaRequest {
                sms_code: text(),
                ..none()
            },
            Some(true),
        );
        check(
            CompleteMfaRequest {
                send_sms: true,
                ..none()
            },
            Some(false),
        );
        let two = CompleteMfaRequest {
            code: text(),
            recovery_code: text(),
            ..none()
        };
        check(two, None);
        let both = CompleteMfaRequest {
            code: text(),
            send_sms: true,
            ..none()
        };
        check(both, None);
    }

    #[test]
    fn our_cookie_is_found_among_others() {
        let check = |sent: &str, expected: Option<&str>| {
            let mut metadata = MetadataMap::new();
            metadata.insert("cookie", sent.parse().unwrap());
            assert_eq!(cookie(&metadata).as_deref(), expected, "{sent}");
        };
        check("__Host-palisade-oidc=abc", Some("abc"));
        check("a=b; __Host-palisade-oidc=abc; c=d", Some("abc"));
        check("x__Host-palisade-oidc=abc", None);
        check("a=b", None);
        assert_eq!(cookie(&MetadataMap::new()), None);
    }

    #[test]
    fn the_cookie_is_bound_to_this_host() {
        let mut metadata = MetadataMap::new();
        set_cookie(&mut metadata, "abc", 600).unwrap();
        assert_eq!(
            metadata.get(SET_COOKIE).unwrap(),
            "__Host-palisade-oidc=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"
        );
    }
}
