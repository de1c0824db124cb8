//! Routes and what they inherit, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::actions::{
    BackendDoc, CacheDoc, CorsDoc, HeaderEditsDoc, MirrorDoc, OnReloadDoc, PriorityDoc,
    RedirectDoc, RespondDoc, RetriesDoc, RewriteDoc, WebSocketDoc,
};
use super::api::{DocsDoc, OpenApiDoc};
use super::auth::{AuthDoc, ModeDoc};
use super::compression::CompressionDoc;
use super::matches::MatchDoc;
use crate::field::{Either, Field, List};

/// A route has keys of its own and keys that it inherits where it does not give them: from the
/// `defaults` of its host, then from the `defaults` of all. What is given replaces what is inherited.
macro_rules! route {
    (
        own { $($(#[$own_doc:meta])* $own:ident: $own_type:ty,)* }
        inherited { $($(#[$doc:meta])* $key:ident: $type:ty,)* }
    ) => {
        /// Which requests go where, and who may send them.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct RouteDoc {
            $($(#[$own_doc])* pub(crate) $own: $own_type,)*
            $($(#[$doc])* pub(crate) $key: $type,)*
        }

        /// What routes have that do not say otherwise.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct DefaultsDoc {
            $($(#[$doc])* pub(crate) $key: $type,)*
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
        /// The `http_route` of metrics and logs.
        ///
        /// name; required
        name: Field<String>,
        /// `api.example.com`, `*.example.com` (whole labels, one or more), `10.0.0.1`, `[::1]`; lower
        /// case, no port.
        ///
        /// list of hosts; every host
        hosts: List<String>,
        /// Any of them; within one, all conditions hold.
        ///
        /// list of maps; required
        matches: List<MatchDoc>,
        /// Where requests go.
        ///
        /// name; one of these six is required
        cluster: Field<String>,
        /// Clusters with weights instead of one, at most 16: `cluster` and `weight` (0 to 1,000,000,
        /// default `1`), a share of the sum; all tries of a request go to one.
        ///
        /// list of maps; none
        backends: List<BackendDoc>,
        /// Where clients are sent.
        ///
        /// map; none
        redirect: Field<RedirectDoc>,
        /// An answer of the edge's own.
        ///
        /// map; none
        respond: Field<RespondDoc>,
        /// A description of what its host takes on routes that `translate`, made of the descriptors.
        ///
        /// map; none
        openapi: Field<OpenApiDoc>,
        /// A page to read such a description, and to try it out.
        ///
        /// map; none
        docs: Field<DocsDoc>,
        /// REST and JSON become gRPC calls by the cluster's `descriptors`; requests that are gRPC
        /// already pass as they are.
        ///
        /// boolean; `false`
        translate: Field<bool>,
        /// What upstreams are asked for.
        ///
        /// map; as the client asked
        rewrite: Field<RewriteDoc>,
        /// A copy for another cluster, whose answers nobody sees.
        ///
        /// map; none
        mirror: Field<MirrorDoc>,
        /// WebSocket connections are taken on these terms; `{}` for the defaults.
        ///
        /// map; refused with 403
        websocket: Field<WebSocketDoc>,
    }
    inherited {
        /// Served without TLS too, instead of a redirect to https; tokens then travel in the clear.
        ///
        /// boolean; `false`
        plain_http: Field<bool>,
        /// `shadow` counts and logs what `auth`, `access` and `limits` would have refused, and refuses
        /// nothing.
        ///
        /// `enforce` `shadow`; `enforce`
        mode: Field<ModeDoc>,
        /// Who is served while `listeners.requests` has little left, judged before tokens are.
        ///
        /// `critical` `high` `normal` `low`; `normal`
        priority: Field<PriorityDoc>,
        /// What becomes of streams under way when their own route or credential goes away.
        ///
        /// `keep` `drain` `cut`; `keep`
        on_reload: Field<OnReloadDoc>,
        /// Who may use it, and how they show who they are.
        ///
        /// `none` or map; `none`
        auth: Field<Either<AuthDoc>>,
        /// At most 16 access rules; all must let the request pass.
        ///
        /// list of names; none
        access: List<String>,
        /// At most 8; all must allow, taken in this order.
        ///
        /// list of names; none
        limits: List<String>,
        /// Which pages of other origins may use it.
        ///
        /// `off` or map; browsers keep pages of other origins away
        cors: Field<Either<CorsDoc>>,
        /// One of `caches`, or a rule of its own.
        ///
        /// `off`, name or map; nothing is kept
        cache: Field<Either<CacheDoc>>,
        /// Answers made smaller for clients that take it.
        ///
        /// `off` or map; `off`
        compression: Field<Either<CompressionDoc>>,
        /// At most 16, one after the other, then the two below; the later wins.
        ///
        /// list of names; none
        header_sets: List<String>,
        /// What is changed on the way upstream.
        ///
        /// map; none
        request_headers: Field<HeaderEditsDoc>,
        /// What is changed on the way downstream.
        ///
        /// map; none
        response_headers: Field<HeaderEditsDoc>,
        /// From the end of the request head to the end of the response; without it streams live as long
        /// as `timeouts` of the cluster let them.
        ///
        /// duration, 1ms to 1d, or `off`; none
        request_timeout: Field<String>,
        /// A larger body is answered 413.
        ///
        /// size, 0 to 16GiB; `16MiB`
        request_body_max: Field<String>,
        /// A larger body is answered 502 where the upstream announces it, and broken off where it does
        /// not.
        ///
        /// size, 0 to 16GiB; none
        response_body_max: Field<String>,
        /// Another try after one that failed, beyond the cluster's `connect_retries`.
        ///
        /// `off` or map; `off`
        retries: Field<Either<RetriesDoc>>,
    }
}
