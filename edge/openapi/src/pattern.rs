//! Regular expressions that every reader of a schema takes alike.

/// Control characters, as RE2 names them.
const CONTROL: &str = r"\p{Cc}";

/// Rules are RE2, schemas ECMA 262, and what checks them is often neither: what all read alike.
/// Control characters are the one class of Unicode that is short enough to be written out.
pub(crate) fn portable(pattern: &str) -> Option<String> {
    const OTHERWISE: [&str; 9] = [
        r"\p", r"\P", r"\A", r"\z", r"\C", r"\Q", r"\x{", "[[:", "(?",
    ];
    let is_in_class = |at: usize| {
        let before = pattern.get(..at).unwrap_or("");
        before.rfind('[') > before.rfind(']')
    };
    let all_in_class = pattern
        .match_indices(CONTROL)
        .all(|(at, _)| is_in_class(at));
    let text = if all_in_class {
        pattern.replace(CONTROL, r"\u0000-\u001f\u007f-\u009f")
    } else {
        pattern.to_owned()
    };
    let plain = text.replace("(?:", "(");
    let is_portable = !OTHERWISE.iter().any(|it| plain.contains(it));
    is_portable.then_some(text)
}

/// A text that is meant letter by letter.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\^$.|?*+()[]{}/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_all_read_alike() {
        let same = ["^[0-9]{5}$", r"^(\+[1-9][0-9]{6,14})?$", "^(?:a|b)$"];
        for pattern in same {
            assert_eq!(portable(pattern).as_deref(), Some(pattern));
        }
        assert_eq!(
            portable(r"^[^\p{Cc}]*[^\s\p{Cc}]$").as_deref(),
            Some(r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f]$")
        );
        for pattern in [r"^\p{L}+$", r"\p{Cc}", r"^[a-z]\z", "(?i)a", "[[:alpha:]]"] {
            assert_eq!(portable(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn affixes_are_patterns() {
        assert_eq!(escaped("a.b/*"), r"a\.b\/\*");
    }
}
