//! What is done with requests: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: "",
    changes: &[],
};
