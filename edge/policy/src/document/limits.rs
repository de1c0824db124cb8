//! Rate limits, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::ModeDoc;
use crate::field::{Either, Field};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitDoc {
    /// Shown to clients in `RateLimit`.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// In shadow nobody is refused, see access.
    ///
    /// `enforce` `shadow`; `enforce`
    pub(crate) mode: Field<ModeDoc>,
    /// Whose requests are counted together: `client_address` is the IPv4 address or the /64 of an
    /// IPv6 address, `caller` the issuer and subject of the token, the name of the API key or the
    /// subject of the certificate, else the client address; or the value of a header or claim.
    ///
    /// `client_address` `caller` or map; required
    pub(crate) key: Field<Either<LimitKeyDoc>>,
    /// `N/s`, `N/m`, `N/h`, `N/d` or `N/10s`; N is 1 to 1,000,000, the time 1s to 30d.
    ///
    /// rate; required
    pub(crate) rate: Field<String>,
    /// Requests at once for a key that was idle; must come back within a year.
    ///
    /// 1 to 1,000,000; N of the rate
    pub(crate) burst: Field<u64>,
    /// Keys tracked at once.
    ///
    /// 1 to 10,000,000; `100000`
    pub(crate) keys_max: Field<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitKeyDoc {
    /// Requests without it share one key.
    ///
    /// header name; this or `claim`
    pub(crate) header: Field<String>,
    /// Of the verified token; requests without it share one key; needs routes with `auth`.
    ///
    /// text; this or `header`
    pub(crate) claim: Field<String>,
}
