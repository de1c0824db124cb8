//! `auth.v1.KeyService`.

use std::sync::Arc;

use core_platform::{audit::Actor, clock, validate::Validator};
use core_proto::auth::v1::{
    ApiKey, CreateApiKeyRequest, CreateApiKeyResponse, IntrospectRequest, IntrospectResponse,
    ListApiKeysRequest, ListApiKeysResponse, Revocation, Revocations as WireRevocations,
    RevokeApiKeyRequest, RotateSigningKeyRequest, RotateSigningKeyResponse,
    WatchRevocationsRequest, key_service_server::KeyService,
};
use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, async_trait};

use super::{caller, timestamp, uuid, with_http_status};
use crate::{
    api_keys::{ApiKeys, Introspected, Listed, NewKey},
    keys::SigningKeys,
    revocations::{Batch, Revocations},
    store::revocations::RevocationRow,
};

pub(crate) struct Keys {
    pub(crate) api_keys: ApiKeys,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) revocations: Revocations,
    pub(crate) validator: Arc<Validator>,
}

#[async_trait]
impl KeyService for Keys {
    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let CreateApiKeyRequest { name, scopes, days } = request.into_inner();
        let new = NewKey {
            name,
            scopes: scopes.into_iter().collect(),
            days: days.and_then(|days| u32::try_from(days).ok()),
        };
        let (key, listed) = self.api_keys.create(&caller, new, clock::now()).await?;
        let answer = CreateApiKeyResponse {
            key: key.text(),
            api_key: Some(listed.into()),
        };
        Ok(with_http_status(answer, "201"))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let found = self.api_keys.list(&caller(&request)?, clock::now()).await?;
        Ok(Response::new(ListApiKeysResponse {
            api_keys: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let id = uuid("id", &request.get_ref().id)?;
        self.api_keys
            .revoke(&caller(&request)?, id, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let (caller, now) = (caller(&request)?, clock::now());
        self.api_keys.sessions.require_live(&caller, now).await?;
        let by = Actor::User(caller.user);
        let (next, status) = if request.get_ref().compromised {
            (self.signing_keys.replace(by, now).await?, "200")
        } else {
            (self.signing_keys.rotate(by, now).await?, "202")
        };
        let answer = RotateSigningKeyResponse {
            kid: next.kid,
            signs_from: Some(timestamp(next.signs_from)),
        };
        Ok(with_http_status(answer, status))
    }

    async fn introspect(
        &self,
        request: Request<IntrospectRequest>,
    ) -> Result<Response<IntrospectResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let token = &request.get_ref().token;
        let found = self.api_keys.introspect(token, clock::now()).await?;
        Ok(Response::new(found.map(Into::into).unwrap_or_default()))
    }

    type WatchRevocationsStream = BoxStream<'static, Result<WireRevocations, Status>>;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        self.validator.check(request.get_ref())?;
        let batches = self.revocations.watch(request.get_ref().after).await?;
        let messages = batches.map(|batch| match batch {
            Ok(batch) => Ok(batch.into()),
            Err(error) => Err(error.into()),
        });
        Ok(Response::new(messages.boxed()))
    }
}

impl From<Listed> for ApiKey {
    fn from(key: Listed) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            created_at: Some(timestamp(key.created_at)),
            expires_at: Some(timestamp(key.expires_at)),
            last_used_at: key.last_used_at.map(timestamp),
        }
    }
}

impl From<Introspected> for IntrospectResponse {
    fn from(found: Introspected) -> Self {
        let (access_token, until) = found.access.unzip();
        Self {
            active: true,
            kind: found.kind.to_owned(),
            subject: found.user.to_string(),
            id: found.id.to_string(),
            scopes: found.scopes,
            expires_at: Some(timestamp(found.expires_at)),
            access_token: access_token.unwrap_or_default(),
            access_token_expires_at: until.map(timestamp),
        }
    }
}

impl From<Batch> for WireRevocations {
    fn from(batch: Batch) -> Self {
        let revocations = batch.revocations.into_iter();
        Self {
            cursor: batch.cursor,
            revocations: revocations.map(Into::into).collect(),
        }
    }
}

impl From<RevocationRow> for Revocation {
    fn from(row: RevocationRow) -> Self {
        Self {
            kind: row.kind,
            id: row.id,
            at: Some(timestamp(row.at)),
            until: Some(timestamp(row.until)),
        }
    }
}
