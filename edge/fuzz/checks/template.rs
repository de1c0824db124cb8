//! A path template, and below it a path: the template is refused, or it matches what it describes, and
//! what it captures is a part of the path.

use palisade_translate::tools::captures;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (template, path) = text.split_once('\n').unwrap_or((text, "/a/b/c:d"));
    let Ok(found) = captures(template, path) else {
        return;
    };
    for (_, value) in found.into_iter().flatten() {
        assert!(path.contains(&value), "{template} of {path}: {value}");
    }
    let path = example(template);
    let found = captures(template, &path).expect("it was a template before");
    assert!(found.is_some(), "{template} does not match {path}");
}

/// A path that the template is for.
fn example(template: &str) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((head, variable)) = rest.split_once('{') {
        let (variable, tail) = variable.split_once('}').expect("it is closed");
        path.push_str(head);
        path.push_str(variable.split_once('=').map_or("*", |(_, pattern)| pattern));
        rest = tail;
    }
    path.push_str(rest);
    // A lone star is no character of a literal.
    path.replace("**", "x/y").replace('*', "z")
}
