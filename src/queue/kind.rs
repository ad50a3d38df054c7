//! What a server is that does not answer as weir needs: one with TLS, with a login, without the meta protocol, or no
//! memcached at all.
//!
//! Nothing comes here before a server has failed. It is then asked on connections of its own: in text for its version
//! and for a command of the meta protocol; and if that brings no byte, with the start of a TLS handshake and with a command
//! of the binary protocol. Only an answer that proves the kind counts: a server that is down, stopped or overloaded
//! is none of these.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::slug::shown;

use super::names::Address;
use super::transport;

/// How long one question may take, whatever the time-out.
const QUESTION_MAX: Duration = Duration::from_secs(1);

/// How long the rest of an answer may take once its first bytes are there: what is no memcached may never send a second line.
const REST_MAX: Duration = Duration::from_millis(100);

/// `ma` is the youngest command that weir uses. With the first it is longer than a header of the binary protocol,
/// without which a server of that protocol would wait for more.
const TEXT: &[u8] = b"version\r\nma weir-no-such-counter v\r\n";

/// The binary protocol's `version`.
const BINARY: [u8; 24] = [0x80, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Why the server cannot be used, if it answers and is of another kind than weir needs. It takes up to three times
/// `timeout`, of a server that is silent.
pub(super) fn why_unsupported(address: &Address, timeout: Duration) -> Option<String> {
    let limit = timeout.min(QUESTION_MAX);
    let text = ask(address, TEXT, limit)?;
    if !text.bytes.is_empty() {
        return of_text(&text);
    }
    why_silent(address, timeout)
}

/// The same of a server that has answered nothing in text.
pub(super) fn why_silent(address: &Address, timeout: Duration) -> Option<String> {
    let limit = timeout.min(QUESTION_MAX);
    if ask(address, &client_hello(), limit)?.bytes.get(..2).is_some_and(|start| matches!(start, [0x15 | 0x16, 3])) {
        return Some("it speaks TLS, and weir does not; give it a plain listener (memcached -l notls:ADDRESS)".into());
    }
    // A server of both protocols answers this too, and its answer in text may have been lost, so it is asked for it again.
    let is_binary = ask(address, &BINARY, limit)?.bytes.first() == Some(&0x81);
    if is_binary && ask(address, TEXT, limit)?.bytes.is_empty() {
        return Some(
            "it speaks only the binary protocol, as with a login (-S) or -B binary; weir needs the text protocol, \
             without a login"
                .into(),
        );
    }
    None
}

struct Answer {
    bytes: Vec<u8>,
    /// The server closed the connection after it.
    closed: bool,
}

/// What the server answers within `limit`: up to two lines, or what came before it closed or fell silent. Nothing if it
/// cannot be reached any more.
fn ask(address: &Address, question: &[u8], limit: Duration) -> Option<Answer> {
    let mut stream = transport::connect(address, limit).ok()?;
    stream.set_write_timeout(Some(limit)).ok()?;
    let mut answer = Answer { bytes: Vec::new(), closed: false };
    // One that greets and closes at once has answered all the same.
    let _ = stream.write_all(question);
    let mut deadline = Instant::now() + limit;
    while answer.bytes.len() < 1024 && answer.bytes.iter().filter(|byte| **byte == b'\n').count() < 2 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left)).ok()?;
        let mut bytes = [0; 512];
        match stream.read(&mut bytes) {
            Ok(0) => answer.closed = true,
            Ok(length) => {
                answer.bytes.extend_from_slice(&bytes[..length]);
                deadline = deadline.min(Instant::now() + REST_MAX);
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => answer.closed = error.kind() == std::io::ErrorKind::ConnectionReset,
        }
        break;
    }
    Some(answer)
}

fn of_text(answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let is_cut = !text.contains('\n') && ANSWERS.iter().any(|word| word.starts_with(first) || first.starts_with(word));
    // What a connection that broke has left of an answer proves nothing.
    if is_cut || answer.closed && second_is_missing(&text) && has_meta_protocol(first) {
        return None;
    }
    // An empty last line is what comes after the end of the one before it.
    let second = lines.next().filter(|line| !line.is_empty());
    match (first.strip_prefix("VERSION "), second) {
        (Some(_), Some(answer)) if !answer.contains("ERROR") => None,
        (Some(_), None) if !answer.closed => None,
        (Some(version), _) => Some(format!(
            "it is version {}, which lacks the meta protocol; weir needs memcached 1.6 (tested with 1.6.18)",
            version.trim()
        )),
        (None, _) if first.starts_with("CLIENT_ERROR unauthenticated") => {
            Some("it wants a login (-Y), which weir does not have; give it a listener without one".into())
        }
        // It is too busy, or its proxy has no server behind it.
        (None, _) if first.starts_with("ERROR") || first.starts_with("SERVER_ERROR") => None,
        (None, _) if answer.bytes.starts_with(&[0x15, 3]) => {
            Some("it speaks TLS, and weir does not; give it a plain listener (memcached -l notls:ADDRESS)".into())
        }
        (None, _) => Some(format!("it is no memcached server: it answered {}", shown(first.trim_end()))),
    }
}

/// How memcached's answers to [`TEXT`] begin.
const ANSWERS: [&str; 4] = ["VERSION ", "ERROR", "SERVER_ERROR", "CLIENT_ERROR"];

fn second_is_missing(text: &str) -> bool {
    text.split("\r\n").nth(1).is_none_or(str::is_empty)
}

/// Whether a line names a version of memcached that has all of the meta protocol.
fn has_meta_protocol(line: &str) -> bool {
    let mut numbers = line.trim_start_matches("VERSION ").split('.').map(|number| number.parse::<u32>());
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (1, 6))
}

/// The shortest start of a TLS handshake that every server answers, if only with an alert.
fn client_hello() -> Vec<u8> {
    const SUITES: [u8; 8] = [0xc0, 0x2f, 0xc0, 0x30, 0x00, 0x9c, 0x13, 0x01];
    let mut body = vec![3, 3];
    body.extend([0x77; 32]);
    body.push(0);
    body.extend([0, SUITES.len() as u8]);
    body.extend(SUITES);
    body.extend([1, 0]);
    let length = body.len() as u8;
    let mut hello = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.append(&mut body);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8], closed: bool) -> Option<String> {
        of_text(&Answer { bytes: bytes.to_vec(), closed })
    }

    #[test]
    fn only_an_answer_that_proves_another_kind_counts() {
        for (good, closed) in [
            (&b"VERSION 1.6.18\r\nNF\r\n"[..], false),
            (b"VERSION 1.6.18\r\n", false),
            (b"VERSION 1.6.18\r\n", true),
            (b"VERSION 1.6.18\r\nN", true),
            (b"VERSION ", true),
            (b"VER", true),
            (b"SERVER_ERR", true),
            (b"ERROR Too many open connections\r\n", true),
            (b"SERVER_ERROR no servers available\r\n", true),
        ] {
            assert_eq!(why(good, closed), None, "{good:?}");
        }
        for (bad, closed, says) in [
            (&b"VERSION 1.5.6 Ubuntu\r\nERROR\r\n"[..], false, "version 1.5.6 Ubuntu, which lacks"),
            (b"VERSION 0.5.0-proxy\r\n", true, "lacks the meta protocol"),
            (b"CLIENT_ERROR unauthenticated\r\n", false, "wants a login"),
            (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n", true, "it answered \"HTTP/1.1 400 Bad Request\""),
            (b"-ERR unknown command 'version'\r\n", false, "no memcached"),
            (b"J\0\0\0\n5.5.5-10.11.6-MariaDB\0", false, "no memcached"),
            (b"\x15\x03\x01\0\x02\x02\x28", true, "TLS"),
        ] {
            let why = why(bad, closed).unwrap();
            assert!(why.contains(says), "{why}");
        }
    }
}
