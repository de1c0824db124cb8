//! The name of a request: 32 hex digits, ready to be put into a header.

use http::HeaderValue;

/// Made by the edge for each request; a client's own is not believed.
#[derive(Debug, Clone)]
pub struct RequestId {
    number: u128,
    digits: HeaderValue,
}

impl RequestId {
    pub fn random() -> Self {
        let number = fastrand::u128(..);
        // Hex digits are always a header value.
        let digits = HeaderValue::from_bytes(&hex::<32>(number));
        Self {
            number,
            digits: digits.unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }

    /// What is left to chance about a request is decided by this.
    pub fn number(&self) -> u128 {
        self.number
    }

    /// One that was made before: to decide again what was decided by it.
    pub fn of(text: &str) -> Option<Self> {
        let is_digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self {
            number: u128::from_str_radix(text, 16).ok().filter(|_| is_digits)?,
            digits: HeaderValue::from_str(text).ok()?,
        })
    }

    pub fn header(&self) -> HeaderValue {
        self.digits.clone()
    }

    pub fn as_str(&self) -> &str {
        self.digits.to_str().unwrap_or("")
    }
}

/// The last `N` hex digits of a number. By hand, because the formatting machinery was 2 % of the
/// cost of a proxied request.
pub fn hex<const N: usize>(mut value: u128) -> [u8; N] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        let digit = usize::try_from(value & 15).unwrap_or(0);
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        value >>= 4;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for value in [0, 1, 0xdead_beef, u128::MAX, 0x4bf9_2f35_77b3_4da6] {
            assert_eq!(hex::<32>(value), format!("{value:032x}").as_bytes());
        }
        assert_eq!(&hex::<2>(0x1ab), b"ab");
    }

    #[test]
    fn ids_differ() {
        let (one, other) = (RequestId::random(), RequestId::random());
        assert_ne!(one.as_str(), other.as_str());
        assert_eq!(one.as_str().len(), 32);
    }
}
