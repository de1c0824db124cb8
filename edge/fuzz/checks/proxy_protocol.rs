//! The PROXY header: a verdict never changes with more bytes, and never claims bytes that are not
//! there.

use palisade_edge::listen::proxy_protocol::{Progress, parse};

pub(crate) fn check(data: &[u8]) {
    let mut decided = None;
    for end in 0..=data.len() {
        let verdict = parse(&data[..end]);
        if let Ok(Progress::Whole { length, .. }) = &verdict {
            assert!(*length > 0 && *length <= end);
        }
        if let Some(before) = &decided {
            assert_eq!(before, &verdict, "changed by byte {end}");
        } else if verdict != Ok(Progress::Incomplete) {
            decided = Some(verdict);
        }
    }
}
