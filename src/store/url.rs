//! Database URLs: `mysql://user:pass@host:port/db`, also with several hosts, and `sqlite:PATH`.

use std::fmt;
use std::path::PathBuf;

use super::mysql_url::MysqlUrl;

/// Where the database is. Its `Display` never shows a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// MySQL 8 or MariaDB 10.6 and later, on one or several hosts.
    Mysql(MysqlUrl),
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// Why a text is no [`DatabaseUrl`]. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT...]/DATABASE or sqlite:PATH")]
pub struct DatabaseUrlError(String);

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`DatabaseUrlError`], which says what is missing.
    pub fn new(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let fail = |why: &str| Err(DatabaseUrlError(why.into()));
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => fail("the SQLite URL names no file"),
                _ if path.contains('\0') => fail("the SQLite path has a zero byte"),
                _ => Ok(DatabaseUrl::Sqlite(path.into())),
            };
        }
        if !text.starts_with("mysql://") {
            return fail("not a mysql: or sqlite: URL");
        }
        MysqlUrl::new(text).map(DatabaseUrl::Mysql).map_err(DatabaseUrlError)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Mysql(url) => url.fmt(f),
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_the_driver_would_refuse_are_refused_before_connecting() {
        for (bad, why) in
            [("tls=maybe", "tls= takes on or unverified"), ("nonsense=1", "nonsense"), ("pool_min=x", "pool_min")]
        {
            let message = DatabaseUrl::new(&format!("mysql://u:s3cret@h/d?{bad}")).unwrap_err().to_string();
            assert!(message.contains(why) && !message.contains("s3cret"), "{message}");
        }
        assert!(DatabaseUrl::new("mysql://u:s3cret@h/d?tls=unverified").is_ok());
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = DatabaseUrl::new("mysql://weir:s3cret%20x@db.example:3307/polls?tls=on").unwrap();
        assert_eq!(url.to_string(), "mysql://weir:***@db.example:3307/polls?tls=on");
        for bad in [
            "mysql://u:s3cret@",
            "mysql://u:s3cret@h",
            "postgres://u:s3cret@h/d",
            "u:s3cret",
            "mysql://u:s3cret@h:x/d",
            "sqlite:",
        ] {
            let message = DatabaseUrl::new(bad).unwrap_err().to_string();
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
