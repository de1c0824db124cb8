//! What is kept of the reason of a failure, in a row that operators read.
//! Invariant: it has a bound, whatever the failing party wrote.

/// Characters; enough to recognise the failure by.
const CHARS_MAX: usize = 500;

/// The beginning of a reason, as long as is kept.
pub(crate) fn shortened(reason: &str) -> String {
    reason.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(shortened("näher"), "näher");
        assert_eq!(shortened(&"ä".repeat(900)), "ä".repeat(CHARS_MAX));
    }
}
