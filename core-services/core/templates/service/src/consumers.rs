//! What other services tell, and what follows from it here.
//! Invariant: a handler writes through its transaction only, so it happens once.

use core_platform::{
    db::Tx,
    events::{Consumer, Event, Failure},
};
use futures::future::BoxFuture;

use crate::store::owners;

/// Follows the users: with an account goes all that was its owner's.
pub(crate) fn users() -> Consumer {
    Consumer::new("sample-users", &["user.deleted"], forget)
}

type Handled<'a> = BoxFuture<'a, Result<(), Failure>>;

pub(crate) fn forget<'a>(tx: &'a mut Tx, event: &'a Event) -> Handled<'a> {
    Box::pin(async move {
        let user = event.subject.parse();
        let user = user.map_err(|_| Failure::Permanent("the subject is no user".to_owned()))?;
        owners::delete(tx, user).await?;
        Ok(())
    })
}
