//! Lists by pages: how many, from where, and the token of the next one.
//! Invariant: a page is asked for with one row more than it shows; only that row says
//! that there is a next page.

use serde::{Serialize, de::DeserializeOwned};
use tonic::Status;

use crate::cursor::{Cursors, Query};

/// For a caller that doesn't say.
const PAGE_SIZE: i32 = 50;

/// One list as one caller asks for it.
pub struct Pages<'a> {
    pub cursors: &'a Cursors,
    pub query: Query<'a>,
    /// As the message has it; the input rules bound it.
    pub size: i32,
}

impl Pages<'_> {
    /// Where the page begins: after this.
    ///
    /// # Errors
    /// `INVALID_PAGE_TOKEN` for a token of another list.
    pub fn after<P: DeserializeOwned>(&self, token: &str) -> Result<Option<P>, Status> {
        self.cursors.position(self.query, token)
    }

    /// How many rows to read.
    pub fn limit(&self) -> i64 {
        i64::from(self.size()) + 1
    }

    /// The page's rows, and the token of the next page.
    ///
    /// # Errors
    /// A position that no token could hold.
    pub fn cut<T, P: Serialize>(
        &self,
        mut rows: Vec<T>,
        position: impl FnOnce(&T) -> P,
    ) -> Result<(Vec<T>, String), Status> {
        let size = usize::try_from(self.size()).unwrap_or(0);
        if rows.len() <= size {
            return Ok((rows, String::new()));
        }
        rows.truncate(size);
        let token = match rows.last() {
            Some(last) => self.cursors.token(self.query, &position(last))?,
            None => String::new(),
        };
        Ok((rows, token))
    }

    fn size(&self) -> i32 {
        if self.size == 0 { PAGE_SIZE } else { self.size }
    }
}
