//! Every input that fuzzing kept, through the same checks that it was found by.

#[path = "../fuzz/checks/sanitize.rs"]
mod sanitize;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("a corpus").path();
        check(&fs::read(path).expect("an input"));
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", folder.display());
}

#[test]
fn sanitize_holds() {
    replay("sanitize", sanitize::check);
}
