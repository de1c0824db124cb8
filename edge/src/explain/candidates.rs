//! The rules that came into question, and why each but one lost.

use super::compose::Judged;
use super::explanation::Candidate;

pub(super) fn candidates(_judged: &Judged<'_>) -> Vec<Candidate> {
    Vec::new()
}
