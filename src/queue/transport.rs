//! How a connected stream to a server comes about, over TCP or a Unix socket.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::names::Address;

/// Connects within `timeout`, without the time for looking up a host name.
pub(super) fn connect(address: &Address, timeout: Duration) -> io::Result<TcpStream> {
    match address.socket_path() {
        Some(path) => connect_to_socket(path, timeout),
        None => connect_to_host(address.as_str(), timeout),
    }
}

fn connect_to_host(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut last = None;
    for target in address.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&target, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
}

/// The client library takes a `TcpStream`, of which it uses only what every stream socket can do: reading, writing
/// and their time-outs.
fn connect_to_socket(path: &Path, timeout: Duration) -> io::Result<TcpStream> {
    let target = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A Unix socket whose backlog is full keeps its callers waiting, up to the time-out for sending.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &target))?;
    Ok(TcpStream::from(socket))
}
