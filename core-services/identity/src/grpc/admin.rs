//! `user.v1.AdminService`.

use std::sync::Arc;

use core_platform::{
    audit::{Entry, Filter},
    clock::{self, UnixMicros},
    cursor::{Cursors, Query},
    pages::Pages,
    validate::Validator,
};
use core_proto::user::v1::{
    AuditEvent, GrantRoleRequest, ListAuditEventsRequest, ListAuditEventsResponse,
    ListRolesRequest, ListRolesResponse, ListUsersRequest, ListUsersResponse, RevokeRoleRequest,
    Role, SuspendUserRequest, User, admin_service_server::AdminService,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{caller, timestamp, uuid, with_http_status};
use crate::administration::{Administration, Listed};

pub(crate) struct Admin {
    pub(crate) administration: Administration,
    pub(crate) cursors: Cursors,
    pub(crate) validator: Arc<Validator>,
}

#[async_trait]
impl AdminService for Admin {
    async fn grant_role(&self, request: Request<GrantRoleRequest>) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let GrantRoleRequest { user_id, role } = request.get_ref();
        let user = uuid("user_id", user_id)?;
        self.administration
            .grant(&caller(&request)?, user, role, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn revoke_role(
        &self,
        request: Request<RevokeRoleRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let RevokeRoleRequest { user_id, role } = request.get_ref();
        let user = uuid("user_id", user_id)?;
        self.administration
            .take(&caller(&request)?, user, role, clock::now())
            .await?;
        Ok(with_http_status((), "204"))
    }

    async fn list_roles(
        &self,
        request: Request<ListRolesRequest>,
    ) -> Result<Response<ListRolesResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let found = self
            .administration
            .roles(&caller(&request)?, clock::now())
            .await?;
        let roles = found.into_iter().map(|(name, permissions)| Role {
            name,
            permissions: permissions.into_iter().collect(),
        });
        Ok(Response::new(ListRolesResponse {
            roles: roles.collect(),
        }))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let (from, until) = (asked.from.map(micros), asked.until.map(micros));
        let id = caller.user.to_string();
        let distinct = format!(
            "{:?}",
            (&asked.subject, &asked.actor, &asked.action, from, until)
        );
        let pages = Pages {
            cursors: &self.cursors,
            query: Query {
                list: "user.v1.AdminService.ListAuditEvents",
                caller: &id,
                filter: distinct.as_bytes(),
            },
            size: asked.page_size,
        };
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let filter = Filter {
            subject: given(&asked.subject),
            actor: given(&asked.actor),
            action: given(&asked.action),
            from,
            until,
            before: pages.after(&asked.page_token)?,
            limit: pages.limit(),
        };
        let found = self
            .administration
            .audit_events(&caller, &filter, clock::now())
            .await?;
        let (found, next_page_token) = pages.cut(found, |entry| entry.seq)?;
        Ok(Response::new(ListAuditEventsResponse {
            events: found.into_iter().map(wire_event).collect(),
            next_page_token,
        }))
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        self.validator.check(request.get_ref())?;
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let id = caller.user.to_string();
        let pages = Pages {
            cursors: &self.cursors,
            query: Query {
                list: "user.v1.AdminService.ListUsers",
                caller: &id,
                filter: asked.email.as_bytes(),
            },
            size: asked.page_size,
        };
        let after: Option<Uuid> = pages.after(&asked.page_token)?;
        let email = Some(asked.email.as_str()).filter(|email| !email.is_empty());
        let found = self
            .administration
            .users(&caller, email, after, pages.limit(), clock::now())
            .await?;
        let (found, next_page_token) = pages.cut(found, |listed| listed.user.id)?;
        Ok(Response::new(ListUsersResponse {
            users: found.into_iter().map(Into::into).collect(),
            next_page_token,
        }))
    }

    async fn suspend_user(
        &self,
        request: Request<SuspendUserRequest>,
    ) -> Result<Response<()>, Status> {
        self.validator.check(request.get_ref())?;
        let (caller, now) = (caller(&request)?, clock::now());
        let user = uuid("user_id", &request.get_ref().user_id)?;
        if request.get_ref().lift {
            self.administration.reinstate(&caller, user, now).await?;
        } else {
            self.administration.suspend(&caller, user, now).await?;
        }
        Ok(with_http_status((), "204"))
    }
}

fn micros(at: Timestamp) -> UnixMicros {
    let nanos = i64::from(at.nanos);
    UnixMicros(
        at.seconds
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1_000),
    )
}

fn wire_event(entry: Entry) -> AuditEvent {
    AuditEvent {
        id: entry.id.to_string(),
        at: Some(timestamp(entry.at)),
        actor_kind: entry.actor_kind,
        actor: entry.actor,
        action: entry.action,
        subject: entry.subject.unwrap_or_default(),
        detail: entry.detail,
        network: entry.address_prefix.unwrap_or_default(),
    }
}

impl From<Listed> for User {
    fn from(listed: Listed) -> Self {
        let (email, email_verified) = listed
            .email
            .map_or_else(Default::default, |email| (email.value, email.verified));
        let user = listed.user;
        Self {
            id: user.id.to_string(),
            handle: user.handle,
            display_name: user.display_name,
            email,
            email_verified,
            created_at: Some(timestamp(user.created_at)),
            suspended_at: user.standing.suspended_at.map(timestamp),
            delete_at: user.standing.delete_at.map(timestamp),
            roles: listed.roles,
        }
    }
}
