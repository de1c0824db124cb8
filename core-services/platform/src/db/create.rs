//! A role and a database for a service, made by the server's administrator.
//! Invariant: what is there already stays as it is, its password included; a
//! password leaves this process only as the verifier that the server keeps (RFC 5803).
//! Refuses names that would have to be quoted in shells and dashboards.

use aws_lc_rs::{
    digest, hmac, pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqlSafeStr, postgres::PgConnectOptions,
};

use super::{Error, Location, postgres::connect};

/// PostgreSQL cuts longer names off.
const NAME_BYTES_MAX: usize = 63;
/// What PostgreSQL itself takes (RFC 7677 section 4 asks for at least so many).
const SCRAM_ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::new(4096).unwrap();
const SCRAM_SALT_BYTES: usize = 16;

/// What was not there and is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Created {
    pub role: bool,
    pub database: bool,
}

/// Makes the role and the database that `wanted` names, with the rights of `administrator`.
/// A folder needs neither.
///
/// # Errors
/// An administrator that is a folder, may not do this or cannot be reached.
pub async fn create(administrator: &Location, wanted: &Location) -> Result<Created, Error> {
    let Location::Server(wanted) = wanted else {
        return Ok(Created::default());
    };
    let Location::Server(administrator) = administrator else {
        return Err(Error::Administrator);
    };
    let role = name(wanted.get_username())?;
    let database = name(wanted.get_database().unwrap_or_default())?;
    let mut connection = connect(administrator).await?;
    let mut created = Created::default();
    if !exists(
        &mut connection,
        "SELECT 1 FROM pg_roles WHERE rolname = $1",
        role,
    )
    .await?
    {
        let password = match password(wanted) {
            Some(password) => format!(" PASSWORD '{}'", verifier(&password)?),
            None => String::new(),
        };
        run(
            &mut connection,
            format!("CREATE ROLE \"{role}\" LOGIN{password}"),
        )
        .await?;
        created.role = true;
    }
    if !exists(
        &mut connection,
        "SELECT 1 FROM pg_database WHERE datname = $1",
        database,
    )
    .await?
    {
        // Text is ordered by its bytes and folded in ASCII only, as SQLite does it.
        let text = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";
        run(
            &mut connection,
            format!("CREATE DATABASE \"{database}\" OWNER \"{role}\" {text}"),
        )
        .await?;
        // Else any role of the server could connect.
        run(
            &mut connection,
            format!("REVOKE ALL ON DATABASE \"{database}\" FROM PUBLIC"),
        )
        .await?;
        created.database = true;
    }
    let _ = connection.close().await;
    Ok(created)
}

fn name(text: &str) -> Result<&str, Error> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        return Err(Error::Name(text.to_owned()));
    }
    Ok(text)
}

async fn exists(
    connection: &mut PgConnection,
    sql: &'static str,
    name: &str,
) -> Result<bool, Error> {
    let found = sqlx::query(sql)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), Error> {
    // DDL takes no parameters; `name` and `verifier` made all that is in here.
    let sql = AssertSqlSafe(sql).into_sql_str();
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// The password in the options; sqlx shows it in a URL only.
pub(super) fn password(options: &PgConnectOptions) -> Option<String> {
    let url = options.to_url_lossy();
    let text = percent_decode_str(url.password()?).decode_utf8_lossy();
    Some(text.into_owned())
}

/// What the server keeps of a password: RFC 5803 section 2, as PostgreSQL spells it.
fn verifier(password: &str) -> Result<String, Error> {
    // Others would have to be prepared first (RFC 4013), and quietly wrong if they were not.
    if !password.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Password);
    }
    let mut salt = [0; SCRAM_SALT_BYTES];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Error::Password)?;
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        SCRAM_ITERATIONS,
        &salt,
        password.as_bytes(),
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    // RFC 5802 section 3.
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    Ok(format!(
        "SCRAM-SHA-256${SCRAM_ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    ))
}
