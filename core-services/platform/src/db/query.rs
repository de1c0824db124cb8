//! One SQL text for both databases: `query("… $1 …").bind(…).fetch_all(&db)`.
//! Invariant: the text is compiled in, values are bound; nothing a caller sends
//! becomes part of a statement.
//! Refuses differences between the databases anywhere but in `TOKENS` below.

use std::borrow::Cow;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, Sqlite};

use super::{
    Db, Dialect, Error, Row, Tx, Value,
    lease::{Connection, Lease, answered},
};

/// Row locks. SQLite needs none: a write transaction holds the only write lock.
const TOKENS: [(&str, &str, &str); 3] = [
    ("{for_update}", "FOR UPDATE", ""),
    ("{skip_locked}", "FOR UPDATE SKIP LOCKED", ""),
    ("{for_share}", "FOR SHARE", ""),
];

/// A statement with its values.
#[must_use]
pub struct Query {
    sql: &'static str,
    values: Vec<Value>,
}

/// What a statement runs on: the readers of a database, or a transaction.
pub enum On<'a> {
    Reader(&'a Db),
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Db> for On<'a> {
    fn from(db: &'a Db) -> Self {
        Self::Reader(db)
    }
}

impl<'a> From<&'a mut Tx> for On<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

/// Begins a statement. Parameters are `$1`, `$2`, …; a list is tested by
/// `column {any_text:$1}` or `column {any_uuid:$1}`; rows are locked by
/// `{for_update}`, `{skip_locked}` or `{for_share}` at its end.
pub fn query(sql: &'static str) -> Query {
    Query {
        sql,
        values: Vec::new(),
    }
}

impl Query {
    /// Binds the next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; returns how many rows it touched.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn execute(self, tx: &mut Tx) -> Result<u64, Error> {
        let touched = self.run(&mut tx.lease).await;
        tx.watched(touched)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_optional<'a>(self, on: impl Into<On<'a>>) -> Result<Option<Row>, Error> {
        match on.into() {
            On::Reader(db) => {
                let mut lease = db.lease().await?;
                let row = self.first(&mut lease).await?;
                lease.done();
                Ok(row)
            }
            On::Tx(tx) => {
                let row = self.first(&mut tx.lease).await;
                tx.watched(row)
            }
        }
    }

    /// The only row.
    ///
    /// # Errors
    /// No row is an error, too.
    pub async fn fetch_one<'a>(self, on: impl Into<On<'a>>) -> Result<Row, Error> {
        let row = self.fetch_optional(on).await?;
        row.ok_or(Error::Sql(sqlx::Error::RowNotFound))
    }

    /// All rows; the statement says how many that can be.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_all<'a>(self, on: impl Into<On<'a>>) -> Result<Vec<Row>, Error> {
        match on.into() {
            On::Reader(db) => {
                let mut lease = db.lease().await?;
                let rows = self.all(&mut lease).await?;
                lease.done();
                Ok(rows)
            }
            On::Tx(tx) => {
                let rows = self.all(&mut tx.lease).await;
                tx.watched(rows)
            }
        }
    }

    async fn run(self, lease: &mut Lease) -> Result<u64, Error> {
        Ok(match lease.connection()? {
            Connection::Pg(pg) => answered(self.pg().execute(&mut **pg))
                .await?
                .rows_affected(),
            Connection::Lite(lite) => self.lite().execute(&mut **lite).await?.rows_affected(),
        })
    }

    async fn first(self, lease: &mut Lease) -> Result<Option<Row>, Error> {
        Ok(match lease.connection()? {
            Connection::Pg(pg) => answered(self.pg().fetch_optional(&mut **pg))
                .await?
                .map(Row::Pg),
            Connection::Lite(lite) => self
                .lite()
                .fetch_optional(&mut **lite)
                .await?
                .map(Row::Lite),
        })
    }

    async fn all(self, lease: &mut Lease) -> Result<Vec<Row>, Error> {
        match lease.connection()? {
            Connection::Pg(pg) => {
                let rows = self.pg().fetch(&mut **pg).map_ok(Row::Pg);
                answered(rows.try_collect()).await
            }
            Connection::Lite(lite) => {
                let rows = self.lite().fetch(&mut **lite).map_ok(Row::Lite);
                Ok(rows.try_collect().await?)
            }
        }
    }

    fn pg(self) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
        let sql = render(self.sql, Dialect::Postgres);
        let query = match sql {
            Cow::Borrowed(sql) => sqlx::query(sql),
            // Rendered from compiled-in text by `TOKENS`: no input can reach it.
            Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql).into_sql_str()),
        };
        self.values
            .into_iter()
            .fold(query, |query, value| value.bind_pg(query))
    }

    fn lite(self) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
        let sql = render(self.sql, Dialect::Sqlite);
        let query = match sql {
            Cow::Borrowed(sql) => sqlx::query(sql),
            Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql).into_sql_str()),
        };
        self.values
            .into_iter()
            .fold(query, |query, value| value.bind_lite(query))
    }
}

/// The text for one of the databases; what has no token is not copied.
pub(super) fn render(sql: &'static str, dialect: Dialect) -> Cow<'static, str> {
    if !sql.contains('{') {
        return Cow::Borrowed(sql);
    }
    let mut text = TOKENS
        .iter()
        .fold(sql.to_owned(), |text, (token, pg, lite)| {
            let part = match dialect {
                Dialect::Postgres => pg,
                Dialect::Sqlite => lite,
            };
            text.replace(token, part)
        });
    for (token, lite_value) in [("{any_text:", "value"), ("{any_uuid:", "unhex(value)")] {
        while let Some(start) = text.find(token) {
            let Some(length) = text[start..].find('}') else {
                break;
            };
            let parameter = text[start + token.len()..start + length].to_owned();
            let list = match dialect {
                Dialect::Postgres => format!("= ANY({parameter})"),
                Dialect::Sqlite => format!("IN (SELECT {lite_value} FROM json_each({parameter}))"),
            };
            text.replace_range(start..=start + length, &list);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_each_databases_words() {
        let text = "SELECT a FROM t WHERE b {any_uuid:$2} AND c {any_text:$1} {skip_locked}";
        assert_eq!(
            render(text, Dialect::Postgres),
            "SELECT a FROM t WHERE b = ANY($2) AND c = ANY($1) FOR UPDATE SKIP LOCKED"
        );
        assert_eq!(
            render(text, Dialect::Sqlite),
            "SELECT a FROM t WHERE b IN (SELECT unhex(value) FROM json_each($2)) \
             AND c IN (SELECT value FROM json_each($1)) "
        );
        assert!(matches!(
            render("SELECT 1", Dialect::Postgres),
            Cow::Borrowed(_)
        ));
    }
}
