//! Descriptions of the API for those who call it, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::Field;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OpenApiDoc {
    /// Of the OpenAPI Specification.
    ///
    /// `3.1` `3.0`; `3.1`
    pub(crate) version: Field<OpenApiVersionDoc>,
    /// Of the API.
    ///
    /// text; `API`
    pub(crate) title: Field<String>,
    /// What it is for; CommonMark.
    ///
    /// text; none
    pub(crate) description: Field<String>,
    /// Of the API: what callers are told when it changes.
    ///
    /// text; `1`
    pub(crate) api_version: Field<String>,
    /// Who answers questions.
    ///
    /// map; nobody
    pub(crate) contact: Field<ContactDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum OpenApiVersionDoc {
    #[serde(rename = "3.1")]
    V31,
    #[serde(rename = "3.0")]
    V30,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ContactDoc {
    /// Of a person or a team.
    ///
    /// text; none
    pub(crate) name: Field<String>,
    /// Of a page, `https://` or `http://`.
    ///
    /// URL; none
    pub(crate) url: Field<String>,
    /// An address.
    ///
    /// text; none
    pub(crate) email: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DocsDoc {
    /// Where the document is on the same host: the path of a route with `openapi`.
    ///
    /// path of a URL; required
    pub(crate) openapi: Field<String>,
    /// Of the page.
    ///
    /// text; `API`
    pub(crate) title: Field<String>,
}
