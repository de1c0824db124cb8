//! What expressions can name: values of the request, functions, and the types of both.

/// What is known of a value. `Any` fits everything: claims have the types that issuers give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Any,
    Bool,
    Number,
    Text,
    Time,
    Duration,
    List,
    Map,
}

impl Type {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    pub(super) fn fits(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

/// Names that are values, and members of the groups among them.
pub(super) const VARIABLES: [(&str, Type); 12] = [
    ("request.method", Type::Text),
    ("request.path", Type::Text),
    ("request.host", Type::Text),
    ("request.scheme", Type::Text),
    ("request.query", Type::Map),
    ("request.headers", Type::Map),
    ("client.address", Type::Text),
    ("caller.subject", Type::Text),
    ("caller.scopes", Type::List),
    ("caller.roles", Type::List),
    ("claims", Type::Map),
    ("now", Type::Time),
];
/// Variables of the path's template; separate, as its members are the route's business.
pub(super) const CAPTURES: &str = "path";
pub(super) const GROUPS: [&str; 3] = ["request", "client", "caller"];

/// Name, types of the receiver and of the arguments, type of the result.
pub(super) const FUNCTIONS: [(&str, &[Type], Type); 19] = [
    ("size", &[Type::Any], Type::Number),
    ("startsWith", &[Type::Text, Type::Text], Type::Bool),
    ("endsWith", &[Type::Text, Type::Text], Type::Bool),
    ("contains", &[Type::Text, Type::Text], Type::Bool),
    ("matches", &[Type::Text, Type::Text], Type::Bool),
    ("int", &[Type::Any], Type::Number),
    ("double", &[Type::Any], Type::Number),
    ("string", &[Type::Any], Type::Text),
    ("timestamp", &[Type::Text], Type::Time),
    ("duration", &[Type::Text], Type::Duration),
    ("getFullYear", &[Type::Time], Type::Number),
    ("getMonth", &[Type::Time], Type::Number),
    ("getDate", &[Type::Time], Type::Number),
    ("getDayOfMonth", &[Type::Time], Type::Number),
    ("getDayOfWeek", &[Type::Time], Type::Number),
    ("getDayOfYear", &[Type::Time], Type::Number),
    ("getHours", &[Type::Time], Type::Number),
    ("getMinutes", &[Type::Time], Type::Number),
    ("getSeconds", &[Type::Time], Type::Number),
];
/// Called without a receiver: `int(x)`.
pub(super) const GLOBAL: [&str; 6] = ["size", "int", "double", "string", "timestamp", "duration"];
pub(super) const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

/// What can be written of a group.
pub(super) fn members(group: &str) -> String {
    let names = VARIABLES.iter().map(|(name, _)| *name);
    let members = names.filter(|name| {
        name.strip_prefix(group)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    format!("write {}", members.collect::<Vec<_>>().join(", "))
}

/// What can be written at all.
pub(super) fn everything() -> String {
    let names = VARIABLES.iter().map(|(name, _)| *name).chain([CAPTURES]);
    format!("known: {}", names.collect::<Vec<_>>().join(", "))
}
