//! One field line (RFC 9112, 5), of a head or of trailers.

use memchr::memchr;

use super::refusal::Refusal;

pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// Without the white space around it.
    pub(super) value: &'a [u8],
    /// Where in the line it begins.
    pub(super) value_at: usize,
}

impl<'a> Field<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            // RFC 9112, 2.2 and 5.2.
            return Err(Refusal::Malformed("a field line begins with white space"));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Refusal::Malformed("a field line has no colon"));
        };
        let (name, rest) = line.split_at(colon);
        let value = rest.get(1..).unwrap_or(&[]);
        if matches!(name.last(), Some(b' ' | b'\t')) {
            // RFC 9112, 5.1.
            return Err(Refusal::Malformed(
                "white space before the colon of a field",
            ));
        }
        if name.is_empty() || !name.iter().all(|byte| is_tchar(*byte)) {
            return Err(Refusal::Malformed(
                "a field name has a character of no token",
            ));
        }
        if has_control(value) {
            return Err(Refusal::Malformed("a field value has a control character"));
        }
        let lead = value.len() - value.trim_ascii_start().len();
        Ok(Self {
            name,
            value: value.trim_ascii(),
            value_at: colon + 1 + lead,
        })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Anything below space but a tab, and DEL (RFC 9110, 5.5). Without a branch: it is vectorised.
fn has_control(value: &[u8]) -> bool {
    value.iter().fold(false, |found, byte| {
        found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f)
    })
}

/// The characters of a token (RFC 9110, 5.6.2).
pub(super) fn is_tchar(byte: u8) -> bool {
    TCHAR.get(usize::from(byte)).copied().unwrap_or(false)
}

const TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};
