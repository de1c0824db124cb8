//! Host patterns, in the form requests are compared with: lower case, no port, no final dot.

use std::net::{IpAddr, Ipv6Addr};

use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::routing::HostMatch;

/// RFC 1035, 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// `api.example.com`, `*.example.com`, `10.0.0.1`, `[::1]`.
pub(super) fn host(text: &str) -> Result<HostMatch, Fault> {
    let fault =
        |why: &str| Fault::new(codes::HOST, format!("{} is not a host: {why}", shown(text)));
    if text == "*" {
        return Err(fault("a star alone").hint("leave `hosts` out to serve every host"));
    }
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match address.parse::<Ipv6Addr>() {
            Ok(parsed) if parsed.to_string() == address => Ok(HostMatch::Exact(text.to_owned())),
            Ok(parsed) => {
                Err(fault("another spelling of an address").hint(format!("write `[{parsed}]`")))
            }
            Err(_) => Err(fault("no IPv6 address in the brackets")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(fault("an IPv6 address without brackets").hint(format!("write `[{text}]`")));
    }
    if text.contains("://") || text.contains('/') {
        return Err(
            fault("more than a host").hint("write the name alone, the path goes to `matches`")
        );
    }
    if let Some((name, _)) = text.split_once(':') {
        return Err(
            fault("it has a port").hint(format!("write {}, ports are not compared", shown(name)))
        );
    }
    let canonical = text.trim_end_matches('.').to_ascii_lowercase();
    if canonical != text && !canonical.is_empty() {
        return Err(fault("not the form that hosts are compared in")
            .hint(format!("write {}", shown(&canonical))));
    }
    if !text.is_ascii() {
        return Err(fault("it has a character outside of ASCII")
            .hint("write the name as DNS has it, with `xn--`"));
    }
    let (name, is_wildcard) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        let hint = "a star stands for whole labels at the beginning, as in `*.example.com`";
        let fault = fault("it is no DNS name");
        return Err(if text.contains('*') {
            fault.hint(hint)
        } else {
            fault
        });
    }
    if is_wildcard && name.parse::<IpAddr>().is_ok() {
        return Err(fault("addresses have no sub-domains"));
    }
    Ok(if is_wildcard {
        HostMatch::Wildcard(format!(".{name}"))
    } else {
        HostMatch::Exact(name.to_owned())
    })
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<HostMatch>) {
        assert_eq!(host(text).ok(), expected, "{text}");
    }

    #[test]
    fn hosts() {
        check(
            "api.example.com",
            Some(HostMatch::Exact("api.example.com".to_owned())),
        );
        check(
            "*.example.com",
            Some(HostMatch::Wildcard(".example.com".to_owned())),
        );
        check("*.com", Some(HostMatch::Wildcard(".com".to_owned())));
        check("localhost", Some(HostMatch::Exact("localhost".to_owned())));
        check("127.0.0.1", Some(HostMatch::Exact("127.0.0.1".to_owned())));
        check("[::1]", Some(HostMatch::Exact("[::1]".to_owned())));
        for wrong in [
            "",
            "*",
            ".",
            "a..b",
            "API.example.com",
            "example.com.",
            "example.com:443",
            "https://a",
            "a/b",
            "::1",
            "[0:0::1]",
            "[x]",
            "*a.b",
            "a.*.b",
            "*.10.0.0.1",
            "-a.b",
            "a-.b",
            "bücher.de",
            "a b",
        ] {
            check(wrong, None);
        }
        check(&format!("{}.com", "a".repeat(64)), None);
        check(&["a"; 128].join("."), None);
    }
}
