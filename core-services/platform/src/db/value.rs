//! What goes into a statement and what comes out of a row, on both databases.
//! Invariant: a value has one Rust type and one column type on each side; an
//! absent value keeps its type (PostgreSQL refuses a text NULL in a bigint column).
//! Refuses to convert: a column of another type is an error, never a guess.

use serde_json::Value as Json;
use sqlx::{
    Decode, Postgres, Row as _, Sqlite, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::clock::UnixMicros;

/// The first microsecond of the year 1 and the last of 9999.
pub(super) const TIME_MIN: UnixMicros = UnixMicros(-62_135_596_800_000_000);
pub(super) const TIME_MAX: UnixMicros = UnixMicros(253_402_300_799_999_999);

/// One bound parameter.
#[derive(Clone, Debug)]
pub enum Value {
    /// `{int}`
    Int(Option<i64>),
    /// `{real}`
    Real(Option<f64>),
    /// `{bool}`
    Bool(Option<bool>),
    /// `TEXT`
    Text(Option<String>),
    /// `{blob}`
    Blob(Option<Vec<u8>>),
    /// `{uuid}`
    Uuid(Option<Uuid>),
    /// `{ts}`
    Time(Option<UnixMicros>),
    /// `{json}`
    Json(Option<Json>),
    /// For `{any_text:$n}`
    Texts(Vec<String>),
    /// For `{any_uuid:$n}`
    Uuids(Vec<Uuid>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident, $value:ident => $into:expr;)+) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant(Some($into))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(|$value| $into))
            }
        }
    )+};
}

value_from! {
    i64 => Int, value => value;
    i32 => Int, value => i64::from(value);
    u32 => Int, value => i64::from(value);
    f64 => Real, value => value;
    bool => Bool, value => value;
    String => Text, value => value;
    &str => Text, value => value.to_owned();
    &String => Text, value => value.clone();
    Vec<u8> => Blob, value => value;
    &[u8] => Blob, value => value.to_vec();
    &Vec<u8> => Blob, value => value.clone();
    Uuid => Uuid, value => value;
    UnixMicros => Time, value => value;
    Json => Json, value => value;
}

impl From<Vec<String>> for Value {
    fn from(values: Vec<String>) -> Self {
        Self::Texts(values)
    }
}

impl From<Vec<Uuid>> for Value {
    fn from(values: Vec<Uuid>) -> Self {
        Self::Uuids(values)
    }
}

type PgQuery = Query<'static, Postgres, PgArguments>;
type LiteQuery = Query<'static, Sqlite, SqliteArguments>;

impl Value {
    pub(super) fn bind_pg(self, query: PgQuery) -> PgQuery {
        match self {
            Self::Int(value) => query.bind(value),
            Self::Real(value) => query.bind(value),
            Self::Bool(value) => query.bind(value),
            Self::Text(value) => query.bind(value),
            Self::Blob(value) => query.bind(value),
            Self::Uuid(value) => query.bind(value),
            Self::Time(value) => query.bind(value.map(storable).map(to_time)),
            Self::Json(value) => query.bind(value),
            Self::Texts(values) => query.bind(values),
            Self::Uuids(values) => query.bind(values),
        }
    }

    pub(super) fn bind_lite(self, query: LiteQuery) -> LiteQuery {
        match self {
            Self::Int(value) => query.bind(value),
            Self::Real(value) => query.bind(value),
            Self::Bool(value) => query.bind(value),
            Self::Text(value) => query.bind(value),
            Self::Blob(value) => query.bind(value),
            Self::Uuid(value) => query.bind(value),
            Self::Time(value) => query.bind(value.map(storable).map(|time| time.0)),
            Self::Json(value) => query.bind(value.map(|json| json.to_string())),
            // SQLite has no arrays: `json_each` takes the list apart again.
            Self::Texts(values) => query.bind(Json::from(values).to_string()),
            Self::Uuids(values) => {
                let hex = values.iter().map(|id| id.simple().to_string());
                query.bind(Json::from(hex.collect::<Vec<_>>()).to_string())
            }
        }
    }
}

/// One row of an answer.
pub enum Row {
    Pg(PgRow),
    Lite(SqliteRow),
}

impl Row {
    /// The column at `index`, counted from 0.
    ///
    /// # Errors
    /// A column that is not there or of another type.
    pub fn get<T: Column>(&self, index: usize) -> Result<T, Error> {
        Ok(T::read(self, index)?)
    }
}

/// A Rust type that a column can be read as. `Option` of it reads NULL, too.
pub trait Column: Sized {
    /// # Errors
    /// A column of another type.
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error>;
}

fn read<T>(row: &Row, index: usize) -> Result<T, sqlx::Error>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
{
    match row {
        Row::Pg(row) => row.try_get(index),
        Row::Lite(row) => row.try_get(index),
    }
}

macro_rules! columns {
    ($($native:ty),+) => {$(
        impl Column for $native {
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                // Asked for a number itself, sqlx reads SQLite's NULL as 0.
                Option::<Self>::read(row, index)?.ok_or_else(|| null(index))
            }
        }
        impl Column for Option<$native> {
            fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
                read(row, index)
            }
        }
    )+};
}

columns!(i64, f64, bool, String, Vec<u8>, Uuid);

impl Column for Option<UnixMicros> {
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
        Ok(match row {
            Row::Pg(row) => row
                .try_get::<Option<OffsetDateTime>, _>(index)?
                .map(from_time),
            Row::Lite(row) => row.try_get::<Option<i64>, _>(index)?.map(UnixMicros),
        })
    }
}

impl Column for UnixMicros {
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
        Option::<Self>::read(row, index)?.ok_or_else(|| null(index))
    }
}

impl Column for Option<Json> {
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
        match row {
            Row::Pg(row) => row.try_get(index),
            Row::Lite(row) => row
                .try_get::<Option<String>, _>(index)?
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| sqlx::Error::Decode(Box::new(error))),
        }
    }
}

impl Column for Json {
    fn read(row: &Row, index: usize) -> Result<Self, sqlx::Error> {
        Option::<Self>::read(row, index)?.ok_or_else(|| null(index))
    }
}

fn null(index: usize) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: index.to_string(),
        source: Box::new(sqlx::error::UnexpectedNullError),
    }
}

/// The nearest time that both databases keep to the microsecond.
fn storable(at: UnixMicros) -> UnixMicros {
    at.clamp(TIME_MIN, TIME_MAX)
}

fn to_time(at: UnixMicros) -> OffsetDateTime {
    // Within the years that `time` knows.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn from_time(at: OffsetDateTime) -> UnixMicros {
    UnixMicros(i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}
