//! How a poll on the web tells one person from another.

use std::fmt;
use std::str::FromStr;

/// By what a voter on the web is known in a poll, so that each votes once. It does not concern votes of the command
/// line, whose voters are named or not as the caller likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Once {
    /// One vote a browser, known by a signed cookie.
    #[default]
    Cookie,
    /// One vote an address of the network, of which only a keyed hash is kept.
    Ip,
    /// One vote an address, and also one a browser for as long as it keeps its cookies.
    CookieAndIp,
    /// Whoever votes again counts again.
    None,
}

impl Once {
    /// Every way, in the order in which they are told.
    pub const ALL: [Once; 4] = [Once::Cookie, Once::Ip, Once::CookieAndIp, Once::None];

    /// Its name on the command line, in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Once::Cookie => "cookie",
            Once::Ip => "ip",
            Once::CookieAndIp => "cookie+ip",
            Once::None => "none",
        }
    }
}

/// A text that is no [`Once`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: expected cookie, ip, cookie+ip or none")]
pub struct OnceError(String);

impl FromStr for Once {
    type Err = OnceError;

    fn from_str(text: &str) -> Result<Once, OnceError> {
        let found = Once::ALL.into_iter().find(|once| once.as_str() == text);
        found.ok_or_else(|| OnceError(crate::slug::shown(text)))
    }
}

impl TryFrom<String> for Once {
    type Error = OnceError;

    fn try_from(text: String) -> Result<Once, OnceError> {
        text.parse()
    }
}

impl From<Once> for &'static str {
    fn from(once: Once) -> &'static str {
        once.as_str()
    }
}

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_read_as_it_is_written() {
        for once in Once::ALL {
            assert_eq!(once.to_string().parse(), Ok(once));
            let json = serde_json::to_string(&once).unwrap();
            assert_eq!(serde_json::from_str::<Once>(&json).unwrap(), once);
        }
        assert!("Cookie".parse::<Once>().unwrap_err().to_string().contains("cookie+ip"));
    }
}
