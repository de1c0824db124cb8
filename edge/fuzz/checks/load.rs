//! Bytes to a policy: an error with a place, a policy with its reasons, or a policy; never a panic.

use palisade_policy::load_text;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let diagnostics = match load_text(text) {
        Ok(loaded) => {
            // No line for nobody: it counts what there is.
            assert!(!loaded.summary().is_empty());
            let Some(salvaged) = loaded.salvaged else {
                return;
            };
            salvaged.errors
        }
        Err(diagnostics) => diagnostics,
    };
    assert!(!diagnostics.0.is_empty(), "refused without a reason");
    let lines = text.split(['\n', '\r']).count();
    for diagnostic in &diagnostics.0 {
        // The end of the text is a place, too.
        assert!(diagnostic.line as usize <= lines + 1, "{diagnostic:?}");
    }
    let printed = diagnostics.to_string();
    let is_shown = |c: char| !c.is_control() || c == '\n';
    assert!(printed.chars().all(is_shown), "{printed:?}");
}
