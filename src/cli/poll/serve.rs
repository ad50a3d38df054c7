//! `weir poll serve`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::cli::output::Output;
use crate::cli::settings::{Settings, read_duration};
use crate::web::{self, Config, IpNet};

/// Arguments of `weir poll serve`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Pages: /, /polls/POLL, /polls/POLL/results. JSON: /api/v1/openapi.json describes it. For monitors:
/metrics, /healthz, /readyz. SIGTERM ends it in order: no new connections, votes under way are answered, a last flush.

Set WEIR_VOTER_SECRET, the same on every host: cookies are signed and addresses hashed with it. Without it a secret
is made and kept in the spool folder. Put a proxy with TLS in front and name it with --trusted-proxy; examples/ has
an nginx site and a systemd unit.

Examples:
  weir poll serve
  weir poll serve --listen 127.0.0.1:8080 --trusted-proxy 127.0.0.1 --embed-origin https://news.example"
)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The pause between two flushes of the built-in flusher; 0 for none, when "weir poll flush" runs elsewhere
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = read_pause)]
    flush_every: Pause,
    /// An address or network whose X-Forwarded-For and X-Forwarded-Proto are believed; may be repeated
    #[arg(long = "trusted-proxy", value_name = "NETWORK", value_parser = read_network)]
    trusted_proxies: Vec<IpNet>,
    /// An origin whose pages may show polls in a frame, such as https://news.example; may be repeated
    #[arg(long = "embed-origin", value_name = "ORIGIN", value_parser = read_origin)]
    embed_origins: Vec<String>,
    /// Requests a second from one address, with bursts of four seconds' worth; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate_limit: u32,
    /// What the pages are headed with
    #[arg(long, value_name = "TEXT", default_value = "Reader polls")]
    title: String,
    /// How many votes may wait for each memcached server before voters are told to come back
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    waiting_max: u32,
    /// How many connections are served at once; more wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,
}

/// A pause, or none.
type Pause = Option<Duration>;

fn read_pause(text: &str) -> Result<Pause, String> {
    if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) == "0" {
        return Ok(None);
    }
    read_duration(text).map(Some)
}

fn read_network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| alone()).map_err(|_| {
        format!("{}: expected an address or a network, such as 10.0.0.0/8 or ::1", crate::slug::shown(text))
    })
}

fn read_origin(text: &str) -> Result<String, String> {
    let fail = || format!("{}: expected an origin, such as https://news.example", crate::slug::shown(text));
    let url = url::Url::parse(text).map_err(|_| fail())?;
    let origin = url.origin();
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let web = matches!(url.scheme(), "http" | "https") && origin.is_tuple() && url.username().is_empty();
    // A name with ";" or a blank would be another directive of the policy that it goes into.
    let name = url.host_str().is_some_and(|host| {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'))
    });
    if bare && web && name { Ok(origin.ascii_serialization()) } else { Err(fail()) }
}

impl Args {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let config = Config {
            site: settings,
            listen: self.listen,
            flush_every: self.flush_every,
            trusted_proxies: self.trusted_proxies,
            embed_origins: self.embed_origins,
            rate_limit: self.rate_limit,
            title: self.title,
            waiting_max: usize::try_from(self.waiting_max)?,
            connections_max: usize::try_from(self.connections_max)?,
        };
        let mut told = Ok(());
        web::serve(config, |address| {
            told = out.line(format_args!("listening on http://{address}")).and_then(|()| out.flush());
        })?;
        Ok(told?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_people_write_them() {
        assert_eq!(["0", "0s", "2s"].map(read_pause), [Ok(None), Ok(None), Ok(Some(Duration::from_secs(2)))]);
        assert!(read_pause("often").is_err());
        assert_eq!(read_network("::1").unwrap().to_string(), "::1/128");
        assert!(read_network("10.0.0.0/33").is_err());
        assert_eq!(read_origin("https://News.example/").unwrap(), "https://news.example");
        for odd in
            ["news.example", "https://news.example/page", "https://a;b", "https://a b", "file:///x", "https://u@a"]
        {
            assert!(read_origin(odd).is_err(), "{odd}");
        }
    }
}
