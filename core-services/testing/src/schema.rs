//! A schema in words that both databases share, and a search through all they store.
//! Invariant: two databases made by the same migrations give the same lines,
//! whichever they are; a type is told as finely as SQLite keeps it.
//! Leaves out the migrations' own tables, names that the database made up, checks.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, SqlSafeStr, SqliteConnection,
    postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

/// `bytea` and `uuid` are both blobs there, `bigint`, `boolean` and times integers, and JSON is text.
const PG_COLUMNS: &str = "
    SELECT c.relname || '.' || a.attname || ' ' || CASE t.typname
        WHEN 'int8' THEN 'int' WHEN 'bool' THEN 'int' WHEN 'timestamptz' THEN 'int'
        WHEN 'float8' THEN 'real' WHEN 'text' THEN 'text' WHEN 'jsonb' THEN 'text'
        WHEN 'bytea' THEN 'blob' WHEN 'uuid' THEN 'blob' ELSE t.typname END
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || CASE WHEN a.attnum = ANY(p.conkey) THEN ' key' ELSE '' END
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_constraint p ON p.conrelid = c.oid AND p.contype = 'p'
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        AND a.attnum > 0 AND NOT a.attisdropped AND c.relname NOT LIKE '%\\_migrations'";

const PG_INDEXES: &str = "
    SELECT 'index ' || COALESCE(CASE WHEN k.oid IS NULL THEN c.relname END || ' ', '') || t.relname
        || '(' || string_agg(COALESCE(a.attname, '?'), ', ' ORDER BY o.n) || ')'
        || CASE WHEN i.indisunique THEN ' unique' ELSE '' END
        || CASE WHEN i.indpred IS NOT NULL THEN ' partial' ELSE '' END
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS o (attnum, n)
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = o.attnum AND o.attnum > 0
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('u', 'p')
    WHERE t.relnamespace = 'public'::regnamespace AND NOT i.indisprimary
        AND t.relname NOT LIKE '%\\_migrations'
    GROUP BY k.oid, c.relname, t.relname, i.indisunique, i.indpred IS NOT NULL, i.indexrelid";

const PG_REFERENCES: &str = "
    SELECT c.relname || '(' || (SELECT string_agg(a.attname, ', ' ORDER BY o.n)
            FROM unnest(k.conkey) WITH ORDINALITY AS o (attnum, n)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.attnum)
        || ') references ' || r.relname || CASE k.confdeltype
            WHEN 'c' THEN ' cascade' WHEN 'n' THEN ' set null' ELSE '' END
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
    WHERE k.contype = 'f'";

const LITE_COLUMNS: &str = "
    SELECT t.name || '.' || c.name || ' ' || CASE upper(c.type) WHEN 'INTEGER' THEN 'int' ELSE lower(c.type) END
        || CASE WHEN c.\"notnull\" OR c.pk > 0 THEN ' not null' ELSE '' END
        || CASE WHEN c.pk > 0 THEN ' key' ELSE '' END
    FROM sqlite_schema t, pragma_table_info(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
        AND t.name NOT LIKE '%\\_migrations' ESCAPE '\\'";

const LITE_INDEXES: &str = "
    SELECT 'index ' || CASE WHEN i.origin = 'c' THEN i.name || ' ' ELSE '' END || t.name || '('
        || (SELECT group_concat(COALESCE(name, '?'), ', ')
            FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno))
        || ')' || CASE WHEN i.\"unique\" THEN ' unique' ELSE '' END
        || CASE WHEN i.partial THEN ' partial' ELSE '' END
    FROM sqlite_schema t, pragma_index_list(t.name) i
    WHERE t.type = 'table' AND i.origin <> 'pk' AND t.name NOT LIKE '%\\_migrations' ESCAPE '\\'";

const LITE_REFERENCES: &str = "
    SELECT t.name || '(' || group_concat(f.\"from\", ', ') || ') references ' || f.\"table\"
        || CASE f.on_delete WHEN 'CASCADE' THEN ' cascade' WHEN 'SET NULL' THEN ' set null' ELSE '' END
    FROM sqlite_schema t, pragma_foreign_key_list(t.name) f
    WHERE t.type = 'table' GROUP BY t.name, f.id, f.\"table\", f.on_delete";

pub(crate) async fn of_sqlite(file: &Path) -> Vec<String> {
    let mut connection = sqlite(file).await;
    let mut lines = Vec::new();
    for sql in [LITE_COLUMNS, LITE_INDEXES, LITE_REFERENCES] {
        let rows = sqlx::query(sql).fetch_all(&mut connection).await;
        lines.extend(
            rows.expect("the schema")
                .iter()
                .map(|row| row.get::<String, _>(0)),
        );
    }
    lines.sort();
    lines
}

pub(crate) async fn of_postgresql(url: &str) -> Vec<String> {
    let mut connection = postgresql(url).await;
    let mut lines = Vec::new();
    for sql in [PG_COLUMNS, PG_INDEXES, PG_REFERENCES] {
        let rows = sqlx::query(sql).fetch_all(&mut connection).await;
        lines.extend(
            rows.expect("the schema")
                .iter()
                .map(|row| row.get::<String, _>(0)),
        );
    }
    lines.sort();
    lines
}

/// Every value of every table as bytes: text as it is, blobs as they are.
pub(crate) async fn values_of_sqlite(file: &Path) -> Vec<Vec<u8>> {
    let mut connection = sqlite(file).await;
    let columns = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
    let columns = sqlx::query(columns).fetch_all(&mut connection).await;
    let mut values = Vec::new();
    for column in columns.expect("the schema") {
        let (table, name) = (column.get::<String, _>(0), column.get::<String, _>(1));
        let sql = format!(
            "SELECT CAST(\"{name}\" AS BLOB) FROM \"{table}\" WHERE \"{name}\" IS NOT NULL"
        );
        let rows = sqlx::query(AssertSqlSafe(sql).into_sql_str())
            .fetch_all(&mut connection)
            .await;
        values.extend(
            rows.expect("a column")
                .iter()
                .map(|row| row.get::<Vec<u8>, _>(0)),
        );
    }
    values
}

pub(crate) async fn values_of_postgresql(url: &str) -> Vec<Vec<u8>> {
    let mut connection = postgresql(url).await;
    let columns = "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
                   WHERE table_schema = 'public'";
    let columns = sqlx::query(columns).fetch_all(&mut connection).await;
    let mut values = Vec::new();
    for column in columns.expect("the schema") {
        let (table, name) = (column.get::<String, _>(0), column.get::<String, _>(1));
        let bytes = match column.get::<String, _>(2).as_str() {
            "bytea" => format!("\"{name}\""),
            _ => format!("convert_to(\"{name}\"::text, 'UTF8')"),
        };
        let sql = format!("SELECT {bytes} FROM \"{table}\" WHERE \"{name}\" IS NOT NULL");
        let rows = sqlx::query(AssertSqlSafe(sql).into_sql_str())
            .fetch_all(&mut connection)
            .await;
        values.extend(
            rows.expect("a column")
                .iter()
                .map(|row| row.get::<Vec<u8>, _>(0)),
        );
    }
    values
}

async fn sqlite(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    options.connect().await.expect("the file is a database")
}

async fn postgresql(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a URL");
    PgConnection::connect_with(&options)
        .await
        .expect("the server answers")
}
