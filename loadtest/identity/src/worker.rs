//! One caller, who does the same thing again and again.

use core_proto::{
    auth::v1::RefreshRequest,
    user::v1::{GetProfileRequest, GetPublicProfileRequest, UpdateProfileRequest},
};
use tonic::Status;

use crate::{
    people::{People, Person, with_token},
    service::{Clients, Service},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Login,
    Refresh,
    /// Each caller the same profile, which a cache may hold.
    GetProfile,
    /// The profile is another one each time, so that no cache holds it.
    ChangeAndGetProfile,
    GetPublicProfile,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Login,
        Self::Refresh,
        Self::GetProfile,
        Self::ChangeAndGetProfile,
        Self::GetPublicProfile,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Login => "`Login`",
            Self::Refresh => "`Refresh`",
            Self::GetProfile => "`GetProfile`",
            Self::ChangeAndGetProfile => "`UpdateProfile`, `GetProfile`",
            Self::GetPublicProfile => "`GetPublicProfile`",
        }
    }
}

pub(crate) struct Worker {
    clients: Clients,
    does: Does,
}

enum Does {
    /// Signs in as one after the other.
    Login {
        people: Vec<Person>,
        next: usize,
    },
    Refresh {
        token: String,
    },
    GetProfile {
        access: String,
    },
    ChangeAndGetProfile {
        access: String,
        changes: u64,
    },
    GetPublicProfile {
        handle: String,
    },
}

impl Worker {
    /// The caller with this number of so many, signed in where it has to be.
    pub(crate) async fn ready(
        service: &Service,
        people: &People,
        kind: Kind,
        (number, of): (usize, usize),
    ) -> Result<Self, Status> {
        let clients = service.clients(number);
        let person = people.get(number);
        let does = match kind {
            Kind::Login => Does::Login {
                // Nobody signs in twice at the same time.
                people: people
                    .all()
                    .iter()
                    .skip(number)
                    .step_by(of)
                    .cloned()
                    .collect(),
                next: 0,
            },
            Kind::Refresh => Does::Refresh {
                token: person.sign_in(&clients).await?.refresh_token,
            },
            Kind::GetProfile => Does::GetProfile {
                access: person.sign_in(&clients).await?.access_token,
            },
            Kind::ChangeAndGetProfile => Does::ChangeAndGetProfile {
                access: person.sign_in(&clients).await?.access_token,
                changes: 0,
            },
            Kind::GetPublicProfile => Does::GetPublicProfile {
                handle: person.handle.clone(),
            },
        };
        Ok(Self { clients, does })
    }

    pub(crate) async fn call(&mut self) -> Result<(), Status> {
        let Clients { auth, user } = &mut self.clients;
        match &mut self.does {
            Does::Login { people, next } => {
                let person = &people[*next % people.len()];
                *next += 1;
                person.sign_in(&self.clients).await?;
            }
            Does::Refresh { token } => {
                let request = RefreshRequest {
                    refresh_token: token.clone(),
                };
                *token = auth.refresh(request).await?.into_inner().refresh_token;
            }
            Does::GetProfile { access } => {
                user.get_profile(with_token(GetProfileRequest {}, access)?)
                    .await?;
            }
            Does::ChangeAndGetProfile { access, changes } => {
                *changes += 1;
                let change = UpdateProfileRequest {
                    display_name: Some(format!("Ada {changes}")),
                    ..UpdateProfileRequest::default()
                };
                user.update_profile(with_token(change, access)?).await?;
                user.get_profile(with_token(GetProfileRequest {}, access)?)
                    .await?;
            }
            Does::GetPublicProfile { handle } => {
                let request = GetPublicProfileRequest {
                    handle: handle.clone(),
                };
                user.get_public_profile(request).await?;
            }
        }
        Ok(())
    }
}
