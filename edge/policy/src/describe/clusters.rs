//! Clusters, in words.

use std::path::Path;

use palisade_translate::{JsonOptions, Options, SseOptions};

use super::{Definition, digest_of, shortened, written_path};
use crate::compile::values::{written, written_size};
use crate::model::{
    ClientIdentity, Cluster, Ejection, Reflection, UpstreamProtocol, UpstreamTimeouts, UpstreamTls,
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
        reflection,
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
        translation(&mut it, translator.options());
        let left_out = translator.rules_left_out();
        if left_out > 0 {
            it.set("translation.validation.left_to_the_service", left_out);
        }
    }
    if let Some(Reflection { refresh, options }) = reflection {
        it.set("reflection.refresh", written(*refresh));
        translation(&mut it, options);
    }
    it
}

fn translation(it: &mut Definition, options: &Options) {
    let Options {
        json,
        sse,
        request_message_bytes_max,
        response_message_bytes_max,
        json_response_bytes_max,
        validates,
        honours_http_metadata,
    } = options;
    let JsonOptions {
        ignore_unknown_fields,
        write_defaults,
        proto_names,
        enum_numbers,
        is_indented,
    } = json;
    let SseOptions {
        id_field,
        event_field,
        retry,
        heartbeat,
    } = sse;
    let size = |bytes: &usize| written_size(*bytes as u64);
    for (key, is_second, words) in [
        (
            "translation.unknown_json_fields",
            ignore_unknown_fields,
            ["refuse", "ignore"],
        ),
        (
            "translation.default_values",
            write_defaults,
            ["omit", "write"],
        ),
        ("translation.json_names", proto_names, ["camel", "proto"]),
        ("translation.json_enums", enum_numbers, ["names", "numbers"]),
        ("translation.indented_json", is_indented, ["false", "true"]),
        ("translation.validation", validates, ["false", "true"]),
        (
            "translation.http_metadata",
            honours_http_metadata,
            ["ignore", "honour"],
        ),
    ] {
        let word = words[usize::from(*is_second)];
        it.set(key, word);
    }
    it.set_if("translation.event_id", id_field.as_deref());
    it.set_if("translation.event_name", event_field.as_deref());
    it.set_if("translation.event_retry", retry.map(written));
    it.set("translation.heartbeat", written(*heartbeat));
    it.set(
        "translation.request_message_max",
        size(request_message_bytes_max),
    );
    it.set(
        "translation.response_message_max",
        size(response_message_bytes_max),
    );
    it.set(
        "translation.response_json_max",
        size(json_response_bytes_max),
    );
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
