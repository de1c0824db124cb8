//! Finds the binding of a method and a path in a tree of segments.
//!
//! Precedence, at each segment from the left: a literal, then `*`, then `**`; a template whose
//! verb the path ends with beats one without; an exact method beats a rule for any method. A
//! template that lacks the method does not hide a more general one that has it.
//! Invariant: a search visits each node at most once and allocates nothing but the `Allow` list.

use std::collections::HashMap;

use http::Method;

use crate::rules::binding::BoundMethod;
use crate::rules::template::{Segment, Template};

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize, ahash::RandomState>,
    one: Option<usize>,
    /// Templates that end at this node.
    here: Vec<Leaf>,
    /// Templates that go on with `**`.
    rest: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<Box<str>>,
    method: BoundMethod,
    binding: usize,
}

#[derive(Debug)]
pub(crate) struct Index {
    nodes: Vec<Node>,
    verbs: Vec<Box<str>>,
}

/// What one search looks for.
struct Wanted<'a> {
    method: &'a Method,
    verb: Option<&'a str>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
            verbs: Vec::new(),
        }
    }

    /// Adds a binding; `Err` holds the binding that already has this method and template.
    pub(crate) fn insert(
        &mut self,
        template: &Template,
        method: &BoundMethod,
        binding: usize,
    ) -> Result<(), usize> {
        let mut at = 0;
        let mut open = false;
        for segment in &template.segments {
            at = match segment {
                Segment::Literal(text) => self.literal(at, text),
                Segment::One => self.one(at),
                Segment::Rest => {
                    open = true;
                    at
                }
            };
        }
        let Some(node) = self.nodes.get_mut(at) else {
            return Ok(()); // not reachable: every child index is a pushed node
        };
        let leaves = if open { &mut node.rest } else { &mut node.here };
        let taken = |leaf: &&Leaf| leaf.verb == template.verb && leaf.method == *method;
        if let Some(leaf) = leaves.iter().find(taken) {
            return Err(leaf.binding);
        }
        leaves.push(Leaf {
            verb: template.verb.clone(),
            method: method.clone(),
            binding,
        });
        if let Some(verb) = &template.verb
            && !self.verbs.contains(verb)
        {
            self.verbs.push(verb.clone());
        }
        Ok(())
    }

    fn literal(&mut self, at: usize, text: &str) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        if let Some(&child) = node.literals.get(text) {
            return child;
        }
        node.literals.insert(text.into(), next);
        self.nodes.push(Node::default());
        next
    }

    fn one(&mut self, at: usize) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        let child = *node.one.get_or_insert(next);
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The binding for `method` and the percent-encoded `path`. `allow` receives the methods of
    /// the templates that match the path without having the method.
    pub(crate) fn find(
        &self,
        method: &Method,
        path: &str,
        allow: &mut Vec<Method>,
    ) -> Option<usize> {
        let path = path.strip_prefix('/')?;
        if let Some((base, verb)) = path.rsplit_once(':')
            && self.verbs.iter().any(|known| &**known == verb)
        {
            let wanted = Wanted {
                method,
                verb: Some(verb),
            };
            if let Some(found) = self.search(0, Some(base), &wanted, allow) {
                return Some(found);
            }
        }
        let wanted = Wanted { method, verb: None };
        let rest = (!path.is_empty()).then_some(path);
        self.search(0, rest, &wanted, allow)
    }

    /// Depth is bounded by `template::SEGMENTS_MAX`, not by the path.
    fn search(
        &self,
        at: usize,
        rest: Option<&str>,
        wanted: &Wanted<'_>,
        allow: &mut Vec<Method>,
    ) -> Option<usize> {
        let node = self.nodes.get(at)?;
        let Some(rest) = rest else {
            return pick(&node.here, wanted, allow).or_else(|| pick(&node.rest, wanted, allow));
        };
        let (segment, tail) = match rest.split_once('/') {
            Some((segment, tail)) => (segment, Some(tail)),
            None => (rest, None),
        };
        let literal = node.literals.get(segment).copied();
        // `*` must not match nothing: `/users//keys` is not the keys of the user ``.
        let one = node.one.filter(|_| !segment.is_empty());
        [literal, one]
            .into_iter()
            .flatten()
            .find_map(|child| self.search(child, tail, wanted, allow))
            .or_else(|| pick(&node.rest, wanted, allow))
    }
}

fn pick(leaves: &[Leaf], wanted: &Wanted<'_>, allow: &mut Vec<Method>) -> Option<usize> {
    let mut any = None;
    for leaf in leaves.iter().filter(|l| l.verb.as_deref() == wanted.verb) {
        match &leaf.method {
            BoundMethod::Any => any = Some(leaf.binding),
            BoundMethod::Exact(method) if method == wanted.method => return Some(leaf.binding),
            BoundMethod::Exact(method) if !allow.contains(method) => allow.push(method.clone()),
            BoundMethod::Exact(_) => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::template;
    use proptest::prelude::*;

    const TEMPLATES: [(&str, &str); 16] = [
        ("GET", "/"),
        ("GET", "/v1/users"),
        ("POST", "/v1/users"),
        ("GET", "/v1/users/me"),
        ("GET", "/v1/users/{id}"),
        ("DELETE", "/v1/users/{id}"),
        ("GET", "/v1/users/{id}/keys"),
        ("POST", "/v1/users/{id}:ban"),
        ("POST", "/v1/{name=files/**}:publish"),
        ("GET", "/v1/{name=files/**}"),
        ("GET", "/v1/{a}/{b}/{c}"),
        ("*", "/hooks/{id}"),
        ("PUT", "/hooks/{id}"),
        ("GET", "/x/y/z"),
        ("GET", "/x/{any}/w"),
        ("GET", "/v1/{name=shelves/*/books/*}"),
    ];

    fn index() -> Index {
        let mut index = Index::new();
        for (at, (method, text)) in TEMPLATES.iter().enumerate() {
            let method = BoundMethod::parse(method).unwrap();
            index
                .insert(&template::parse(text).unwrap(), &method, at)
                .unwrap();
        }
        index
    }

    fn check(index: &Index, method: &str, path: &str) -> String {
        let mut allow = Vec::new();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match index.find(&method, path, &mut allow) {
            Some(at) => format!("{} {}", TEMPLATES[at].0, TEMPLATES[at].1),
            None => allow
                .iter()
                .map(Method::as_str)
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    #[test]
    fn precedence() {
        let index = index();
        let cases = [
            ("GET", "/", "GET /"),
            ("GET", "/v1/users", "GET /v1/users"),
            ("GET", "/v1/users/", ""),
            ("GET", "//v1/users", ""),
            ("GET", "/v1/Users", ""),
            ("GET", "/v1/users/me", "GET /v1/users/me"),
            ("DELETE", "/v1/users/me", "DELETE /v1/users/{id}"),
            ("GET", "/v1/users/m%65", "GET /v1/users/{id}"),
            ("GET", "/v1/users/a/keys", "GET /v1/users/{id}/keys"),
            ("GET", "/v1/users//keys", ""),
            ("GET", "/v1/users/a/other", "GET /v1/{a}/{b}/{c}"),
            ("POST", "/v1/users/7:ban", "POST /v1/users/{id}:ban"),
            ("GET", "/v1/users/7:ban", "GET /v1/users/{id}"),
            ("GET", "/v1/users/7:other", "GET /v1/users/{id}"),
            ("POST", "/v1/users/:ban", "GET,DELETE"),
            ("POST", "/v1/users/7%3Aban", "GET,DELETE"),
            ("GET", "/v1/files", "GET /v1/{name=files/**}"),
            ("GET", "/v1/files/a/b/c", "GET /v1/{name=files/**}"),
            ("GET", "/v1/files/a//c/", "GET /v1/{name=files/**}"),
            (
                "POST",
                "/v1/files/a/b:publish",
                "POST /v1/{name=files/**}:publish",
            ),
            ("POST", "/v1/files/a/b", "GET"),
            ("PUT", "/v1/users", "GET,POST"),
            ("LOCK", "/hooks/1", "* /hooks/{id}"),
            ("PUT", "/hooks/1", "PUT /hooks/{id}"),
            ("GET", "/x/y/w", "GET /x/{any}/w"),
            (
                "GET",
                "/v1/shelves/1/books/2",
                "GET /v1/{name=shelves/*/books/*}",
            ),
            ("GET", "/v1/shelves/1/books", "GET /v1/{a}/{b}/{c}"),
            ("OPTIONS", "*", ""),
            ("GET", "", ""),
        ];
        for (method, path, expected) in cases {
            assert_eq!(check(&index, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn same_shape_is_a_conflict() {
        let mut index = index();
        let get = BoundMethod::Exact(Method::GET);
        for (text, expected) in [
            ("/v1/users/{other}", Err(4)),
            ("/v1/users/*", Err(4)),
            ("/v1/files/**", Err(9)),
            ("/v1/users/{id}:ban", Ok(())),
        ] {
            let template = template::parse(text).unwrap();
            assert_eq!(index.insert(&template, &get, 99), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "(/(v1|users|files|[a-z:%]{0,3}|\\PC{0,3})){0,40}|\\PC*") {
            let index = index();
            let mut allow = Vec::new();
            for method in [Method::GET, Method::POST] {
                if let Some(at) = index.find(&method, &path, &mut allow) {
                    for variable in &template::parse(TEMPLATES[at].1).unwrap().variables {
                        prop_assert!(path.contains(variable.span.of(&path)));
                    }
                }
            }
        }
    }
}
