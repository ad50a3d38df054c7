//! MySQL URLs: one or several hosts, and the options of the connections to them.
//!
//! `mysql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?PARAMETERS`. All hosts are one database: the same user, password and
//! parameters hold for each of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql::{Opts, OptsBuilder, SslOpts};
use url::{Position, Url};

use super::Cause;

const SCHEME: &str = "mysql://";

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest limit for one answer of a host, however many hosts share the caller's limit.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// The largest packet that the driver sends. Without it, the driver asks the server for its limit, which costs a round trip per
/// connection; weir reads it together with everything else (`mysql_session`).
const PACKET_MAX: usize = 1024 * 1024 * 1024;

/// A MySQL database on one or several hosts. Its `Display` never shows a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlUrl {
    /// The URL of each host.
    hosts: Vec<Url>,
    /// Whether the operator accepts a server that may lose its last commits (`durability=relaxed`).
    relaxed: bool,
    first: FirstHost,
}

/// The host to try first: the last one that was usable. Shared by all clones of a URL, and so by all connections of a
/// process. Two URLs are equal whatever it is.
#[derive(Debug, Clone, Default)]
struct FirstHost(Arc<AtomicUsize>);

impl PartialEq for FirstHost {
    fn eq(&self, _: &FirstHost) -> bool {
        true
    }
}

impl Eq for FirstHost {}

impl MysqlUrl {
    /// Reads a URL. The error does not repeat it: it may hold a password.
    pub(super) fn new(text: &str) -> Result<MysqlUrl, String> {
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, list) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts = list.split(',').map(|host| host_url(&format!("{SCHEME}{user}{host}{rest}")));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        // Parameters that the driver would refuse are found before anything is connected to.
        let mut relaxed = false;
        for host in &hosts {
            relaxed = options(host, CONNECT_TIMEOUT).map_err(|cause| format!("the MySQL URL: {cause}"))?.1;
        }
        Ok(MysqlUrl { hosts, relaxed, first: FirstHost::default() })
    }

    /// Whether the URL accepts a server that may lose its last commits.
    pub(super) fn is_relaxed(&self) -> bool {
        self.relaxed
    }

    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// `host:port` of one of the hosts.
    pub(super) fn host(&self, index: usize) -> String {
        self.hosts.get(index).map(|url| url[Position::BeforeHost..Position::AfterPort].to_string()).unwrap_or_default()
    }

    /// How one of the hosts is connected to. The hosts share `timeout`, the limit for one answer: several that do not answer
    /// take no longer together than one, until each has [`ANSWER_TIMEOUT_MIN`].
    pub(super) fn options(&self, index: usize, timeout: Duration) -> Result<Opts, Cause> {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        let share = (timeout / hosts).max(ANSWER_TIMEOUT_MIN).min(timeout);
        let url = self.hosts.get(index).ok_or("no such host")?;
        Ok(options(url, share)?.0)
    }

    /// The hosts in the order in which they are to be tried.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        let (first, hosts) = (self.first.0.load(Ordering::Relaxed), self.hosts.len());
        (0..hosts).map(move |step| (first + step) % hosts)
    }

    /// Notes that a host is usable.
    pub(super) fn prefer(&self, index: usize) {
        self.first.0.store(index, Ordering::Relaxed);
    }

    /// Notes that a host failed: the next is to be tried first, unless another connection has found a better one.
    pub(super) fn leave(&self, index: usize) {
        let next = (index + 1) % self.hosts.len();
        let _ = self.first.0.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mut shown) = self.hosts.first().cloned() else { return f.write_str(SCHEME) };
        if shown.password().is_some() && shown.set_password(Some("***")).is_err() {
            return f.write_str("mysql://***");
        }
        f.write_str(&shown[..Position::BeforeHost])?;
        for index in 0..self.hosts.len() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", self.host(index))?;
        }
        f.write_str(&shown[Position::AfterPort..])
    }
}

fn host_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => "the MySQL URL names no host".to_string(),
        error => format!("the MySQL URL cannot be read ({error})"),
    })?;
    let mut segments = url.path_segments().into_iter().flatten();
    let named = segments.next().is_some_and(|name| !name.is_empty()) && segments.next().is_none();
    match (url.host_str(), named) {
        (None | Some(""), _) => Err("the MySQL URL names no host".into()),
        (_, false) => Err("the MySQL URL names no database".into()),
        _ => Ok(url),
    }
}

/// The driver's options for one host, and whether `durability=relaxed`. `tls=on` asks for TLS verified against the public
/// roots or `root_cert_path`; `tls=unverified` for TLS without certificate verification. Every other parameter is the
/// driver's.
fn options(url: &Url, timeout: Duration) -> Result<(Opts, bool), Cause> {
    let mut plain = url.clone();
    let (mut tls, mut relaxed, mut rest) = (None, false, Vec::new());
    for (name, value) in url.query_pairs().into_owned() {
        match (name.as_str(), value.as_str()) {
            ("tls", "on") => tls = Some(SslOpts::default()),
            ("tls", "unverified") => tls = Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
            ("tls", _) => return Err("tls= takes on or unverified".into()),
            ("durability", "relaxed") => relaxed = true,
            ("durability", _) => return Err("durability= takes relaxed".into()),
            _ => rest.push((name, value)),
        }
    }
    match rest.is_empty() {
        true => plain.set_query(None),
        false => drop(plain.query_pairs_mut().clear().extend_pairs(rest)),
    }
    let opts = Opts::from_url(plain.as_str())?;
    let tls = match (tls, opts.get_ssl_opts()) {
        (Some(_), Some(given)) => Some(given.clone()),
        (tls, given) => tls.or_else(|| given.cloned()),
    };
    let packet = opts.get_max_allowed_packet().unwrap_or(PACKET_MAX);
    let builder = OptsBuilder::from_opts(opts)
        .prefer_socket(false)
        .tcp_connect_timeout(Some(CONNECT_TIMEOUT.min(timeout)))
        .read_timeout(Some(timeout))
        .write_timeout(Some(timeout))
        .max_allowed_packet(Some(packet))
        .ssl_opts(tls);
    Ok((builder.into(), relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_hosts_is_shown_as_it_was_given_but_for_the_password() {
        let url = MysqlUrl::new("mysql://weir:s3cret%40x@db1:3307,db2,[::1]:3308/polls?durability=relaxed").unwrap();
        assert_eq!(url.to_string(), "mysql://weir:***@db1:3307,db2,[::1]:3308/polls?durability=relaxed");
        assert!((0..3).map(|index| url.host(index)).eq(["db1:3307", "db2", "[::1]:3308"]));
        assert!(url.is_relaxed());
        let ports = (0..3).map(|index| url.options(index, CONNECT_TIMEOUT).unwrap().get_tcp_port());
        assert!(ports.eq([3307, 3306, 3308]));
    }

    #[test]
    fn a_list_with_an_unusable_host_is_refused_without_its_password() {
        for bad in ["db1,,db2", "db1,", ",db1", "db1:x,db2", "db1,db2:99999", ""] {
            let message = MysqlUrl::new(&format!("mysql://u:s3cret@{bad}/d")).unwrap_err();
            assert!(!message.contains("s3cret"), "{message}");
        }
        assert!(MysqlUrl::new("mysql://u@h/d?durability=none").unwrap_err().contains("durability= takes relaxed"));
    }

    #[test]
    fn hosts_are_tried_from_the_last_usable_one_on_and_a_lost_one_comes_last() {
        let url = MysqlUrl::new("mysql://u@a,b,c/d").unwrap();
        let clone = url.clone();
        clone.prefer(1);
        assert!(url.order().eq([1, 2, 0]));
        url.leave(0);
        assert!(clone.order().eq([1, 2, 0]), "a host that is not the first was lost");
        url.leave(1);
        assert!(clone.order().eq([2, 0, 1]));
        assert_eq!(url, MysqlUrl::new("mysql://u@a,b,c/d").unwrap());
    }

    #[test]
    fn hosts_share_the_limit_for_an_answer() {
        let limit = |url: &str, seconds| {
            let opts = MysqlUrl::new(url).unwrap().options(0, Duration::from_secs(seconds)).unwrap();
            opts.get_read_timeout().copied()
        };
        assert_eq!(limit("mysql://u@a/d", 60), Some(Duration::from_secs(60)));
        assert_eq!(limit("mysql://u@a,b/d", 60), Some(Duration::from_secs(30)));
        assert_eq!(limit("mysql://u@a,b,c,d/d", 3), Some(Duration::from_secs(1)));
    }
}
