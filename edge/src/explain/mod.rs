//! What the edge would do with a request, and why: for `palisade explain`, tests of policies, replays.
//!
//! Invariant: nothing is decided here. A question becomes a request head, `stages::admit` judges it
//! as it judges traffic, with a rehearsal, and what it says is put into words and compared.

mod question;
mod decision;
mod explanation;
mod compose;
mod candidates;
mod steps;
mod settings;
mod limits;
mod upstream;
mod fields;
mod text;

pub use compose::explain;
pub use decision::{Answer, Decision, decide};
pub use explanation::*;
pub use question::{Certificate, Question, Unaskable};
pub use text::text;
