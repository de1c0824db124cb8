//! Routes and what they inherit, as written.

use serde::Deserialize;

use super::actions::{
    BackendDoc, CacheDoc, CorsDoc, HeaderEditsDoc, MirrorDoc, OnReloadDoc, PriorityDoc,
    RedirectDoc, RespondDoc, RetriesDoc, RewriteDoc, WebSocketDoc,
};
use super::auth::{AuthDoc, ModeDoc};
use super::matches::MatchDoc;
use crate::field::{Either, Field, List};

/// A route has keys of its own and keys that it inherits where it does not give them: from the
/// `defaults` of its host, then from the `defaults` of all. What is given replaces what is inherited.
macro_rules! route {
    (own { $($own:ident: $own_type:ty,)* } inherited { $($key:ident: $type:ty,)* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct RouteDoc {
            $(pub(crate) $own: $own_type,)*
            $(pub(crate) $key: $type,)*
        }

        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct DefaultsDoc {
            $(pub(crate) $key: $type,)*
        }

        /// What holds for a route: its own word, or the nearest inherited one. Marks tell which.
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct Settings<'d> {
            $(pub(crate) $key: &'d $type,)*
        }

        impl<'d> Settings<'d> {
            /// `layers` from the nearest to the farthest.
            pub(crate) fn of(route: &'d RouteDoc, layers: &[&'d DefaultsDoc]) -> Self {
                Self {
                    $($key: match layers.iter().find(|layer| !layer.$key.is_absent()) {
                        Some(layer) if route.$key.is_absent() => &layer.$key,
                        _ => &route.$key,
                    },)*
                }
            }

            /// Each key that is given somewhere, and where.
            pub(crate) fn given(&self) -> Vec<(&'static str, crate::diagnostic::Mark)> {
                let all = [$((stringify!($key), self.$key.given().map(|at| at.mark)),)*];
                all.into_iter().filter_map(|(key, mark)| Some((key, mark?))).collect()
            }
        }
    };
}

route! {
    own {
        name: Field<String>,
        hosts: List<String>,
        matches: List<MatchDoc>,
        cluster: Field<String>,
        backends: List<BackendDoc>,
        redirect: Field<RedirectDoc>,
        respond: Field<RespondDoc>,
        translate: Field<bool>,
        rewrite: Field<RewriteDoc>,
        mirror: Field<MirrorDoc>,
        websocket: Field<WebSocketDoc>,
    }
    inherited {
        plain_http: Field<bool>,
        mode: Field<ModeDoc>,
        priority: Field<PriorityDoc>,
        on_reload: Field<OnReloadDoc>,
        auth: Field<Either<AuthDoc>>,
        access: List<String>,
        limits: List<String>,
        cors: Field<Either<CorsDoc>>,
        cache: Field<Either<CacheDoc>>,
        header_sets: List<String>,
        request_headers: Field<HeaderEditsDoc>,
        response_headers: Field<HeaderEditsDoc>,
        request_timeout: Field<String>,
        request_body_max: Field<String>,
        response_body_max: Field<String>,
        retries: Field<Either<RetriesDoc>>,
    }
}
