//! HTTP as a test speaks it: a request in bytes, an answer in parts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::{LIMIT, Site, signal};

/// A running `weir poll serve`, killed when dropped.
pub(crate) struct Service {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

const ANY_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case; of several values the last, but for cookies.
    pub(crate) headers: BTreeMap<String, String>,
    /// What `Cookie` would send back.
    pub(crate) cookies: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Service {
    /// Starts one on a free port and waits until it takes requests.
    pub(crate) fn start(site: &Site, arguments: &[&str]) -> Service {
        Service::start_as(site, arguments, |_| {})
    }

    /// The same, with more done to its command.
    pub(crate) fn start_as(site: &Site, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Service {
        let listen: &[&str] = if arguments.contains(&"--listen") { &[] } else { &ANY_PORT };
        let all = [&["poll", "serve"], arguments, listen].concat();
        let errors = std::fs::File::create(site.path("serve.log")).unwrap();
        let mut command = site.command(&all);
        more(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let log = || std::fs::read_to_string(site.path("serve.log")).unwrap();
        let address = address.unwrap_or_else(|| panic!("{line:?}: {}", log())).parse().unwrap();
        Service { child: Some(child), address, _stdout: stdout }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends bytes as they are and says that there will be no more; returns what comes until the other side closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(self.address, bytes, true)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    /// A vote as the page's form sends it.
    pub(crate) fn form(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let origin = self.origin();
        let own = [("Origin", origin.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        self.request("POST", path, &[&own, headers].concat(), body)
    }

    /// A vote as a program sends it.
    pub(crate) fn api_vote(&self, poll: &str, choices: &[&str], headers: &[(&str, &str)]) -> Answer {
        let body = serde_json::json!({ "choices": choices }).to_string();
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        self.request("POST", &format!("/api/v1/polls/{poll}/votes"), &headers, &body)
    }

    /// Sends SIGTERM and returns the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        child.wait().unwrap().code()
    }

    pub(crate) fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn exchange(address: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The service may have had enough before all is sent.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// One request to whoever listens there.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let answer = String::from_utf8_lossy(&exchange(address, text.as_bytes(), false)).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pairs: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let set = pairs.iter().filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<_> = set.map(|(_, value)| value.split(';').next().unwrap()).collect();
    Answer { status, cookies: cookies.join("; "), headers: pairs.into_iter().collect(), body: body.to_string() }
}
