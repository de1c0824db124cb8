//! A finished response as the store holds it, and how long and at what weight.
//!
//! Invariant: `StoredMeta::restore` gives back every field of the `CacheMeta` it was made from; only
//! the letter case of header names is lost.
//! Does not decide freshness: Pingora does, on what is handed back.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderValue, header};
use pingora_cache::CacheMeta;
use pingora_cache::key::HashBinary;
use pingora_error::Result;
use pingora_http::ResponseHeader;

/// Book-keeping per entry (index, timer, counters, `Arc`s), so a million empty bodies are not free.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 512;
/// A `HeaderMap` slot with its name, value and original-case record, without their characters.
const HEADER_SLOT_BYTES: usize = 160;
/// A stale response with a validator is worth a 304: kept this long past its last use window.
const REVALIDATE_KEEP: Duration = Duration::from_secs(600);
/// No entry is timed beyond this, whatever `max-age` says; it also keeps the arithmetic in range.
const KEEP_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A `CacheMeta` in parts. `CacheMeta` is not `Clone`, and decoding it costs a zstd frame and a header
/// parse per hit. Measured unoptimised with ten headers: 1.7 us from parts, 4.1 us where the times are
/// encoded, 10.5 us by `CacheMeta::deserialize`.
#[derive(Debug, Clone)]
pub(crate) struct StoredMeta {
    header: ResponseHeader,
    extensions: Extensions,
    fresh_until: SystemTime,
    stale_while_revalidate_sec: u32,
    stale_if_error_sec: u32,
    /// When a soft purge took the response out of service.
    expired_at: Option<SystemTime>,
    times: Times,
}

#[derive(Debug, Clone)]
enum Times {
    /// Never revalidated: `CacheMeta::new` sets updated and provenance to created.
    Single {
        created: SystemTime,
        variance: Option<HashBinary>,
        epoch_override: Option<SystemTime>,
    },
    /// `updated` and `provenance` have no public setter, so Pingora's own encoding carries them.
    /// The header is not in it; a fixed small one is decoded in its place and then replaced.
    Encoded(Arc<[u8]>),
}

/// Pingora's encoding of a header without fields.
fn bare_header() -> Result<&'static [u8]> {
    static BARE: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(bytes) = BARE.get() {
        return Ok(bytes);
    }
    let epoch = SystemTime::UNIX_EPOCH;
    let header = ResponseHeader::build_no_case(200, Some(0))?;
    let (_, bytes) = CacheMeta::new(epoch, epoch, 0, 0, header).serialize()?;
    Ok(BARE.get_or_init(|| bytes))
}

impl StoredMeta {
    pub(crate) fn new(meta: &CacheMeta) -> Result<Self> {
        let created = meta.created();
        let times = if meta.updated() == created && meta.provenance() == created {
            Times::Single {
                created,
                variance: meta.variance(),
                epoch_override: meta.epoch_override(),
            }
        } else {
            Times::Encoded(meta.serialize()?.0.into())
        };
        Ok(Self {
            header: compact(meta.response_header())?,
            extensions: meta.extensions().clone(),
            fresh_until: meta.fresh_until(),
            stale_while_revalidate_sec: meta.stale_while_revalidate_sec(),
            stale_if_error_sec: meta.stale_if_error_sec(),
            expired_at: None,
            times,
        })
    }

    pub(crate) fn restore(&self) -> Result<CacheMeta> {
        let header = self.header.clone();
        let mut meta = match &self.times {
            Times::Single {
                created,
                variance,
                epoch_override,
            } => {
                let mut meta = CacheMeta::new(
                    self.fresh_until,
                    *created,
                    self.stale_while_revalidate_sec,
                    self.stale_if_error_sec,
                    header,
                );
                if let Some(variance) = variance {
                    meta.set_variance_key(*variance);
                }
                if let Some(epoch) = epoch_override {
                    meta.set_epoch_override(*epoch);
                }
                meta
            }
            Times::Encoded(internal) => {
                let mut meta = CacheMeta::deserialize(internal, bare_header()?)?;
                *meta.response_header_mut() = header;
                meta
            }
        };
        *meta.extensions_mut() = self.extensions.clone();
        if let Some(at) = self.expired_at {
            meta.expire_at(at);
        }
        Ok(meta)
    }

    /// The same response, out of service since `at` (the earliest such moment wins).
    pub(crate) fn expired(&self, at: SystemTime) -> Self {
        let at = self.expired_at.map_or(at, |earlier| earlier.min(at));
        Self {
            expired_at: Some(at),
            ..self.clone()
        }
    }

    /// `Content-Length` of the stored header, where there is exactly one that is a number.
    pub(crate) fn content_length(&self) -> Option<usize> {
        content_length(&self.header)
    }

    /// Heap bytes, header included. Extensions are opaque; the entry's overhead stands for them.
    pub(crate) fn weight(&self) -> usize {
        let fields = self.header.headers.iter();
        let header: usize = fields
            .map(|(name, value)| 2 * name.as_str().len() + value.len() + HEADER_SLOT_BYTES)
            .sum();
        let encoded = match &self.times {
            Times::Single { .. } => 0,
            Times::Encoded(bytes) => bytes.len(),
        };
        size_of::<Self>() + header + encoded
    }

    /// How long the response is worth its memory, from `now`: until its last stale window closes,
    /// and where the origin can answer 304, a while longer.
    pub(crate) fn keep_for(&self, now: SystemTime) -> Duration {
        let deadline = self
            .expired_at
            .map_or(self.fresh_until, |at| at.min(self.fresh_until));
        let stale = self.stale_while_revalidate_sec.max(self.stale_if_error_sec);
        let mut window = Duration::from_secs(stale.into());
        let headers = &self.header.headers;
        if headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED) {
            window = window.max(REVALIDATE_KEEP);
        }
        match deadline.checked_add(window) {
            Some(until) => until.duration_since(now).unwrap_or_default().min(KEEP_MAX),
            None => KEEP_MAX,
        }
    }
}

/// The header with values of its own. As received from an HTTP/1.1 upstream they are slices of the
/// read buffer, and keeping one of them would keep all of it: 7 KiB instead of 3 KiB for a small
/// answer. The original case of names goes too; field names have none (RFC 9110 section 5.1).
fn compact(header: &ResponseHeader) -> Result<ResponseHeader> {
    let fields = &header.headers;
    let mut values = BytesMut::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        values.extend_from_slice(value.as_bytes());
    }
    let mut values = values.freeze();
    let mut compact = ResponseHeader::build_no_case(header.status, Some(fields.len()))?;
    compact.set_version(header.version);
    compact.set_reason_phrase(header.get_reason_phrase())?;
    for (name, value) in fields {
        let own = values.split_to(value.len());
        // Pingora lets bytes pass that the http crate refuses: those stay as they are.
        let own = HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| value.clone());
        compact.append_header(name.clone(), own)?;
    }
    Ok(compact)
}

/// The one valid `Content-Length` of a response, if it has one.
pub(crate) fn content_length(response: &ResponseHeader) -> Option<usize> {
    let mut values = response.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = values.next()?.to_str().ok()?.parse().ok()?;
    values.next().is_none().then_some(length)
}

/// A whole body: every segment but the last is `SEGMENT_BYTES` long, so seeking is a division.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) segments: Arc<[Bytes]>,
    pub(crate) len: usize,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) meta: Arc<StoredMeta>,
    pub(crate) body: Body,
    /// Bytes, saturating: object sizes are bounded far below `u32::MAX`.
    pub(crate) weight: u32,
    pub(crate) keep_for: Duration,
}

impl Entry {
    pub(crate) fn new(meta: Arc<StoredMeta>, body: Body, now: SystemTime) -> Self {
        let segments = body.segments.len() * size_of::<Bytes>();
        let weight = ENTRY_OVERHEAD_BYTES + meta.weight() + segments + body.len;
        let keep_for = meta.keep_for(now);
        Self {
            meta,
            body,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            keep_for,
        }
    }

    /// The same body under other metadata.
    pub(crate) fn with_meta(&self, meta: StoredMeta, now: SystemTime) -> Self {
        Self::new(Arc::new(meta), self.body.clone(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn meta(fresh_until: u64, windows: (u32, u32), fields: &[(&'static str, &str)]) -> CacheMeta {
        let mut header = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        CacheMeta::new(at(fresh_until), at(50), windows.0, windows.1, header)
    }

    #[test]
    fn every_field_comes_back_in_both_forms() {
        let mut original = meta(
            100,
            (5, 6),
            &[("X-A", "1"), ("x-a", "2"), ("etag", "\"e\"")],
        );
        original.set_variance([1; 16]);
        original.set_epoch_override(at(40));
        original.extensions_mut().insert("note");
        original
            .response_header_mut()
            .set_reason_phrase(Some("Fine"))
            .unwrap();
        for revalidated in [false, true] {
            if revalidated {
                original.update_freshness(at(200), 7, 8);
            }
            let stored = StoredMeta::new(&original).unwrap();
            assert_eq!(matches!(stored.times, Times::Encoded(_)), revalidated);
            let restored = stored.restore().unwrap();
            let times = |meta: &CacheMeta| {
                [
                    meta.created(),
                    meta.updated(),
                    meta.provenance(),
                    meta.fresh_until(),
                    meta.epoch(),
                ]
            };
            let windows =
                |meta: &CacheMeta| (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec());
            let wire = |meta: &CacheMeta| {
                let mut wire = Vec::new();
                meta.response_header().header_to_h1_wire(&mut wire);
                (
                    wire.to_ascii_lowercase(),
                    meta.response_header()
                        .get_reason_phrase()
                        .map(str::to_owned),
                )
            };
            assert_eq!(times(&restored), times(&original));
            assert_eq!(windows(&restored), windows(&original));
            assert_eq!(wire(&restored), wire(&original));
            assert_eq!(restored.variance(), original.variance());
            assert_eq!(restored.epoch_override(), original.epoch_override());
            assert_eq!(restored.extensions().get(), Some(&"note"));
            // Pingora's own encoding compares what has no getter too.
            assert_eq!(
                restored.serialize().unwrap().0,
                original.serialize().unwrap().0
            );
        }
    }

    #[test]
    fn a_stored_header_does_not_hold_the_read_buffer() {
        let buffer = Bytes::from(vec![b'v'; 64 * 1024]);
        let mut header = ResponseHeader::build(200, None).unwrap();
        let slice = HeaderValue::from_maybe_shared(buffer.slice(10..20)).unwrap();
        header.append_header("X-Slice", slice).unwrap();
        let stored = StoredMeta::new(&CacheMeta::new(at(100), at(50), 0, 0, header)).unwrap();
        assert!(buffer.is_unique(), "the stored header shares its values");
        assert_eq!(stored.header.headers["x-slice"], "vvvvvvvvvv");
    }

    #[test]
    fn an_expiry_moves_freshness_back_and_never_forward() {
        let stored = StoredMeta::new(&meta(100, (5, 0), &[])).unwrap();
        let fresh_until = |stored: &StoredMeta| stored.restore().unwrap().fresh_until();
        assert_eq!(fresh_until(&stored.expired(at(80))), at(80));
        assert_eq!(fresh_until(&stored.expired(at(80)).expired(at(90))), at(80));
        assert_eq!(fresh_until(&stored.expired(at(120))), at(100));
        assert_eq!(
            stored.expired(at(80)).keep_for(at(80)),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn kept_to_the_end_of_the_last_window() {
        let check = |fresh_until, windows, fields: &[(&'static str, &str)], expected: u64| {
            let stored = StoredMeta::new(&meta(fresh_until, windows, fields)).unwrap();
            let found = stored.keep_for(at(1000));
            assert_eq!(
                found,
                Duration::from_secs(expected),
                "{fresh_until} {windows:?} {fields:?}"
            );
        };
        let year = KEEP_MAX.as_secs();
        check(1100, (0, 0), &[], 100);
        check(1000, (0, 0), &[], 0);
        check(900, (0, 0), &[], 0);
        check(900, (150, 0), &[], 50);
        check(900, (0, 160), &[], 60);
        check(900, (20, 30), &[], 0);
        check(900, (0, 0), &[("etag", "\"a\"")], 500);
        check(900, (0, 0), &[("last-modified", "x")], 500);
        check(900, (700, 0), &[("etag", "\"a\"")], 600);
        check(10, (0, 0), &[("etag", "\"a\"")], 0);
        check(40_000_000_000, (0, 0), &[], year);
        check(1100, (u32::MAX, 0), &[], year);
    }

    #[test]
    fn only_a_single_plain_content_length_counts() {
        let check = |values: &[&str], expected| {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("content-length", *value))
                .collect();
            assert_eq!(
                content_length(meta(1, (0, 0), &fields).response_header()),
                expected,
                "{values:?}"
            );
        };
        check(&["12"], Some(12));
        check(&[], None);
        check(&["12", "12"], None);
        check(&["-1"], None);
        check(&["x"], None);
        check(&["99999999999999999999999"], None);
    }
}
