//! What the wire makes of a no.
//! Invariant: reasons are stable and listed in the README.

use core_platform::errors;
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use super::HTTP_STATUS;
use crate::{error::Error, password};

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let said = error.to_string();
        let refused = |code, reason| errors::refused(code, reason, said.clone());
        let field =
            |name: &str, text: &str| errors::invalid(vec![(name.to_owned(), text.to_owned())]);
        match error {
            Error::BadCredentials => refused(Code::Unauthenticated, "BAD_CREDENTIALS"),
            Error::BadRefreshToken => refused(Code::Unauthenticated, "BAD_REFRESH_TOKEN"),
            Error::SessionEnded => refused(Code::Unauthenticated, "SESSION_ENDED"),
            Error::Throttled(wait) => {
                let mut details = ErrorDetails::with_retry_info(Some(wait));
                details.set_error_info("TOO_MANY_ATTEMPTS", errors::DOMAIN, []);
                Self::with_error_details(Code::ResourceExhausted, said, details)
            }
            Error::Suspended => refused(Code::PermissionDenied, "ACCOUNT_SUSPENDED"),
            Error::Unverified => refused(Code::PermissionDenied, "CONTACT_UNVERIFIED"),
            // Not UNAUTHENTICATED: a client would throw its good token away.
            Error::WrongPassword => refused(Code::PermissionDenied, "WRONG_PASSWORD"),
            Error::BadCode => refused(Code::InvalidArgument, "BAD_CODE"),
            Error::BadMfaToken => refused(Code::Unauthenticated, "BAD_MFA_TOKEN"),
            Error::BadSecondFactor => refused(Code::Unauthenticated, "BAD_SECOND_FACTOR"),
            Error::BadPasskey => refused(Code::Unauthenticated, "BAD_PASSKEY"),
            Error::BadCeremony => refused(Code::InvalidArgument, "BAD_CEREMONY"),
            Error::NoSuchCredential => refused(Code::NotFound, "NO_SUCH_CREDENTIAL"),
            Error::LastCredential => refused(Code::FailedPrecondition, "LAST_CREDENTIAL"),
            Error::TooManyCredentials => refused(Code::FailedPrecondition, "TOO_MANY_CREDENTIALS"),
            Error::TotpActive => refused(Code::AlreadyExists, "TOTP_ACTIVE"),
            Error::NoTotp => refused(Code::FailedPrecondition, "NO_TOTP"),
            Error::NoSuchProvider => refused(Code::NotFound, "NO_SUCH_PROVIDER"),
            Error::BadOidcState => refused(Code::InvalidArgument, "BAD_OIDC_STATE"),
            Error::OidcRefused => refused(Code::InvalidArgument, "OIDC_REFUSED"),
            Error::BadOidcAnswer => refused(Code::InvalidArgument, "BAD_OIDC_ANSWER"),
            Error::OidcAway => errors::busy("OIDC_PROVIDER_AWAY"),
            Error::OidcUnverified => refused(Code::FailedPrecondition, "OIDC_EMAIL_UNVERIFIED"),
            Error::OidcSignInFirst => refused(Code::FailedPrecondition, "OIDC_SIGN_IN_FIRST"),
            Error::NoSuchSession => refused(Code::NotFound, "NO_SUCH_SESSION"),
            Error::NoSuchUser => refused(Code::NotFound, "NO_SUCH_USER"),
            Error::NoSuchApiKey => refused(Code::NotFound, "NO_SUCH_API_KEY"),
            Error::NoSuchExport => refused(Code::NotFound, "NO_SUCH_EXPORT"),
            Error::ExportNotReady => refused(Code::FailedPrecondition, "EXPORT_NOT_READY"),
            Error::LastAdmin => refused(Code::FailedPrecondition, "LAST_ADMIN"),
            Error::BeyondOwnRights => refused(Code::PermissionDenied, "BEYOND_OWN_RIGHTS"),
            Error::TooMany(_) => refused(Code::FailedPrecondition, "TOO_MANY"),
            Error::Blocked => refused(Code::FailedPrecondition, "BLOCKED"),
            Error::HandleTaken => refused(Code::AlreadyExists, "HANDLE_TAKEN"),
            Error::Changed => {
                // RFC 9110 section 15.5.13; gRPC has no code of its own for it.
                let mut status = refused(Code::FailedPrecondition, "VERSION_MISMATCH");
                let metadata = status.metadata_mut();
                metadata.insert(HTTP_STATUS, MetadataValue::from_static("412"));
                status
            }
            Error::SamePassword => field("new_password", "must differ from the current one"),
            Error::Breached => refused(Code::InvalidArgument, "PASSWORD_BREACHED"),
            Error::Invalid(name, text) => field(name, text),
            Error::Password(password::Error::Busy) => errors::busy("PASSWORD_QUEUE_FULL"),
            Error::Db(error) => error.into(),
            Error::Crypto(error) => error.into(),
            Error::Audit(error) => error.into(),
            Error::Password(_)
            | Error::Keys(_)
            | Error::Random(_)
            | Error::Json(_)
            | Error::Library(_) => errors::internal(&said),
            Error::Archive(_) => errors::internal(&said),
        }
    }
}
