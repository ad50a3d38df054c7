//! Who asks: the address of the client, also behind trusted proxies, and whether it came over TLS.
//!
//! Forwarding headers are believed only from networks that were named as trusted. They are read from the right: each
//! trusted proxy has added the address it was asked from, and the first that is not trusted is the client; whatever
//! stands to its left the client may have made up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// The address that stands for one voter: an IPv4 address, or the /64 of an IPv6 address, which is what one
    /// household or host is given.
    pub address: IpAddr,
    /// Whether the client's own connection is encrypted, as far as a trusted proxy says so.
    pub https: bool,
}

impl Client {
    /// Reads who asks out of the peer's address and the headers.
    pub(super) fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
        let peer = peer.ip().to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        if !is_trusted(peer) {
            return Client { address: voter_network(peer), https: false };
        }
        let mut address = peer;
        // As bytes: a client's own part may be no text, and must not hide what a proxy has added to the same line.
        let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            // An odd hop ends it: what is to its left was not written by a proxy that we trust.
            let Some(hop) = std::str::from_utf8(hop).ok().and_then(|hop| read_address(hop.trim())) else { break };
            address = hop;
            if !is_trusted(hop) {
                break;
            }
        }
        let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
        let https = proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        Client { address: voter_network(address), https }
    }
}

/// Some proxies add the port, and brackets with it.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn voter_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_by_bytes(peer: &str, forwarded: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        Client::of(SocketAddr::new(peer.parse().unwrap(), 1), &headers, &trusted).address.to_string()
    }

    fn address(peer: &str, forwarded: &[&str]) -> String {
        address_by_bytes(peer, &forwarded.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn bytes_that_are_no_text_hid_the_client_behind_its_proxys_address() {
        assert_eq!(address_by_bytes("10.0.0.1", &[b"\xff, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(address_by_bytes("10.0.0.1", &[b"\xff", b"203.0.113.9", b"10.0.0.2"]), "203.0.113.9");
        assert_eq!(address_by_bytes("10.0.0.1", &[b"203.0.113.9, \xff"]), "10.0.0.1");
    }

    #[test]
    fn forwarding_headers_are_believed_from_trusted_proxies_only_and_from_the_right() {
        for (peer, forwarded, want) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9 , 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, rubbish"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::"),
            ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("2001:db8:1:2:ffff::1", &[], "2001:db8:1:2::"),
        ] {
            assert_eq!(address(peer, forwarded), want, "{peer} {forwarded:?}");
        }
    }
}
