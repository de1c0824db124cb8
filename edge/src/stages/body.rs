//! The bound of a request body, as far as the head of the request tells.

use http::header::CONTENT_LENGTH;
use pingora_http::RequestHeader;

/// By what the head announces; a body that announces nothing is counted as it comes.
pub fn is_too_large(head: &RequestHeader, max: u64) -> bool {
    let length = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    length
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > max)
}
