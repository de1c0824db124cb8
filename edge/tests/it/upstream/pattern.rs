//! Bodies whose every byte is known from its position: lost, doubled and moved bytes all show.

use std::sync::LazyLock;

use bytes::Bytes;

/// A prime, so that no power-of-two buffer can be swapped for another unnoticed.
const PERIOD: usize = 65_521;
/// Size of one piece.
pub(crate) const CHUNK: usize = 32 * 1024;

static TABLE: LazyLock<Bytes> = LazyLock::new(|| {
    let once = (0..PERIOD as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
    let once: Vec<u8> = once.collect();
    Bytes::from([once.clone(), once].concat())
});

/// `length` bytes from `offset` on, at most one period.
pub(crate) fn piece(offset: u64, length: usize) -> Bytes {
    let start = (offset % PERIOD as u64) as usize;
    TABLE.slice(start..start + length.min(PERIOD))
}

/// The first `length` bytes.
pub(crate) fn whole(length: usize) -> Bytes {
    let mut all = Vec::with_capacity(length);
    while all.len() < length {
        let next = piece(all.len() as u64, CHUNK.min(length - all.len()));
        all.extend_from_slice(&next);
    }
    all.into()
}

/// Compares what arrives with what should.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub(crate) bytes: u64,
    wrong_at: Option<u64>,
}

impl Checker {
    pub(crate) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (now, rest) = data.split_at(data.len().min(CHUNK));
            if self.wrong_at.is_none() && piece(self.bytes, now.len()) != now {
                self.wrong_at = Some(self.bytes);
            }
            self.bytes += now.len() as u64;
            data = rest;
        }
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.wrong_at.is_none()
    }
}
