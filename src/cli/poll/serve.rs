//! `weir poll serve`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::output::Output;
use crate::cli::settings::{Settings, default_text, read_pause};
use crate::cli::signals::end_at_second_signal;
use crate::config::{self, Config, ConfigError, Key};
use crate::poll::pulse::Pulse;
use crate::slug::shown;
use crate::web::{self, IpNet, Stage};

use super::manager::Teller;

/// Arguments of `weir poll serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Pages: /, /polls/POLL, /polls/POLL/results. JSON: /api/v1/openapi.json describes it. For
monitors: /metrics, /healthz, /readyz.

SIGTERM or SIGINT ends it in order: no new connections, votes under way are answered, a last
flush. A second one ends it at once, and what was acknowledged is safe. Under systemd
(Type=notify) it reports readiness and its end, and pings the watchdog while it accepts
connections, /healthz is 200, and its flusher is idle or makes progress; WatchdogSec= must be
over 2min.

Each option is also a key of the [serve] table of weir.toml; weir config shows them.

Set WEIR_VOTER_SECRET, the same on every host: cookies are signed and addresses hashed with
it. Without it a secret is made and kept in the spool folder. Put a proxy with TLS in front and
name it with --trusted-proxy; examples/ has an nginx site and a systemd unit.

Examples:
  weir poll serve
  weir poll serve --listen 127.0.0.1:8080 --trusted-proxy 127.0.0.1 --embed-origin https://news.example")]
pub struct Args {
    /// Where to listen; port 0 takes a free one [env: WEIR_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The pause between two flushes of the built-in flusher; 0 for none, when "weir poll flush" runs elsewhere
    /// [env: WEIR_FLUSH_EVERY] [default: 2s]
    #[arg(long, value_name = "DURATION")]
    flush_every: Option<String>,
    /// An address or network whose X-Forwarded-For and X-Forwarded-Proto are believed; may be repeated, or several
    /// separated by commas [env: WEIR_TRUSTED_PROXY]
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Vec<String>,
    /// An origin whose pages may show polls in a frame, such as https://news.example; may be repeated, or several
    /// separated by commas [env: WEIR_EMBED_ORIGIN]
    #[arg(long, value_name = "ORIGIN")]
    embed_origin: Vec<String>,
    /// Requests a second from one address, with bursts of four seconds' worth; 0 for no limit [env:
    /// WEIR_RATE_LIMIT] [default: 50]
    #[arg(long, value_name = "N")]
    rate_limit: Option<String>,
    /// What the pages are headed with [env: WEIR_TITLE] [default: Reader polls]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// How many votes may wait for each memcached server before voters are told to come back [env:
    /// WEIR_WAITING_MAX] [default: 16384]
    #[arg(long, value_name = "N")]
    waiting_max: Option<String>,
    /// How many connections are served at once; more wait to be accepted, and three in four may follow results live
    /// [env: WEIR_CONNECTIONS_MAX] [default: 20000]
    #[arg(long, value_name = "N")]
    connections_max: Option<String>,
}

impl Args {
    /// The flags as settings.
    pub(super) fn flags(&self) -> Vec<(Key, Option<String>)> {
        let list = |given: &[String]| (!given.is_empty()).then(|| given.join(","));
        vec![
            (config::LISTEN, self.listen.clone()),
            (config::FLUSH_EVERY, self.flush_every.clone()),
            (config::TRUSTED_PROXY, list(&self.trusted_proxy)),
            (config::EMBED_ORIGIN, list(&self.embed_origin)),
            (config::RATE_LIMIT, self.rate_limit.clone()),
            (config::TITLE, self.title.clone()),
            (config::WAITING_MAX, self.waiting_max.clone()),
            (config::CONNECTIONS_MAX, self.connections_max.clone()),
        ]
    }
}

fn settings(config: &Config) -> Result<web::Config, ConfigError> {
    fn read<T>(config: &Config, key: Key, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        config.read(key, &default_text(key).unwrap_or_default(), read)
    }
    Ok(web::Config {
        listen: read(config, config::LISTEN, read_listen)?,
        flush_every: read(config, config::FLUSH_EVERY, read_pause)?,
        trusted_proxies: read(config, config::TRUSTED_PROXY, |text| read_list(text, read_network))?,
        embed_origins: read(config, config::EMBED_ORIGIN, |text| read_list(text, read_origin))?,
        rate_limit: read(config, config::RATE_LIMIT, |text| read_number(text, 0..=1_000_000))?,
        title: read(config, config::TITLE, read_title)?,
        waiting_max: read(config, config::WAITING_MAX, |text| read_number(text, 1..=1_000_000))? as usize,
        connections_max: read(config, config::CONNECTIONS_MAX, |text| read_number(text, 1..=1_000_000))? as usize,
    })
}

/// Checks the settings of the service without starting it.
pub fn check(config: &Config) -> Result<()> {
    settings(config)?;
    Ok(())
}

fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let expected = || format!("{}: expected an address and a port, such as 127.0.0.1:8080 or [::1]:8080", shown(text));
    text.parse().map_err(|_| expected())
}

fn read_number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{}: expected a number from {} to {}", shown(text), range.start(), range.end()))
}

fn read_title(text: &str) -> Result<String, String> {
    let fits = !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    if fits { Ok(text.into()) } else { Err(format!("{}: expected a line of up to 200 bytes", shown(text))) }
}

/// Parts separated by commas; none of an empty text.
fn read_list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let parts = text.split(',').map(str::trim);
    if text.trim().is_empty() { Ok(Vec::new()) } else { parts.map(read).collect() }
}

fn read_network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| alone())
        .map_err(|_| format!("{}: expected an address or a network, such as 10.0.0.0/8 or ::1", shown(text)))
}

fn read_origin(text: &str) -> Result<String, String> {
    let fail = || format!("{}: expected an origin, such as https://news.example", shown(text));
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

/// Serves until a signal, and tells a service manager how it is.
pub(super) fn run(config: &Config, site: Settings, out: &mut Output) -> Result<()> {
    let config = settings(config)?;
    let pulse = Pulse::default();
    let (mut told, mut teller) = (Ok(()), None);
    web::serve(site, &config, &pulse, |stage| match stage {
        Stage::Listening(address) => {
            // Only from here on does a signal end it in order, so that the first is never taken for a second.
            let heard = end_at_second_signal(&[SIGTERM, SIGINT], &Arc::default());
            told =
                heard.and_then(|()| out.line(format_args!("listening on http://{address}"))).and_then(|()| out.flush());
            let mut ready = Teller::start(pulse.clone());
            ready.status(format!("listening on http://{address}"));
            teller = Some(ready);
        }
        Stage::Ending => {
            if let Some(teller) = teller.take() {
                teller.stopping();
            }
        }
    })?;
    Ok(told?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_are_read_as_people_write_them() {
        assert_eq!(read_list(" ", read_network), Ok(vec![]));
        assert_eq!(read_list("::1, 10.0.0.0/8", read_network).unwrap().len(), 2);
        assert!(read_list("::1,", read_network).is_err() && read_number("-1", 0..=9).is_err());
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
