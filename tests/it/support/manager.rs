//! A service manager's end of the notifications.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::{LIMIT, Site};

/// Listens where a service is told that its manager does.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    pub(crate) fn listen(site: &Site) -> Manager {
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Manager(socket)
    }

    /// Runs a command under such a manager, which wants to hear every 200 ms that it lives.
    pub(crate) fn watch(site: &Site, command: &mut Command) {
        command.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "200000");
    }

    /// Waits for a notification that begins so, and returns the rest of it.
    pub(crate) fn hear(&self, start: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length = self.0.recv(&mut bytes).unwrap_or_else(|error| panic!("waited for {start}: {error}"));
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if let Some(rest) = text.lines().find_map(|line| line.strip_prefix(start)) {
                return rest.to_string();
            }
        }
    }

    /// How often it is told so before it is silent for that long, and at most `most` times.
    pub(crate) fn count(&self, told: &str, silence: Duration, most: usize) -> usize {
        self.0.set_read_timeout(Some(silence)).unwrap();
        let (mut bytes, mut count) = ([0; 4096], 0);
        while count < most
            && let Ok(length) = self.0.recv(&mut bytes)
        {
            count += usize::from(String::from_utf8_lossy(&bytes[..length]).contains(told));
        }
        count
    }
}
