//! Clusters: endpoints, protocol, timeouts, ejection.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Compiler, Fingerprint};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ClusterDoc, EjectionDoc, ProtocolDoc, TimeoutsDoc};
use crate::field::{At, Either, Field};
use crate::model::{Cluster, Ejection, UpstreamProtocol, UpstreamTimeouts};

/// Endpoints of one cluster; each has its health and its pool.
const ENDPOINTS_MAX: usize = 256;
/// Further tries multiply the load on a cluster that is down.
const CONNECT_RETRIES_MAX: u32 = 8;
const CONNECT_RETRIES: u32 = 1;
const TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3_600);
const IDLE_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
const EJECTION: Ejection = Ejection {
    consecutive_failures: 5,
    duration: Duration::from_secs(10),
};
const EJECTION_FAILURES_BOUNDS: RangeInclusive<u32> = 1..=1_000;

impl Compiler<'_> {
    pub(super) fn cluster(&mut self, at: &At<ClusterDoc>) -> Cluster {
        let doc = &at.value;
        let name: Arc<str> = doc.name.given().map_or("", |name| &name.value).into();
        let protocol = match doc.protocol.given().map(|protocol| protocol.value) {
            None | Some(ProtocolDoc::Http1) => UpstreamProtocol::Http1,
            Some(ProtocolDoc::Http2) => UpstreamProtocol::Http2,
            Some(ProtocolDoc::Grpc) => UpstreamProtocol::Grpc,
        };
        let mut fingerprint = Fingerprint::new("cluster", &name);
        let endpoints = self.endpoints(at);
        let tls = doc
            .tls
            .given()
            .and_then(|tls| self.tls(tls, &mut fingerprint));
        let timeouts = self.timeouts(doc.timeouts.given().map(|timeouts| &timeouts.value));
        let connect_retries = self.number(
            &doc.connect_retries,
            CONNECT_RETRIES,
            0..=CONNECT_RETRIES_MAX,
        );
        let ejection = self.ejection(&doc.ejection);
        let descriptors = self.descriptors(at, protocol);
        let translator = descriptors
            .as_ref()
            .and_then(|bytes| self.translator(doc, bytes, &mut fingerprint));
        let reflection = self.reflection(doc, protocol, &mut fingerprint);
        fingerprint
            .debug(&endpoints)
            .debug(&protocol)
            .debug(&timeouts)
            .debug(&connect_retries)
            .debug(&ejection);
        Cluster {
            origin: self.origin(&doc.name, at.mark),
            name,
            endpoints,
            protocol,
            tls,
            timeouts,
            connect_retries,
            ejection,
            translator,
            descriptors_sha256: descriptors.map(|bytes| Sha256::digest(&bytes).into()),
            reflection,
            fingerprint: fingerprint.finish(),
        }
    }

    fn endpoints(&mut self, at: &At<ClusterDoc>) -> Vec<SocketAddr> {
        let written = &at.value.endpoints;
        self.required_list(written, at.mark, "cluster", "endpoints");
        let mut endpoints = Vec::new();
        for text in self.texts(written, ENDPOINTS_MAX, |text| endpoint(text).map(drop)) {
            endpoints.extend(endpoint(&text));
        }
        endpoints
    }

    fn timeouts(&mut self, doc: Option<&TimeoutsDoc>) -> UpstreamTimeouts {
        let absent = TimeoutsDoc::default();
        let doc = doc.unwrap_or(&absent);
        UpstreamTimeouts {
            connect: self.duration(&doc.connect, Duration::from_secs(2), TIMEOUT_BOUNDS),
            read: self.duration(&doc.read, Duration::from_secs(30), TIMEOUT_BOUNDS),
            write: self.duration(&doc.write, Duration::from_secs(30), TIMEOUT_BOUNDS),
            idle: self.duration(&doc.idle, Duration::from_secs(60), IDLE_BOUNDS),
        }
    }

    fn ejection(&mut self, field: &Field<Either<EjectionDoc>>) -> Option<Ejection> {
        let Some(at) = field.given() else {
            return Some(EJECTION);
        };
        let doc = self.unless("off", at)?;
        Some(Ejection {
            consecutive_failures: self.number(
                &doc.consecutive_failures,
                EJECTION.consecutive_failures,
                EJECTION_FAILURES_BOUNDS,
            ),
            duration: self.duration(&doc.duration, EJECTION.duration, TIMEOUT_BOUNDS),
        })
    }

    /// The content of a file that a policy names.
    pub(super) fn input(&mut self, written: &At<String>, bytes_max: u64) -> Option<Arc<[u8]>> {
        if written.value.is_empty() {
            self.report.push(
                written.mark,
                Fault::new(codes::INPUT_FILE, "the path of the file is empty"),
            );
            return None;
        }
        match self.folder.input(&written.value, bytes_max) {
            Ok(bytes) => Some(bytes),
            Err(reason) => {
                let fault = Fault::new(
                    codes::INPUT_FILE,
                    format!("{} {reason}", shown(&written.value)),
                );
                self.report.push(
                    written.mark,
                    fault.hint("paths are relative to the policies folder"),
                );
                None
            }
        }
    }
}

/// `127.0.0.1:50051`, `[::1]:50051`.
fn endpoint(text: &str) -> Result<SocketAddr, Fault> {
    let fault = |why: &str| {
        Fault::new(
            codes::ENDPOINT,
            format!("{} is not an endpoint: {why}", shown(text)),
        )
    };
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(fault("port 0")),
        Ok(address) if address.ip().is_unspecified() => {
            Err(fault("the unspecified address cannot be connected to"))
        }
        Ok(address) => Ok(address),
        Err(_) if text.parse::<std::net::IpAddr>().is_ok() => {
            Err(fault("it has no port").hint(with_port(text)))
        }
        Err(_) if text.contains("://") => {
            let rest = text.split("://").nth(1).unwrap_or_default();
            let rest = rest.split('/').next().unwrap_or_default();
            Err(fault("it has a scheme").hint(format!(
                "write `{rest}` if that is an address and a port; TLS is set by `tls`"
            )))
        }
        Err(_) if port_is_too_large(text) => Err(fault("ports end at 65535")),
        Err(_) => Err(fault("expected `IP:port`").hint(
            "names are not resolved yet, write the address; IPv6 in brackets, as in `[::1]:50051`",
        )),
    }
}

fn port_is_too_large(text: &str) -> bool {
    let port = text.rsplit(':').next().unwrap_or_default();
    port.parse::<u64>()
        .is_ok_and(|port| port > u64::from(u16::MAX))
}

fn with_port(address: &str) -> String {
    if let Some((host, port)) = address.rsplit_once(':')
        && port.len() > 2
        && port.parse::<u16>().is_ok()
    {
        return format!("write `[{host}]:{port}` if `{port}` is the port");
    }
    if address.contains(':') {
        format!("write `[{address}]:50051`")
    } else {
        format!("write `{address}:50051`")
    }
}
