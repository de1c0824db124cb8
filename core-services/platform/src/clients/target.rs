//! Where another service is: `IDENTITY_URL` and the like.
//! Invariant: an address that isn't `https` is never called.
//! Refuses paths, credentials and addresses without a port.

use std::fmt;

use http::Uri;

/// Every address that a name resolves to is called in turn.
const DNS: &str = "https+dns://";
const PLAIN: &str = "https://";

/// An address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether all addresses of the name are used, and looked up again and again.
    pub(crate) balanced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable}: `{value}` is not an address of a service\nhint: such as https://10.0.0.7:50051 or https+dns://identity:50051"
)]
pub struct TargetError {
    pub variable: String,
    pub value: String,
}

/// The variable that says where `service` is.
pub fn variable(service: &str) -> String {
    format!("{}_URL", service.to_ascii_uppercase().replace('-', "_"))
}

impl Target {
    /// The value of [`variable`].
    ///
    /// # Errors
    /// A value that is no address.
    pub fn parse(service: &str, value: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError {
            variable: variable(service),
            value: value.to_owned(),
        };
        let (authority, balanced) = match (value.strip_prefix(DNS), value.strip_prefix(PLAIN)) {
            (Some(authority), _) => (authority, true),
            (None, Some(authority)) => (authority, false),
            (None, None) => return Err(wrong()),
        };
        let authority: http::uri::Authority = authority
            .strip_suffix('/')
            .unwrap_or(authority)
            .parse()
            .map_err(|_| wrong())?;
        let port = authority.port_u16().filter(|port| *port != 0);
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: port.ok_or_else(wrong)?,
            balanced,
        })
    }

    /// The origin of its calls.
    pub(crate) fn origin(&self) -> Option<Uri> {
        self.to_string().parse().ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PLAIN}{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |value: &str, expected: Option<(&str, u16, bool)>| {
            let expected = expected.map(|(host, port, balanced)| Target {
                host: host.to_owned(),
                port,
                balanced,
            });
            assert_eq!(Target::parse("identity", value).ok(), expected, "{value}");
        };
        check("https://core:50051", Some(("core", 50051, false)));
        check("https://127.0.0.1:1/", Some(("127.0.0.1", 1, false)));
        check("https://[::1]:50051", Some(("[::1]", 50051, false)));
        check("https+dns://core:50051", Some(("core", 50051, true)));
        for wrong in [
            "",
            "core:50051",
            "http://core:50051",
            "http+dns://core:50051",
            "https://core",
            "https://core:0",
            "https://core:99999",
            "https://core:50051/path",
            "https://core:50051?x",
            "https://user:secret@core:50051",
            "https://:50051",
            "https://https://core:1",
        ] {
            check(wrong, None);
        }
        assert_eq!(variable("web-push"), "WEB_PUSH_URL");
    }
}
