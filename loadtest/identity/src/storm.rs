//! Some read profiles while others sign in without pause: hashing takes every core there is.

use std::time::Duration;

use crate::{
    measure::{Answers, call, ready},
    people::People,
    service::Service,
    worker::Kind,
};

/// Who reads.
const READERS: usize = 4;
/// The storm begins before the reading and ends after it.
const LEAD: Duration = Duration::from_secs(1);

pub(crate) struct Storm {
    /// Who signs in.
    pub(crate) callers: usize,
    pub(crate) reads: Answers,
    pub(crate) logins: Answers,
}

pub(crate) async fn run(
    service: &Service,
    people: &People,
    callers: usize,
    length: Duration,
) -> anyhow::Result<Storm> {
    let readers = ready(service, people, Kind::GetProfile, READERS).await?;
    let storm = ready(service, people, Kind::Login, callers).await?;
    service.settle().await?;
    let reading = async {
        tokio::time::sleep(LEAD).await;
        call(readers, length).await
    };
    let (reads, logins) = tokio::join!(reading, call(storm, length + 2 * LEAD));
    service.settle().await?;
    Ok(Storm {
        callers,
        reads: reads?,
        logins: logins?,
    })
}
