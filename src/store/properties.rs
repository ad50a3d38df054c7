//! What a database says of itself: an id, made once, and the fingerprint of the voter secret that its ballots were
//! made with.
//!
//! Both are rows of the table `properties`. A row is only ever inserted if it is missing and then read, so of two
//! processes that set one at the same time both end with the value of the first.

use super::Cause;

/// The name of the row that holds [`Properties::database_id`].
pub(super) const DATABASE_ID: &str = "database_id";

/// The name of the row that holds [`Properties::secret_fingerprint`].
pub(super) const SECRET_FINGERPRINT: &str = "secret_fingerprint";

/// What a database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// 62 random bits, never 0, made when the database is first asked for them. A copy of a database (a replica, a
    /// restored backup) has the same id.
    pub database_id: u64,
    /// The fingerprint of the voter secret, once a process with a secret has stored it.
    pub secret_fingerprint: Option<u64>,
}

/// A new database id, as the text of its row.
pub(super) fn new_database_id() -> String {
    rand::random_range(1..1_u64 << 62).to_string()
}

/// A fingerprint as the text of its row.
pub(super) fn fingerprint_text(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

/// Reads the text of a fingerprint's row.
pub(super) fn read_fingerprint(text: &str) -> Result<u64, Cause> {
    u64::from_str_radix(text, 16).map_err(|_| format!("{SECRET_FINGERPRINT} is not a fingerprint").into())
}

/// Reads all rows; nothing while the id is missing.
pub(super) fn read_rows(rows: Vec<(String, String)>) -> Result<Option<Properties>, Cause> {
    let value = |wanted: &str| rows.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let Some(id) = value(DATABASE_ID) else { return Ok(None) };
    let database_id = id.parse().map_err(|_| format!("{DATABASE_ID} is not a number"))?;
    let secret_fingerprint = value(SECRET_FINGERPRINT).map(read_fingerprint).transpose()?;
    Ok(Some(Properties { database_id, secret_fingerprint }))
}
