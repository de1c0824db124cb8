//! `user.v1.UserService`.

use std::sync::Arc;

use core_platform::{clock, validate::Validator};
use core_proto::user::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, GetPreferencesRequest, GetProfileRequest,
    GetPublicProfileRequest, Preferences, Profile, PublicProfile, UpdatePreferencesRequest,
    UpdateProfileRequest, user_service_server::UserService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{caller, if_match, timestamp, uuid, with_etag};
use crate::{
    error::Error,
    json,
    profiles::{self, ProfileChange, Profiles, Verifiable, Versioned},
    store::users::PublicRow,
};

pub(crate) struct Users {
    pub(crate) profiles: Profiles,
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
