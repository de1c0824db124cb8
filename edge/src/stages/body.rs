//! The bound of a body, as far as the head of its message tells.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;

/// By what the head announces; a body that announces nothing is counted as it comes.
pub fn is_too_large(head: &HeaderMap, max: u64) -> bool {
    let length = head
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > max)
}
