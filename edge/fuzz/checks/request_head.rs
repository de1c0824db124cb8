//! The judge of HTTP/1.1 heads: its verdict does not depend on cuts, and what it lets pass the
//! usual parser reads in the same way.

use palisade_edge::listen::http1::head::{Body, HeadReader, check as judge};

/// More fields than a head may have.
const FIELDS_MAX: usize = 256;

pub(crate) fn check(data: &[u8]) {
    let whole = judge(data);
    let mut reader = HeadReader::default();
    let mut in_pieces = Ok(None);
    for end in 0..=data.len() {
        in_pieces = reader.advance(&data[..end]);
        if !matches!(in_pieces, Ok(None)) {
            break;
        }
    }
    match (&whole, &in_pieces) {
        (Ok(whole), Ok(in_pieces)) => assert_eq!(whole, in_pieces),
        (Err(_), Err(_)) => {}
        (whole, in_pieces) => panic!("{whole:?} at once, {in_pieces:?} in pieces"),
    }
    let Ok(Some(head)) = whole else { return };
    let bytes = &data[head.range.clone()];
    assert!(bytes.ends_with(b"\r\n\r\n"));
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes);
    assert!(
        matches!(parsed, Ok(httparse::Status::Complete(length)) if length == bytes.len()),
        "{parsed:?}"
    );
    let named = |wanted: &str| {
        let of_name = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(wanted);
        request.headers.iter().filter(of_name).collect::<Vec<_>>()
    };
    assert!(named("host").len() <= 1);
    let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
    assert!(lengths.is_empty() || codings.is_empty(), "two framings");
    match head.framing.body {
        Body::Chunked => assert_eq!((lengths.len(), codings.is_empty()), (0, false)),
        Body::Length(length) => {
            assert_eq!(lengths.len(), 1);
            let text = std::str::from_utf8(lengths[0].value).expect("digits");
            assert_eq!(text.parse(), Ok(length));
        }
        Body::Empty => assert!(codings.is_empty()),
    }
}
