//! The framing of chunked bodies: cuts change neither the verdict nor where the body ends.

use palisade_edge::listen::http1::chunked::ChunkedBody;

pub(crate) fn check(data: &[u8]) {
    let at_once = read(data, data.len().max(1));
    for piece in [1, 3] {
        assert_eq!(at_once, read(data, piece), "in pieces of {piece}");
    }
}

/// Bytes of the body, and whether they are all of it; none where it is refused.
fn read(data: &[u8], piece: usize) -> Option<(usize, bool)> {
    let mut body = ChunkedBody::default();
    let mut total = 0;
    for piece in data.chunks(piece) {
        let taken = body.advance(piece).ok()?;
        assert!(taken <= piece.len());
        total += taken;
        if body.is_done() {
            break;
        }
        assert_eq!(taken, piece.len(), "bytes left over inside of a body");
    }
    Some((total, body.is_done()))
}
