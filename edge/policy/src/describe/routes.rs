//! Routes, in words.

use std::collections::HashMap;
use std::sync::Arc;

use super::hosts::host_match;
use super::{Definition, actions, auth, limits, matches, named_routes, with_mode};
use crate::compile::values::{written, written_size};
use crate::model::{CacheRule, LimitUse, OnReload, Policy, Priority, Route, WebSocket};
use crate::routing::Rule;

pub(super) const KIND: &str = "route";

pub(super) fn routes(policy: &Policy) -> impl Iterator<Item = Definition> {
    let mut rules: HashMap<*const Route, Vec<&Rule>> = HashMap::new();
    for rule in policy.routes.rules() {
        let of_route = rules.entry(Arc::as_ptr(&rule.route)).or_default();
        of_route.push(rule);
    }
    named_routes(policy).map(move |(name, one)| {
        let rules = rules.get(&Arc::as_ptr(one));
        route(&name, one, rules.map_or(&[], Vec::as_slice), policy)
    })
}

fn route(name: &str, route: &Route, rules: &[&Rule], policy: &Policy) -> Definition {
    let Route {
        name: _,
        origin,
        // Where things are written is no difference, and the fingerprints are of what is described here.
        settings: _,
        fingerprint: _,
        admission: _,
        plain_http,
        priority,
        on_reload,
        auth: asked,
        access,
        limits,
        cors,
        compression,
        cache,
        request_headers,
        response_headers,
        request_timeout,
        request_body_max,
        response_body_max,
        action,
        websocket,
        // Each is a definition of its own.
        variants: _,
    } = route;
    let mut it = Definition::new(KIND, name, Some(origin));
    matched(&mut it, rules);
    actions::action(&mut it, action, policy);
    it.set("plain_http", plain_http);
    it.set("priority", priority_word(*priority));
    it.set("on_reload", on_reload_word(*on_reload));
    auth::auth(&mut it, asked.as_ref(), policy);
    auth::access(&mut it, access, policy);
    limited(&mut it, limits, policy);
    actions::cors(&mut it, cors.as_ref());
    actions::compression(&mut it, compression.as_ref());
    match cache {
        Some(CacheRule { name, default_ttl }) => {
            it.set("cache", name.as_deref().unwrap_or("on"));
            it.set_if("cache.default_ttl", default_ttl.map(written));
        }
        None => it.set("cache", "off"),
    }
    actions::request_headers(&mut it, request_headers);
    actions::response_headers(&mut it, response_headers);
    it.set_if("request_timeout", request_timeout.map(written));
    it.set("request_body_max", written_size(*request_body_max));
    it.set_if("response_body_max", response_body_max.map(written_size));
    web_socket(&mut it, websocket.as_ref());
    it
}

fn matched(it: &mut Definition, rules: &[&Rule]) {
    for (position, rule) in rules.iter().enumerate() {
        let Rule {
            hosts,
            path,
            conditions,
            route: _,
        } = rule;
        // The same in all of a route's rules.
        if position == 0 {
            it.each("hosts", hosts.iter().map(host_match));
        }
        it.set("matches", matches::rule(path, conditions));
    }
}

fn limited(it: &mut Definition, used: &[LimitUse], policy: &Policy) {
    let mut names = Vec::with_capacity(used.len());
    for LimitUse {
        id,
        mode: enforcement,
    } in used
    {
        let limit = policy.limits.get(id.0);
        let name = limit.map_or("", |limit| &limit.name);
        it.uses.push((limits::KIND, name.to_owned()));
        names.push(with_mode(name, *enforcement));
    }
    it.list("limits", names);
}

fn web_socket(it: &mut Definition, terms: Option<&WebSocket>) {
    let Some(WebSocket {
        origins,
        idle_timeout,
        lifetime,
        end_with_token,
    }) = terms
    else {
        return it.set("websocket", "refused");
    };
    it.set("websocket", "taken");
    it.each("websocket.origins", origins);
    it.set("websocket.idle_timeout", written(*idle_timeout));
    it.set("websocket.lifetime", written(*lifetime));
    it.set("websocket.end_with_token", end_with_token);
}

fn priority_word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

fn on_reload_word(on_reload: OnReload) -> &'static str {
    match on_reload {
        OnReload::Keep => "keep",
        OnReload::Drain => "drain",
        OnReload::Cut => "cut",
    }
}
