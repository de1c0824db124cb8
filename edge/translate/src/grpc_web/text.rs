//! gRPC-Web as text: base64 of the same bytes (PROTOCOL-WEB, "Text-encoded (response) streams").

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

/// Characters that are decoded together.
const GROUP: usize = 4;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body is not base64")]
pub(crate) struct Malformed;

/// Takes base64 as it comes. Whoever flushes may pad, so any group may end in `=`, and more may follow.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Of a group that is not whole.
    held: Vec<u8>,
}

impl Decoder {
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Malformed> {
        self.held.extend_from_slice(chunk);
        let mut rest = self.held.as_slice();
        let mut out = Vec::with_capacity(rest.len() / GROUP * 3);
        while rest.len() >= GROUP {
            let whole = rest.len() / GROUP * GROUP;
            let padded = rest.iter().position(|byte| *byte == b'=');
            let end = padded
                .map_or(whole, |at| (at / GROUP + 1) * GROUP)
                .min(whole);
            let (groups, tail) = rest.split_at(end);
            BASE64_STANDARD
                .decode_vec(groups, &mut out)
                .map_err(|_| Malformed)?;
            rest = tail;
        }
        self.held = rest.to_vec();
        Ok(out.into())
    }

    /// Whether the body may end here.
    pub(crate) fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

/// A piece that is flushed, padded.
pub(crate) fn encode(bytes: &[u8]) -> Bytes {
    BASE64_STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_flush_and_any_cut_give_the_same_bytes(
            flushed in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            cut in 1_usize..20,
        ) {
            let text: Vec<u8> = flushed.iter().flat_map(|piece| encode(piece)).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in text.chunks(cut) {
                seen.extend(decoder.push(chunk).unwrap());
            }
            prop_assert!(decoder.is_whole());
            prop_assert_eq!(seen, flushed.concat());
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "[A-Za-z0-9+/=_ ]{0,40}", cut in 1_usize..20) {
            let mut decoder = Decoder::default();
            let _: Result<Vec<_>, _> = text.as_bytes().chunks(cut).map(|c| decoder.push(c)).collect();
        }
    }

    #[test]
    fn what_is_not_base64() {
        for text in [
            "A===",
            "====",
            "AA=A",
            "A\nAA",
            "AA-_",
            "AA==B===",
            "\u{e9}AAA",
        ] {
            assert_eq!(
                Decoder::default().push(text.as_bytes()),
                Err(Malformed),
                "{text}"
            );
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"AAA"), Ok(Bytes::new()));
        assert!(!decoder.is_whole());
    }
}
