//! A compiled policy as text, for golden files: everything that has an effect, nothing that varies.

mod actions;
mod matches;

use std::fmt::Write;

use palisade_policy::hosts::Host;
use palisade_policy::model::{
    AccessRule, AccessUse, ApiKey, Auth, Cluster, ClusterId, Credential, IssuerId, Limit, LimitUse,
    Mirror, Mode, OnReload, Policy, Priority, Retries, Route, WebSocket,
};

pub(crate) fn summary(policy: &Policy) -> String {
    let mut out = String::new();
    if !policy.listeners.trusted_proxies.is_empty() || policy.listeners.requests_max.is_some() {
        writeln!(out, "{:?}", policy.listeners).unwrap();
    }
    for cluster in &policy.clusters {
        describe_cluster(&mut out, cluster);
    }
    describe_issuers(&mut out, policy);
    for limit in &policy.limits {
        let Limit {
            name,
            key,
            requests,
            period,
            burst,
            keys_max,
            origin,
            mode,
            ..
        } = limit;
        writeln!(out, "limit {name}{} at {}:{}\n  {requests} per {period:?}, burst {burst}, by {key:?}, {keys_max} keys", shadow(*mode), origin.file, origin.line).unwrap();
    }
    describe_callers(&mut out, policy);
    for route in policy.routes.routes() {
        describe_route(&mut out, policy, route);
    }
    for host in policy
        .hosts
        .hosts()
        .iter()
        .filter(|host| !host.name.is_empty())
    {
        describe_host(&mut out, host);
    }
    for test in &policy.tests {
        writeln!(
            out,
            "test {} at {}:{}, time {:?}\n  {:?}\n  {:?}",
            test.name,
            test.origin.file,
            test.origin.line,
            test.at
                .map(|at| at.duration_since(std::time::UNIX_EPOCH).unwrap()),
            test.request,
            test.expect
        )
        .unwrap();
    }
    out
}

fn describe_issuers(out: &mut String, policy: &Policy) {
    for (position, issuer) in policy.issuers.iter().enumerate() {
        writeln!(
            out,
            "issuer {} {} {:?}",
            issuer.name, issuer.issuer, issuer.audiences
        )
        .unwrap();
        writeln!(
            out,
            "  algorithms {:?}, leeway {:?}, nbf {}, types {:?}",
            issuer.algorithms, issuer.leeway, issuer.require_nbf, issuer.token_types
        )
        .unwrap();
        let ca = issuer.ca.as_deref().map(file_name);
        let source = match &issuer.source {
            palisade_token::JwksSource::File(path) => format!("file {}", file_name(path)),
            palisade_token::JwksSource::Url(url) => url.to_string(),
        };
        writeln!(
            out,
            "  keys {source}, ca {ca:?}, refresh {:?}, cooldown {:?}",
            issuer.refresh, issuer.cooldown
        )
        .unwrap();
        if let Some(told) = policy.revocations.get(&IssuerId(position)) {
            writeln!(out, "  {told:?}").unwrap();
        }
    }
}

fn describe_host(out: &mut String, host: &Host) {
    let Host {
        id,
        name,
        origin,
        patterns,
        min_version,
        alpn,
        client_certificates,
        hsts,
        alt_svc,
        security_headers,
    } = host;
    writeln!(
        out,
        "host {name} at {}:{}, number {}",
        origin.file, origin.line, id.0
    )
    .unwrap();
    writeln!(out, "  {patterns:?}\n  {min_version:?}, {alpn:?}, hsts {hsts:?}, alt-svc {alt_svc}, security headers {security_headers}").unwrap();
    if let Some(clients) = client_certificates {
        let files: Vec<&str> = clients.expiries.iter().map(|(file, _)| &**file).collect();
        writeln!(
            out,
            "  client certificates required {}, forward {}, by {files:?}",
            clients.required, clients.forward
        )
        .unwrap();
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn describe_cluster(out: &mut String, cluster: &Cluster) {
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
        ..
    } = cluster;
    writeln!(out, "cluster {name} at {}:{}", origin.file, origin.line).unwrap();
    writeln!(
        out,
        "  {protocol:?} {endpoints:?}, {connect_retries} retries"
    )
    .unwrap();
    if let Some(tls) = tls {
        writeln!(
            out,
            "  tls {}, ca {}, identity {:?}",
            tls.server_name,
            file_name(&tls.ca),
            tls.identity
        )
        .unwrap();
    }
    writeln!(
        out,
        "  connect {:?}, read {:?}, write {:?}, idle {:?}",
        timeouts.connect, timeouts.read, timeouts.write, timeouts.idle
    )
    .unwrap();
    match ejection {
        Some(ejection) => writeln!(
            out,
            "  ejected for {:?} after {}",
            ejection.duration, ejection.consecutive_failures
        )
        .unwrap(),
        None => writeln!(out, "  never ejected").unwrap(),
    }
    if translator.is_some() {
        writeln!(out, "  translates").unwrap();
    }
}

fn describe_route(out: &mut String, policy: &Policy, route: &std::sync::Arc<Route>) {
    writeln!(
        out,
        "route {} at {}:{} -> {}",
        route.name,
        route.origin.file,
        route.origin.line,
        actions::target(policy, route)
    )
    .unwrap();
    for rule in policy
        .routes
        .rules()
        .iter()
        .filter(|rule| std::sync::Arc::ptr_eq(&rule.route, route))
    {
        matches::describe(out, rule);
    }
    describe_terms(out, policy, route);
    for (host, variant) in &route.variants {
        let host = &policy.hosts.hosts()[host.0].name;
        writeln!(out, "  under host {host}:").unwrap();
        describe_terms(out, policy, variant);
    }
}

fn describe_terms(out: &mut String, policy: &Policy, route: &Route) {
    if route.on_reload != OnReload::Keep {
        writeln!(out, "  on reload {:?}", route.on_reload).unwrap();
    }
    if route.plain_http {
        writeln!(out, "  plain http").unwrap();
    }
    if let Some(Auth {
        any_of,
        mode,
        optional,
        scopes,
        roles,
        claim_headers,
        forward_token,
        key_headers: _,
        trades_keys: _,
    }) = &route.auth
    {
        let any_of: Vec<String> = any_of.iter().map(|one| credential(policy, one)).collect();
        writeln!(out, "  auth {}{}, optional {optional}, scopes {scopes:?}, roles {roles:?}, claims {claim_headers:?}, forward {forward_token}", any_of.join(" or "), shadow(*mode)).unwrap();
    }
    for AccessUse { id, mode } in &route.access {
        writeln!(
            out,
            "  access {}{}",
            policy.access[id.0].name,
            shadow(*mode)
        )
        .unwrap();
    }
    for LimitUse { id, mode } in &route.limits {
        writeln!(out, "  limit {}{}", policy.limits[id.0].name, shadow(*mode)).unwrap();
    }
    actions::describe(out, route);
    if let Some(WebSocket {
        origins,
        idle_timeout,
        lifetime,
        end_with_token,
    }) = &route.websocket
    {
        writeln!(out, "  websocket from {origins:?}, idle {idle_timeout:?}, lifetime {lifetime:?}, ends with token {end_with_token}").unwrap();
    }
    actions::describe_edits(out, route);
    describe_forwarding(out, policy, route);
    writeln!(
        out,
        "  timeout {:?}, body {}, translate {}",
        route.request_timeout,
        route.request_body_max,
        route.forward().is_some_and(|to| to.translate)
    )
    .unwrap();
}

fn credential(policy: &Policy, credential: &Credential) -> String {
    match credential {
        Credential::Jwt(issuer) => policy.issuers[issuer.0].name.clone(),
        Credential::ApiKey(set) => format!("keys {}", policy.api_keys[set.0].name),
        Credential::ClientCertificate(wanted) => format!("certificate {wanted:?}"),
    }
}

fn shadow(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "",
        Mode::Shadow => " (shadow)",
    }
}

/// Digests in an order of their own, and shortened.
fn describe_callers(out: &mut String, policy: &Policy) {
    for set in &policy.api_keys {
        writeln!(out, "api keys {} in {}", set.name, set.header).unwrap();
        let mut keys: Vec<String> = set
            .keys
            .iter()
            .map(|(digest, key)| {
                let ApiKey {
                    name,
                    scopes,
                    roles,
                } = &**key;
                format!(
                    "  {name} {:02x}{:02x}.., scopes {scopes:?}, roles {roles:?}",
                    digest[0], digest[1]
                )
            })
            .collect();
        keys.sort();
        if !keys.is_empty() {
            writeln!(out, "{}", keys.join("\n")).unwrap();
        }
        if let Some(asked) = &set.introspect {
            writeln!(out, "  {asked:?}").unwrap();
        }
    }
    for rule in &policy.access {
        let AccessRule {
            name,
            origin,
            mode,
            scopes,
            roles,
            claims,
            client_addresses,
            client_certificate,
            expression,
        } = rule;
        writeln!(
            out,
            "access {name}{} at {}:{}",
            shadow(*mode),
            origin.file,
            origin.line
        )
        .unwrap();
        writeln!(
            out,
            "  scopes {scopes:?}, roles {roles:?}, claims {claims:?}"
        )
        .unwrap();
        writeln!(
            out,
            "  from {client_addresses:?}, certificate {client_certificate:?}"
        )
        .unwrap();
        writeln!(out, "  {expression:?}").unwrap();
    }
}

/// What is not left to its default.
fn describe_forwarding(out: &mut String, policy: &Policy, route: &Route) {
    let name = |id: ClusterId| &policy.clusters[id.0].name;
    if let [_, _, ..] = route.backends() {
        let shares = route.backends().iter();
        let shares: Vec<_> = shares
            .map(|backend| format!("{} {}", name(backend.cluster), backend.weight))
            .collect();
        writeln!(out, "  backends {shares:?}").unwrap();
    }
    let forward = route.forward();
    if let Some(Retries {
        attempts,
        on,
        methods,
        per_try_timeout,
        backoff,
        budget_percent,
    }) = forward.and_then(|to| to.retries.as_ref())
    {
        writeln!(out, "  {attempts} retries on {on:?}, methods {methods:?}, per try {per_try_timeout:?}, backoff {backoff:?}, budget {budget_percent:?}").unwrap();
    }
    if let Some(Mirror {
        cluster,
        percent,
        body_max,
    }) = forward.and_then(|to| to.mirror.as_ref())
    {
        let cluster = name(*cluster);
        writeln!(
            out,
            "  mirror to {cluster}, {percent} %, bodies to {body_max}"
        )
        .unwrap();
    }
    if route.priority != Priority::Normal {
        writeln!(out, "  priority {:?}", route.priority).unwrap();
    }
    if let Some(max) = route.response_body_max {
        writeln!(out, "  response body {max}").unwrap();
    }
}
