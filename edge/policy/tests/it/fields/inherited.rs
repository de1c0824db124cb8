//! Defaults of all and of hosts: each key changes the model.

use super::Section;

pub(super) const SECTION: Section = Section {
    base: "",
    changes: &[],
};
