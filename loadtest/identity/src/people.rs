//! Accounts to sign in to.

use anyhow::Context;
use core_proto::{
    auth::v1::{LoginRequest, RegisterRequest, TokenResponse},
    user::v1::GetProfileRequest,
};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Request, Status};

use crate::service::{Clients, Service};

const PASSWORD: &str = "notes-on-the-engine";
/// Registrations at a time; each costs a password hash.
const AT_ONCE: usize = 16;

pub(crate) struct People(Vec<Person>);

#[derive(Clone)]
pub(crate) struct Person {
    email: String,
    pub(crate) handle: String,
}

impl People {
    pub(crate) async fn register(service: &Service, count: u32) -> anyhow::Result<Self> {
        let people = stream::iter(0..count)
            .map(|number| async move {
                let clients = service.clients(usize::try_from(number)?);
                let registered = Person::register(clients, number).await;
                registered.context("registration")
            })
            .buffered(AT_ONCE);
        let people = people.try_collect().await?;
        service.settle().await?;
        Ok(Self(people))
    }

    /// The one with this number; they begin again after the last.
    pub(crate) fn get(&self, number: usize) -> &Person {
        &self.0[number % self.0.len()]
    }

    pub(crate) fn all(&self) -> &[Person] {
        &self.0
    }
}

impl Person {
    async fn register(clients: Clients, number: u32) -> Result<Self, Status> {
        let email = format!("load-{number}@palisade.test");
        let request = RegisterRequest {
            email: email.clone(),
            password: PASSWORD.to_owned(),
            name: format!("Ada Lovelace {number}"),
        };
        clients.auth.clone().register(request).await?;
        let mut person = Self {
            email,
            handle: String::new(),
        };
        let tokens = person.sign_in(&clients).await?;
        let request = with_token(GetProfileRequest {}, &tokens.access_token)?;
        let profile = clients.user.clone().get_profile(request).await?;
        person.handle = profile.into_inner().handle;
        Ok(person)
    }

    pub(crate) async fn sign_in(&self, clients: &Clients) -> Result<TokenResponse, Status> {
        let mut request = Request::new(LoginRequest {
            email: self.email.clone(),
            password: PASSWORD.to_owned(),
        });
        // As the edge says it, so that the count of failures by network is looked up, too.
        let client = "198.18.0.1"
            .parse()
            .map_err(|_| Status::internal("address"))?;
        request.metadata_mut().insert("x-forwarded-for", client);
        Ok(clients.auth.clone().login(request).await?.into_inner())
    }
}

pub(crate) fn with_token<T>(message: T, access: &str) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = format!("Bearer {access}").parse();
    let value = value.map_err(|_| Status::internal("no token"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}
