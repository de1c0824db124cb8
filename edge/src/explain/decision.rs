//! The short answer: which route, whose answer, which cluster. Cheap enough to be asked a million times.

use std::sync::Arc;

use palisade_policy::hosts::Host;
use palisade_policy::model::{Action, Route};

use super::question::{Asked, Question, Unaskable};
use crate::respond;
use crate::snapshot::Snapshot;
use crate::stages::{self, Admitted, Refused};

/// What becomes of a request. Two are equal where the route has the same name, and the answer and
/// the cluster are the same; what the route says itself is for the asker to compare.
#[derive(Debug, Clone)]
pub struct Decision {
    /// As far as one was found.
    pub route: Option<Arc<Route>>,
    /// Where the edge answers itself.
    pub answer: Option<Answer>,
    /// Where the request goes on.
    pub cluster: Option<Arc<str>>,
    /// As far as the host was understood.
    pub host_rules: Option<Arc<Host>>,
}

/// An answer of the edge's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    pub status: u16,
    /// Its stable name, as the log has it in `reason`.
    pub code: &'static str,
}

impl Answer {
    /// Where the route is answered here.
    fn of_route(route: &Route) -> Option<Self> {
        let status = match &route.action {
            Action::Redirect(redirect) => redirect.status,
            Action::Respond(response) => response.status,
            Action::OpenApi(_) | Action::Docs(_) => http::StatusCode::OK,
            Action::Forward(_) | Action::Tombstone => return None,
        };
        Some(Self {
            status: status.as_u16(),
            code: respond::reason(&route.action)?,
        })
    }

    /// Of the edge's own, if it is.
    pub(super) fn of(outcome: &Result<Admitted, Box<Refused>>) -> Option<Self> {
        match outcome {
            Ok(admitted) => Self::of_route(&admitted.route),
            Err(refused) => Some(Self {
                status: refused.rejection.status().as_u16(),
                code: refused.rejection.code(),
            }),
        }
    }
}

impl Decision {
    pub fn route_name(&self) -> Option<&str> {
        self.route.as_deref().map(|route| &*route.name)
    }
}

impl PartialEq for Decision {
    fn eq(&self, other: &Self) -> bool {
        self.route_name() == other.route_name()
            && self.answer == other.answer
            && self.cluster == other.cluster
    }
}

impl Eq for Decision {}

/// What traffic would be told, without a trace: nothing is counted.
///
/// # Errors
/// The question is not about a request that could be sent.
pub fn decide(snapshot: &Snapshot, question: &Question) -> Result<Decision, Unaskable> {
    let (mut head, asked) = Asked::of(question, snapshot)?;
    let outcome = stages::admit(snapshot, &mut head, asked.downstream(), asked.now);
    let answer = Answer::of(&outcome);
    let (route, cluster, host_rules) = match outcome {
        Ok(admitted) => {
            let cluster = admitted.cluster.and_then(|id| snapshot.cluster(id));
            let cluster = cluster.map(|cluster| cluster.name.clone());
            (Some(admitted.route), cluster, Some(admitted.host_rules))
        }
        Err(refused) => (refused.route, None, refused.host_rules),
    };
    Ok(Decision {
        route,
        answer,
        cluster,
        host_rules,
    })
}
