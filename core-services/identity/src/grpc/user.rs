//! `user.v1.UserService`.

use std::sync::Arc;

use core_platform::{
    clock::{self, UnixMicros},
    cursor::{Cursors, Query},
    pages::Pages,
    validate::Validator,
};
use core_proto::{
    google::api::HttpBody,
    user::v1::{
        AccountExport, BatchGetUsersRequest, BatchGetUsersResponse, DeleteAccountRequest,
        DeleteAccountResponse, DeleteRelationshipRequest, DownloadExportRequest,
        ExportAccountRequest, GetPreferencesRequest, GetProfileRequest, GetPublicProfileRequest,
        ListRelationshipsRequest, ListRelationshipsResponse, Preferences, Profile, PublicProfile,
        PutRelationshipRequest, Relationship, UpdatePreferencesRequest, UpdateProfileRequest,
        user_service_server::UserService,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{caller, if_match, timestamp, uuid, with_etag, with_http_status};
use crate::{
    accounts::Accounts,
    error::Error,
    exports::Exports,
    json,
    profiles::{self, ProfileChange, Profiles, Verifiable, Versioned},
    relationships::{Entry, Kind, List, Relationships},
    store::{exports::ExportRow, relationships::Related, users::PublicRow},
};

/// An archive is sent in parts of this size.
const CHUNK_BYTES: usize = 64 * 1024;

pub(crate) struct Users {
    pub(crate) profiles: Profiles,
    pub(crate) relationships: Relationships,
    pub(crate) exports: Arc<Exports>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) cursors: Cursors,
    pub(crate) validator: Arc<Validator>,
}

#[async_trait]
impl UserService for Users {
    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        self.validator.check(request.get_ref())?;
        let profile = self.profiles.get(&caller(&request)?, clock::now()).await?;
        let version = profile.version;
        Ok(with_etag(profile.into(), version))
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        self.validator.check(request.get_ref())?;
        let (caller, only_if) = (caller(&request)?, if_match(request.metadata()));
        let UpdateProfileRequest {
            name,
            display_name,
            phone,
            handle,
        } = request.into_inner();
        let change = ProfileChange {
            handle,
            name,
            display_name,
            phone,
        };
        let profile = self
            .profiles
            .update(&caller, &change, only_if, clock::now())
            .await?;
        let version = profile.version;
        Ok(with_etag(profile.into(), version))
    }

    async fn get_preferences(
        &self,
        request: Request<GetPreferencesRequest>,
    ) -> Result<Response<Preferences>, Status> {
        self.validator.check(request.get_ref())?;
        let preferences = self
            .profiles
            .preferences(&caller(&request)?, clock::now())
            .await?;
        Ok(wire_preferences(&preferences))
    }

    async fn update_preferences(
        &self,
        request: Request<UpdatePreferencesRequest>,
    ) -> Result<Response<Preferences>, Status> {
        self.validator.check(request.get_ref())?;
        let (caller, only_if) = (caller(&request)?, if_match(request.metadata()));
        let values = request.into_inner().values.unwrap_or_default();
        let patch = json::from_struct(values).ok_or(Error::Invalid("values", "is no JSON"))?;
        let preferences = self
            .profiles
            .update_preferences(&caller, patch, only_if, clock::now())
            .await?;
        Ok(wire_preferences(&preferences))
    }

    async fn get_public_profile(
        &self,
        request: Request<GetPublicProfileRequest>,
    ) -> Result<Response<PublicProfile>, Status> {
        self.validator.check(request.get_ref())?;
        let found = self.profiles.public(&request.get_ref().handle).await?;
        Ok(Response::new(found.into()))
    }

    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let ids = request.get_ref().ids.iter();
        let ids = ids.map(|id| uuid("ids", id)).collect::<Result<_, _>>()?;
        let found = self.profiles.batch(ids).await?;
        Ok(Response::new(BatchGetUsersResponse {
            users: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn put_relationship(
        &self,
        request: Request<PutRelationshipRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let PutRelationshipRequest { user_id, kind } = request.get_ref();
        let (target, kind) = (uuid("user_id", user_id)?, kind_of(kind)?);
        self.relationships
            .put(&caller(&request)?, target, kind, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn delete_relationship(
        &self,
        request: Request<DeleteRelationshipRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let DeleteRelationshipRequest { user_id, kind } = request.get_ref();
        let (target, kind) = (uuid("user_id", user_id)?, kind_of(kind)?);
        self.relationships
            .delete(&caller(&request)?, target, kind, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn list_relationships(
        &self,
        request: Request<ListRelationshipsRequest>,
    ) -> Result<Response<ListRelationshipsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let list = match asked.kind.as_str() {
            "followers" => List::Followers,
            kind => List::Of(kind_of(kind)?),
        };
        let id = caller.user.to_string();
        let pages = Pages {
            cursors: &self.cursors,
            query: Query {
                list: "user.v1.UserService.ListRelationships",
                caller: &id,
                filter: asked.kind.as_bytes(),
            },
            size: asked.page_size,
        };
        let after: Option<(i64, Uuid)> = pages.after(&asked.page_token)?;
        let after = after.map(|(since, user)| Related {
            user,
            since: UnixMicros(since),
        });
        let found = self
            .relationships
            .list(&caller, list, after, pages.limit(), clock::now())
            .await?;
        let position = |(last, _): &Entry| (last.since.0, last.user);
        let (found, next_page_token) = pages.cut(found, position)?;
        Ok(Response::new(ListRelationshipsResponse {
            relationships: found.into_iter().map(wire_relationship).collect(),
            next_page_token,
        }))
    }

    async fn export_account(
        &self,
        request: Request<ExportAccountRequest>,
    ) -> Result<Response<AccountExport>, Status> {
        self.validator.check(request.get_ref())?;
        let export = self
            .exports
            .request(&caller(&request)?, clock::now())
            .await?;
        Ok(with_http_status(export.into(), "202"))
    }

    type DownloadExportStream = BoxStream<'static, Result<HttpBody, Status>>;

    async fn download_export(
        &self,
        request: Request<DownloadExportRequest>,
    ) -> Result<Response<Self::DownloadExportStream>, Status> {
        self.validator.check(request.get_ref())?;
        let id = uuid("id", &request.get_ref().id)?;
        let archive = self
            .exports
            .download(&caller(&request)?, id, clock::now())
            .await?;
        Ok(Response::new(in_chunks(&archive)))
    }

    async fn delete_account(
        &self,
        request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let delete_at = self
            .accounts
            .close(&caller(&request)?, clock::now())
            .await?;
        let answer = DeleteAccountResponse {
            delete_at: Some(timestamp(delete_at)),
        };
        Ok(with_http_status(answer, "202"))
    }
}

/// The input rules admit no other.
fn kind_of(name: &str) -> Result<Kind, Error> {
    Kind::parse(name).ok_or(Error::Invalid("kind", "is none"))
}

fn in_chunks(archive: &[u8]) -> BoxStream<'static, Result<HttpBody, Status>> {
    let chunks: Vec<_> = archive
        .chunks(CHUNK_BYTES)
        .map(|chunk| {
            Ok(HttpBody {
                content_type: "application/zip".to_owned(),
                data: chunk.to_vec(),
                extensions: Vec::new(),
            })
        })
        .collect();
    stream::iter(chunks).boxed()
}

fn wire_relationship((related, user): Entry) -> Relationship {
    Relationship {
        user: user.map(Into::into),
        since: Some(timestamp(related.since)),
    }
}

impl From<ExportRow> for AccountExport {
    fn from(row: ExportRow) -> Self {
        Self {
            id: row.id.to_string(),
            ready: row.ready,
            created_at: Some(timestamp(row.created_at)),
            expires_at: Some(timestamp(row.expires_at)),
        }
    }
}

fn wire_preferences(preferences: &Versioned) -> Response<Preferences> {
    let values = Some(json::to_struct(&preferences.values));
    with_etag(Preferences { values }, preferences.version)
}

impl From<profiles::Profile> for Profile {
    fn from(profile: profiles::Profile) -> Self {
        let parts = |contact: Option<Verifiable>| {
            contact.map_or_else(Default::default, |contact| {
                (contact.value, contact.verified)
            })
        };
        let (email, email_verified) = parts(profile.email);
        let (phone, phone_verified) = parts(profile.phone);
        Self {
            id: profile.id.to_string(),
            email,
            name: profile.name,
            display_name: profile.display_name,
            phone,
            created_at: Some(timestamp(profile.created_at)),
            updated_at: Some(timestamp(profile.updated_at)),
            handle: profile.handle,
            email_verified,
            phone_verified,
        }
    }
}

impl From<PublicRow> for PublicProfile {
    fn from(row: PublicRow) -> Self {
        Self {
            id: row.id.to_string(),
            handle: row.handle,
            display_name: row.display_name,
            created_at: Some(timestamp(row.created_at)),
        }
    }
}
