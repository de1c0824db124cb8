//! Comments of proto files, by what they are written above.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// The comments of one descriptor pool, as far as it was compiled with source information.
#[derive(Debug, Default)]
pub(crate) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

impl Comments {
    pub(crate) fn of(pool: &DescriptorPool) -> Self {
        let files = pool.files();
        Self(
            files
                .map(|file| (file.name().to_owned(), in_file(&file)))
                .collect(),
        )
    }

    /// Above the element of `file` with this path (`descriptor.proto`, `SourceCodeInfo`).
    pub(crate) fn above(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        let comments = self.0.get(file.name());
        comments
            .and_then(|all| all.get(path))
            .map_or("", String::as_str)
    }
}

fn in_file(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.map_or(&[][..], |info| &info.location);
    let comments = locations.iter().filter_map(|location| {
        let leading = location.leading_comments().trim();
        let text = match leading {
            "" => location.trailing_comments(),
            _ => leading,
        };
        let text = paragraphs(text);
        (!text.is_empty()).then(|| (location.path.clone(), text))
    });
    comments.collect()
}

/// Lines of a paragraph become one; remarks for linters are left out.
fn paragraphs(comment: &str) -> String {
    let mut text = String::new();
    let mut is_open = false;
    for line in comment.lines().map(str::trim) {
        if line.is_empty() || line.starts_with("buf:lint:") {
            is_open = false;
            continue;
        }
        // A list keeps its lines.
        let begins_item = line.starts_with("- ") || line.starts_with("* ");
        if begins_item && is_open {
            text.push('\n');
        } else if is_open {
            text.push(' ');
        } else if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(line);
        is_open = true;
    }
    text
}

/// The first sentence without its period, and the whole where there is more than that.
pub(crate) fn summary(comment: &str) -> (&str, Option<&str>) {
    let first = comment.split("\n\n").next().unwrap_or("");
    let end = first.find(". ").unwrap_or(first.len());
    let sentence = first.get(..end).unwrap_or(first).trim_end_matches('.');
    let is_all = sentence.len() + 1 >= comment.len();
    (sentence, (!is_all).then_some(comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_paragraph_are_one() {
        assert_eq!(
            paragraphs(" a\n b\n\n c\n - d\n - e\n"),
            "a b\n\nc\n- d\n- e"
        );
        assert_eq!(paragraphs(" a\n buf:lint:ignore X\n b"), "a\n\nb");
    }

    #[test]
    fn the_first_sentence_is_the_summary() {
        assert_eq!(summary("Opens it."), ("Opens it", None));
        assert_eq!(
            summary("Opens it. Now."),
            ("Opens it", Some("Opens it. Now."))
        );
        assert_eq!(summary(""), ("", None));
    }
}
