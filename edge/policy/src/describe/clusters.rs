//! Clusters, in words.

use std::path::Path;

use super::{Definition, digest_of, shortened, written_path};
use crate::compile::values::written;
use crate::model::{
    ClientIdentity, Cluster, Ejection, UpstreamProtocol, UpstreamTimeouts, UpstreamTls,
};

pub(super) const KIND: &str = "cluster";

pub(super) fn cluster(cluster: &Cluster, folder: &Path) -> Definition {
    let Cluster {
        name,
        origin,
        endpoints,
        protocol,
        tls,
        timeouts,
        connect_retries,
        ejection,
        translator,
        descriptors_sha256,
        // Of what is described here.
        fingerprint: _,
    } = cluster;
    let mut it = Definition::new(KIND, name, Some(origin));
    it.each("endpoints", endpoints);
    it.set(
        "protocol",
        match protocol {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "http2",
            UpstreamProtocol::Grpc => "grpc",
        },
    );
    match tls {
        Some(tls) => upstream_tls(&mut it, tls, folder),
        None => it.set("tls", "plain text"),
    }
    let UpstreamTimeouts {
        connect,
        read,
        write,
        idle,
    } = timeouts;
    it.set("timeouts.connect", written(*connect));
    it.set("timeouts.read", written(*read));
    it.set("timeouts.write", written(*write));
    it.set("timeouts.idle", written(*idle));
    it.set("connect_retries", connect_retries);
    match ejection {
        Some(Ejection {
            consecutive_failures,
            duration,
        }) => {
            it.set("ejection.consecutive_failures", consecutive_failures);
            it.set("ejection.duration", written(*duration));
        }
        None => it.set("ejection", "off"),
    }
    it.set_if("descriptors", descriptors_sha256.map(shortened));
    if let Some(translator) = translator {
        let ignored = translator.options().ignore_unknown_fields;
        let word = if ignored { "ignore" } else { "refuse" };
        it.set("unknown_json_fields", word);
    }
    it
}

fn upstream_tls(it: &mut Definition, tls: &UpstreamTls, folder: &Path) {
    let UpstreamTls {
        server_name,
        ca,
        ca_pem,
        identity,
    } = tls;
    it.set("tls.server_name", server_name);
    let content = digest_of(ca_pem);
    it.set("tls.ca", format!("{}, {content}", written_path(ca, folder)));
    if let Some(ClientIdentity {
        certificates_pem,
        // Belongs to the certificate, and is nobody's business.
        key_pem: _,
    }) = identity
    {
        it.set("tls.certificate", digest_of(certificates_pem));
    }
}
