//! Input rules (`buf.validate`), checked before a handler acts on a message.
//! Invariant: every rule of every mounted RPC compiles at start-up, so a rule
//! is never skipped because it could not be understood.
//! Refuses to repeat the offending value: it may be a password.

use std::collections::HashMap;

use prost::{Message, Name};
use prost_protovalidate::Error as RuleError;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;

use crate::{contracts::Contracts, errors};

/// More broken rules than this help nobody; a hostile message could break thousands.
const VIOLATIONS_MAX: usize = 32;

/// The compiled rules of all mounted RPCs' requests.
pub struct Validator {
    rules: prost_protovalidate::Validator,
    messages: HashMap<String, MessageDescriptor>,
}

#[derive(Debug, thiserror::Error)]
#[error("the input rules of `{message}` do not compile: {reason}")]
pub struct Error {
    message: String,
    reason: String,
}

impl Validator {
    /// # Errors
    /// A rule the evaluator does not know; no port is bound then.
    pub fn new(contracts: &Contracts) -> Result<Self, Error> {
        let rules = prost_protovalidate::Validator::new();
        let mut messages = HashMap::new();
        for method in contracts
            .pool()
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            let input = method.input();
            match rules.validate(&DynamicMessage::new(input.clone())) {
                Ok(()) | Err(RuleError::Validation(_)) => {}
                Err(error) => {
                    let message = input.full_name().to_owned();
                    return Err(Error {
                        message,
                        reason: error.to_string(),
                    });
                }
            }
            messages.insert(input.full_name().to_owned(), input);
        }
        Ok(Self { rules, messages })
    }

    /// Checks one request message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with one `google.rpc.BadRequest` violation per broken rule.
    pub fn check<M: Message + Name>(&self, message: &M) -> Result<(), Status> {
        let name = M::full_name();
        let Some(descriptor) = self.messages.get(&name) else {
            return Err(errors::internal(&format!(
                "`{name}` is no request of a mounted RPC"
            )));
        };
        let dynamic =
            DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice())
                .map_err(|error| errors::internal(&error))?;
        match self.rules.validate(&dynamic) {
            Ok(()) => Ok(()),
            Err(RuleError::Validation(broken)) => Err(errors::invalid(
                broken
                    .violations()
                    .iter()
                    .take(VIOLATIONS_MAX)
                    .map(|violation| {
                        (
                            violation.field_path(),
                            describe(violation.rule_id(), violation.message()),
                        )
                    })
                    .collect(),
            )),
            Err(error) => Err(errors::internal(&error)),
        }
    }
}

/// Words for a person; well-known formats come without any.
fn describe(rule: &str, message: &str) -> String {
    match rule {
        "string.email" | "string.email_empty" => "must be an e-mail address".to_owned(),
        _ if message.is_empty() => format!("breaks the rule `{rule}`"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use core_proto::{
        auth::v1::{ChangePasswordRequest, LoginRequest, RegisterRequest},
        user::v1::UpdateProfileRequest,
    };
    use tonic_types::StatusExt;

    use super::*;

    fn validator() -> Validator {
        let contracts = Contracts::new(
            core_proto::DESCRIPTOR_SET,
            &[
                ("identity", "auth.v1.AuthService"),
                ("identity", "user.v1.UserService"),
            ],
        )
        .unwrap();
        Validator::new(&contracts).unwrap()
    }

    /// The fields that break a rule; the offending text never shows.
    fn broken<M: Message + Name>(message: &M) -> Vec<String> {
        let Err(status) = validator().check(message) else {
            return Vec::new();
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert!(
            violations
                .iter()
                .all(|violation| !violation.description.is_empty())
        );
        violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    }

    fn register(email: &str, password: &str, name: &str) -> RegisterRequest {
        let [email, password, name] = [email, password, name].map(str::to_owned);
        RegisterRequest {
            email,
            password,
            name,
        }
    }

    #[test]
    fn register_rules() {
        let ok = "a-password";
        let check = |message: RegisterRequest, expected: &[&str]| {
            assert_eq!(broken(&message), expected, "{message:?}");
        };
        check(register("ada@example.org", ok, "Ada"), &[]);
        check(register("ada@example.org", ok, "Ада Лавлейс"), &[]);
        for email in [
            "",
            "ada",
            "ada@",
            " ada@example.org",
            "ada@example.org\n",
            "a@b@c",
        ] {
            check(register(email, ok, "Ada"), &["email"]);
        }
        let long = format!("{}@example.org", "a".repeat(250));
        assert!(
            broken(&register(&long, ok, "Ada"))
                .iter()
                .all(|field| field == "email")
        );
        assert!(!broken(&register(&long, ok, "Ada")).is_empty());
        check(register("ada@example.org", "1234567", "Ada"), &["password"]);
        check(register("ada@example.org", &"x".repeat(128), "Ada"), &[]);
        check(
            register("ada@example.org", &"x".repeat(129), "Ada"),
            &["password"],
        );
        check(register("ada@example.org", ok, "Ada\u{0}"), &["name"]);
        check(register("ada@example.org", ok, "   "), &["name"]);
        check(register("ada@example.org", ok, &"x".repeat(101)), &["name"]);
        check(register("", "", ""), &["email", "password", "name", "name"]);
    }

    #[test]
    fn profile_rules() {
        let phone = |phone: &str| {
            broken(&UpdateProfileRequest {
                phone: Some(phone.to_owned()),
                ..Default::default()
            })
        };
        for good in ["", "+4915112345678", "+12025550123"] {
            assert!(phone(good).is_empty(), "{good}");
        }
        for bad in [
            "4915112345678",
            "+0123456789",
            "+123",
            "+1202555012345678",
            "+1 202 555",
            "+12025550123\n",
        ] {
            let mut fields = phone(bad);
            fields.dedup();
            assert_eq!(fields, ["phone"], "{bad}");
        }
        assert!(broken(&UpdateProfileRequest::default()).is_empty());
        let blank = UpdateProfileRequest {
            name: Some(String::new()),
            ..Default::default()
        };
        assert!(broken(&blank).iter().all(|field| field == "name"));
        assert!(!broken(&blank).is_empty());
    }

    #[test]
    fn a_refusal_repeats_no_value() {
        let status = validator()
            .check(&register("not-an-address", "s3cret", "Ada"))
            .unwrap_err();
        let all = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
        assert!(
            !all.contains("s3cret") && !all.contains("not-an-address"),
            "{all}"
        );
    }

    #[test]
    fn old_passwords_are_only_bounded() {
        let login = |password: &str| {
            broken(&LoginRequest {
                email: "a@b.c".to_owned(),
                password: password.to_owned(),
            })
        };
        assert!(login("x").is_empty());
        assert_eq!(login(""), ["password"]);
        let change = ChangePasswordRequest {
            current_password: "x".to_owned(),
            new_password: "x".to_owned(),
        };
        assert_eq!(broken(&change), ["new_password"]);
    }

    /// The schema our contracts are compiled with, against the evaluator's own: a
    /// rule that only one of them knows would be skipped in silence.
    #[test]
    fn the_rules_schema_is_the_evaluators() {
        let ours = prost_reflect::DescriptorPool::decode(core_proto::DESCRIPTOR_SET).unwrap();
        let theirs = &prost_protovalidate::types::DESCRIPTOR_POOL;
        let fields = |pool: &prost_reflect::DescriptorPool| {
            pool.all_messages()
                .filter(|message| message.package_name() == "buf.validate")
                .flat_map(|message| message.fields().collect::<Vec<_>>())
                .map(|field| {
                    format!(
                        "{} {} {:?}",
                        field.full_name(),
                        field.number(),
                        field.kind()
                    )
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert!(fields(&ours).len() > 100);
        assert_eq!(fields(&ours), fields(theirs));
    }
}
