//! What operators can count here.
//! Invariant: labels come from this file only.

use core_platform::metrics::{CounterOf, Metrics};

use crate::StartError;

/// `identity_events_total{event}`.
#[derive(Clone)]
pub(crate) struct Counters {
    events: CounterOf,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Registered,
    RegisteredAgain,
    LoggedIn,
    LoginFailed,
    LoginThrottled,
    NewDevice,
    Refreshed,
    RefreshedAgain,
    RefreshFailed,
    RefreshReused,
    LoggedOut,
    PasswordChanged,
    PasswordReset,
    PasswordRehashed,
    CodeSent,
    CodeWithheld,
    CodeWrong,
    ContactVerified,
    SecondFactorWanted,
    SecondFactorWrong,
    AccountClosed,
    AccountDeleted,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, StartError> {
        let events = metrics
            .counter(
                "identity_events_total",
                "What happened to accounts and sessions.",
                &["event"],
            )
            .map_err(|error| StartError::Metrics(error.to_string()))?;
        Ok(Self { events })
    }

    pub(crate) fn count(&self, event: Event) {
        let label = match event {
            Event::Registered => "registered",
            Event::RegisteredAgain => "registered_again",
            Event::LoggedIn => "logged_in",
            Event::LoginFailed => "login_failed",
            Event::LoginThrottled => "login_throttled",
            Event::NewDevice => "new_device",
            Event::Refreshed => "refreshed",
            Event::RefreshedAgain => "refreshed_again",
            Event::RefreshFailed => "refresh_failed",
            Event::RefreshReused => "refresh_reused",
            Event::LoggedOut => "logged_out",
            Event::PasswordChanged => "password_changed",
            Event::PasswordReset => "password_reset",
            Event::PasswordRehashed => "password_rehashed",
            Event::CodeSent => "code_sent",
            Event::CodeWithheld => "code_withheld",
            Event::CodeWrong => "code_wrong",
            Event::ContactVerified => "contact_verified",
            Event::SecondFactorWanted => "second_factor_wanted",
            Event::SecondFactorWrong => "second_factor_wrong",
            Event::AccountClosed => "account_closed",
            Event::AccountDeleted => "account_deleted",
        };
        self.events.with_label_values(&[label]).inc();
    }
}
