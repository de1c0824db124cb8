//! What each rule of the language means and how to mend what it reports: `rules.md`, page by page.

/// All pages, as people read them.
const PAGES: &str = include_str!("rules.md");

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `P012`.
    pub id: &'static str,
    pub title: &'static str,
    /// Markdown, without the heading.
    pub text: &'static str,
}

/// Every rule, in order of its id.
pub fn rules() -> impl Iterator<Item = Rule> {
    let pages = PAGES.split("\n## ").skip(1);
    pages.filter_map(|page| {
        let (heading, text) = page.split_once('\n')?;
        let (id, title) = heading.split_once(' ')?;
        Some(Rule {
            id,
            title,
            text: text.trim(),
        })
    })
}

/// The rule of an id; upper and lower case are one.
pub fn rule(id: &str) -> Option<Rule> {
    rules().find(|rule| rule.id.eq_ignore_ascii_case(id))
}
