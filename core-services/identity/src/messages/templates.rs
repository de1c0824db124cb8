//! The texts, one file each: a subject, an empty line, the body, `{placeholders}`.
//! Invariant: every template has a subject and every placeholder it uses has a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Template {
    VerifyContact,
    RegisteredAgain,
    PasswordReset,
    PasswordChanged,
    ContactChanged,
    NewDevice,
    CredentialChanged,
    SignInCode,
    AccountClosed,
}

/// A text with its values in.
pub(crate) struct Text {
    pub(crate) subject: String,
    pub(crate) body: String,
}

impl Template {
    fn source(self) -> &'static str {
        match self {
            Self::VerifyContact => include_str!("../../templates/verify_contact.txt"),
            Self::RegisteredAgain => include_str!("../../templates/registered_again.txt"),
            Self::PasswordReset => include_str!("../../templates/password_reset.txt"),
            Self::PasswordChanged => include_str!("../../templates/password_changed.txt"),
            Self::ContactChanged => include_str!("../../templates/contact_changed.txt"),
            Self::NewDevice => include_str!("../../templates/new_device.txt"),
            Self::CredentialChanged => include_str!("../../templates/credential_changed.txt"),
            Self::SignInCode => include_str!("../../templates/sign_in_code.txt"),
            Self::AccountClosed => include_str!("../../templates/account_closed.txt"),
        }
    }

    pub(crate) fn render(self, values: &BTreeMap<String, String>) -> Text {
        let (subject, body) = self.source().split_once("\n\n").unwrap_or_default();
        Text {
            subject: fill(subject, values),
            body: fill(body, values),
        }
    }
}

/// One pass: a value that looks like a placeholder stays a value.
fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        filled.push_str(values.get(name).map_or("", String::as_str));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places_once() {
        let values = [("code", "123456"), ("minutes", "{code}")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = Template::VerifyContact.render(&values.into_iter().collect());
        assert!(text.subject.contains("123456"), "{}", text.subject);
        assert!(text.body.contains("{code}"), "{}", text.body);
    }

    #[test]
    fn every_text_has_a_subject_of_one_line_and_known_placeholders() {
        for template in [
            Template::VerifyContact,
            Template::RegisteredAgain,
            Template::PasswordReset,
            Template::PasswordChanged,
            Template::ContactChanged,
            Template::NewDevice,
            Template::CredentialChanged,
            Template::SignInCode,
            Template::AccountClosed,
        ] {
            let (subject, body) = template.source().split_once("\n\n").unwrap();
            assert!(!subject.is_empty() && !subject.contains('\n'), "{subject}");
            assert!(body.is_ascii() && body.ends_with('\n'), "{body}");
            for placeholder in template.source().split('{').skip(1) {
                let name = placeholder.split('}').next().unwrap();
                let known = [
                    "code", "minutes", "device", "network", "kind", "days", "what",
                ];
                assert!(known.contains(&name), "{name}");
            }
        }
    }
}
