//! The signed cookies: which browser this is, and where it has voted.
//!
//! `weir-voter` is a random number with a signature, so that nobody picks the number of another. `weir-voted` is a
//! receipt for one poll, sent only to that poll's paths: it lets the page tell a voter that the vote is in without
//! asking anybody. What counts once is decided by the ballot's key all the same; a browser that throws its cookies away is a
//! new one.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};

use crate::poll::ballot::IdentityKey;
use crate::slug::Slug;

const VOTER: &str = "weir-voter";
/// Its name over TLS. Browsers take this prefix from the host itself only: otherwise another host of the same domain could
/// give all its readers one number, and all but one of their votes would be refused.
const HOST_VOTER: &str = "__Host-weir-voter";
const VOTED: &str = "weir-voted";

/// As long as browsers keep any cookie, in seconds.
const VOTER_SECONDS: u32 = 400 * 24 * 3600;
/// A receipt lasts as long as the mark in memcached, in seconds.
const VOTED_SECONDS: u32 = 30 * 24 * 3600;

/// Signs and reads cookies.
pub(super) struct Cookies {
    key: [u8; 32],
    framed: bool,
}

/// A browser's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 16]);

impl Token {
    pub(super) fn new() -> Token {
        Token(rand::random())
    }

    /// The number in hex.
    pub(super) fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Cookies {
    /// Cookies signed with what is derived from the voters' key. `framed` when pages are shown in frames of other sites,
    /// which are sent cookies only of a special kind.
    pub(super) fn new(key: &IdentityKey, framed: bool) -> Cookies {
        Cookies { key: key.derive("weir web cookies v1"), framed }
    }

    /// The browser's number, if it brought one of ours.
    pub(super) fn token(&self, headers: &HeaderMap, https: bool) -> Option<Token> {
        values(headers, voter_name(https)).find_map(|value| {
            let (number, signature) = value.split_at_checked(32)?;
            let number = u128::from_str_radix(number, 16).ok()?;
            let token = Token(number.to_be_bytes());
            self.is_signed(&[&token.0], signature.strip_prefix('.')?).then_some(token)
        })
    }

    /// Whether the browser brought a receipt for this poll.
    pub(super) fn has_voted(&self, headers: &HeaderMap, token: Token, poll: &Slug) -> bool {
        values(headers, VOTED).any(|value| self.is_signed(&[&token.0, poll.as_str().as_bytes()], value))
    }

    /// Gives the browser its number.
    pub(super) fn set_token(&self, headers: &mut HeaderMap, token: Token, https: bool) {
        let value = format!("{}.{}", token.hex(), self.signature(&[&token.0]).to_hex());
        self.set(headers, voter_name(https), &value, "/", VOTER_SECONDS, https);
    }

    /// Gives the browser a receipt for this poll.
    pub(super) fn set_voted(&self, headers: &mut HeaderMap, token: Token, poll: &Slug, https: bool) {
        let value = self.signature(&[&token.0, poll.as_str().as_bytes()]).to_hex();
        for room in ["/polls", "/api/v1/polls"] {
            self.set(headers, VOTED, &value, &format!("{room}/{poll}"), VOTED_SECONDS, https);
        }
    }

    fn set(&self, headers: &mut HeaderMap, name: &str, value: &str, path: &str, seconds: u32, https: bool) {
        // In a frame of another site a browser sends back only what is partitioned by that site, and only over TLS.
        let site = match (https, self.framed) {
            (true, true) => "SameSite=None; Secure; Partitioned",
            (true, false) => "SameSite=Lax; Secure",
            (false, _) => "SameSite=Lax",
        };
        let cookie = format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; {site}");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, cookie);
        }
    }

    fn signature(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        hasher.finalize()
    }

    fn is_signed(&self, parts: &[&[u8]], signature: &str) -> bool {
        // Hashes are compared in constant time.
        blake3::Hash::from_hex(signature).is_ok_and(|given| given == self.signature(parts))
    }
}

fn voter_name(https: bool) -> &'static str {
    if https { HOST_VOTER } else { VOTER }
}

/// The values of every cookie of that name.
fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(given, _)| *given == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_back(set: &HeaderMap) -> HeaderMap {
        let pairs = set.get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap().split(';').next().unwrap());
        let line = format!("other=1; {}", pairs.collect::<Vec<_>>().join("; "));
        HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn a_browser_is_known_by_its_cookies_and_by_nobody_elses() {
        let cookies = Cookies::new(&IdentityKey::new(Some("one")), false);
        let (now, later) = (Slug::new("now").unwrap(), Slug::new("later").unwrap());
        let (token, mut set) = (Token::new(), HeaderMap::new());
        cookies.set_token(&mut set, token, true);
        cookies.set_voted(&mut set, token, &now, true);
        let back = sent_back(&set);
        assert_eq!(cookies.token(&back, true), Some(token));
        assert!(cookies.has_voted(&back, token, &now) && !cookies.has_voted(&back, token, &later));
        assert!(!cookies.has_voted(&back, Token::new(), &now));
        let others = Cookies::new(&IdentityKey::new(Some("two")), false);
        assert_eq!(others.token(&back, true), None);
    }

    #[test]
    fn another_host_of_the_domain_could_give_all_readers_one_number() {
        let cookies = Cookies::new(&IdentityKey::new(Some("one")), false);
        let (token, mut set) = (Token::new(), HeaderMap::new());
        cookies.set_token(&mut set, token, false);
        let tossed = sent_back(&set);
        assert_eq!((cookies.token(&tossed, false), cookies.token(&tossed, true)), (Some(token), None));
        set.clear();
        cookies.set_token(&mut set, token, true);
        let line = set[SET_COOKIE].to_str().unwrap();
        // What browsers ask of the prefix.
        assert!(line.starts_with("__Host-") && line.contains("; Path=/; ") && line.contains("; Secure"), "{line}");
        assert!(!line.contains("Domain"), "{line}");
    }

    #[test]
    fn odd_cookies_are_no_cookies() {
        let cookies = Cookies::new(&IdentityKey::new(Some("one")), false);
        for odd in ["", "weir-voter", "weir-voter=", "weir-voter=+1.2", "weir-voter=ééééééééééééééééééééé", "=;=;;"]
        {
            let Ok(value) = HeaderValue::try_from(odd) else { continue };
            assert_eq!(cookies.token(&HeaderMap::from_iter([(COOKIE, value)]), false), None, "{odd}");
        }
    }
}
