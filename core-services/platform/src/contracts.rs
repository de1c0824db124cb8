//! The mounted RPCs and who may call each, read from the descriptors.
//! Invariant: an RPC without an access option keeps the process from starting,
//! and a path that is not in here reaches no handler.
//! Refuses to guess: `public: false` says nothing and is an error.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};

/// Whose the RPCs are that every process answers for all its services.
pub const PROCESS: &str = "core";

const ACCESS: &str = "platform.v1.access";

/// Who may call an RPC (`platform.v1.Access`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone; a token is not read.
    Public,
    /// Any person with a valid access token; no API key.
    Authenticated,
    /// A caller whose token carries this scope.
    Permission(String),
    /// Another core service; the edge only where the access matrix names it.
    ServiceOnly,
}

/// One RPC.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// `/package.Service/Rpc`, as on the wire.
    pub path: String,
    /// The core service it belongs to, such as `identity`, or [`PROCESS`].
    pub service: &'static str,
    pub access: Access,
    /// Only for a caller who signed in within the last minutes (RFC 9470).
    pub step_up: bool,
}

/// All RPCs this process answers, by path.
#[derive(Debug)]
pub struct Contracts {
    pool: DescriptorPool,
    rpcs: HashMap<String, Rpc>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the descriptors lack `{0}`")]
    Missing(String),
    #[error("`{0}` does not say who may call it\nhint: option (platform.v1.access) = {{ … }}")]
    NoAccess(String),
}

impl Contracts {
    /// Reads the contracts of `services`: core service name and protobuf service name.
    ///
    /// # Errors
    /// A service the descriptors lack, or an RPC without a usable access option.
    pub fn new(descriptors: &[u8], services: &[(&'static str, &str)]) -> Result<Self, Error> {
        let pool = DescriptorPool::decode(descriptors)?;
        let option = pool
            .get_extension_by_name(ACCESS)
            .ok_or_else(|| Error::Missing(ACCESS.to_owned()))?;
        let mut rpcs = HashMap::new();
        for (service, name) in services {
            let found = pool
                .get_service_by_name(name)
                .ok_or_else(|| Error::Missing((*name).to_owned()))?;
            for method in found.methods() {
                let path = format!("/{name}/{}", method.name());
                let (access, step_up) =
                    access(&method, &option).ok_or_else(|| Error::NoAccess(path.clone()))?;
                rpcs.insert(
                    path.clone(),
                    Rpc {
                        path,
                        service,
                        access,
                        step_up,
                    },
                );
            }
        }
        Ok(Self { pool, rpcs })
    }

    /// The RPC at a request's path.
    pub fn find(&self, path: &str) -> Option<&Rpc> {
        self.rpcs.get(path)
    }

    /// The descriptors, for those who look deeper.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }
}

/// Whether a method, mounted here or not, is for services only.
pub(crate) fn is_service_only(method: &MethodDescriptor) -> bool {
    let option = method.parent_pool().get_extension_by_name(ACCESS);
    option
        .and_then(|option| access(method, &option))
        .is_some_and(|(access, _)| access == Access::ServiceOnly)
}

/// Who may call it, and whether they must have signed in just now.
fn access(method: &MethodDescriptor, option: &ExtensionDescriptor) -> Option<(Access, bool)> {
    let options = method.options();
    let value = options
        .has_extension(option)
        .then(|| options.get_extension(option))?;
    let message = value.as_message()?;
    let descriptor = option.kind().as_message()?.clone();
    let set = descriptor
        .oneofs()
        .next()?
        .fields()
        .find_map(|field| message.has_field(&field).then(|| field.name().to_owned()))?;
    let step_up = field(message, "step_up")? == Value::Bool(true);
    let access = match (set.as_str(), field(message, &set)?) {
        // Nobody is signed in there, so nobody could ever call it.
        ("public" | "service_only", _) if step_up => return None,
        ("public", Value::Bool(true)) => Access::Public,
        ("authenticated", Value::Bool(true)) => Access::Authenticated,
        ("service_only", Value::Bool(true)) => Access::ServiceOnly,
        ("permission", Value::String(scope)) if !scope.is_empty() => Access::Permission(scope),
        _ => return None,
    };
    Some((access, step_up))
}

fn field(message: &DynamicMessage, name: &str) -> Option<Value> {
    message
        .get_field_by_name(name)
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [(&str, &str); 2] = [
        ("identity", "auth.v1.AuthService"),
        ("identity", "user.v1.UserService"),
    ];

    #[test]
    fn access_is_read_from_the_options() {
        let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &SERVICES).unwrap();
        let check = |path: &str, expected: Option<Access>| {
            assert_eq!(
                contracts.find(path).map(|rpc| rpc.access.clone()),
                expected,
                "{path}"
            );
        };
        check("/auth.v1.AuthService/Login", Some(Access::Public));
        check("/auth.v1.AuthService/Logout", Some(Access::Authenticated));
        check(
            "/user.v1.UserService/UpdateProfile",
            Some(Access::Permission("profile:write".to_owned())),
        );
        check("/auth.v1.AuthService/login", None);
        check("/auth.v1.AuthService", None);
        check("", None);
    }

    #[test]
    fn only_named_services_are_mounted() {
        let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &SERVICES[..1]).unwrap();
        assert!(contracts.find("/user.v1.UserService/GetProfile").is_none());
        let unknown = Contracts::new(core_proto::DESCRIPTOR_SET, &[("x", "x.v1.X")]);
        assert!(matches!(unknown, Err(Error::Missing(name)) if name == "x.v1.X"));
    }

    #[test]
    fn an_rpc_without_access_is_an_error() {
        // The health contract carries no options of ours; joined to our set it must be refused.
        let mut bytes = core_proto::DESCRIPTOR_SET.to_vec();
        bytes.extend_from_slice(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let refused = Contracts::new(&bytes, &[("x", "grpc.health.v1.Health")]);
        assert!(
            matches!(refused, Err(Error::NoAccess(path)) if path == "/grpc.health.v1.Health/Check")
        );
    }
}
