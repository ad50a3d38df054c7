//! `weir poll open` and `weir poll close`.

use anyhow::Result;

use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::poll::ballot::{Poll, Refusal, time_text};
use crate::poll::judge::CLOSING_GRACE_MS;
use crate::poll::{definition, now_ms, owner};
use crate::slug::Slug;
use crate::store::Store;

/// Arguments of `weir poll open`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  weir poll open now\n  weir poll open now --closes 2h")]
pub struct OpenArgs {
    /// The poll
    #[arg(value_parser = Slug::new)]
    poll: Slug,
    /// When it closes again; without it, a closing time that has passed is dropped
    #[arg(long, value_name = "WHEN", value_parser = read_closing)]
    closes: Option<i64>,
}

/// Arguments of `weir poll close`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Every vote that was acknowledged before the poll was closed counts, however late it is
flushed. So does one that was cast in the next 5 s: other processes take up to 1 s to read the
end, and clocks differ. A vote cast later than that becomes a dead letter.\n
Example:\n  weir poll close now")]
pub struct CloseArgs {
    /// The poll
    #[arg(value_parser = Slug::new)]
    poll: Slug,
}

impl OpenArgs {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let poll = change(&settings, &self.poll, out, &mut |poll| {
            let now = now_ms();
            let kept = poll.closes_at_ms.filter(|closes| *closes > now);
            // An end that passed while the database was waited for is the present: voters know nothing of it yet.
            (poll.closes_at_ms, poll.closed_at_ms) = (self.closes.map(|closes| closes.max(now)).or(kept), None);
        })?;
        match poll.ends_at_ms() {
            Some(end) => out.line(format_args!("opened {} until {}", poll.slug, time_text(end)))?,
            None => out.line(format_args!("opened {}", poll.slug))?,
        }
        Ok(())
    }
}

impl CloseArgs {
    pub(super) fn run(self, settings: Settings, out: &mut Output) -> Result<()> {
        let poll = change(&settings, &self.poll, out, &mut |poll| {
            let now = now_ms();
            poll.closed_at_ms = Some(poll.closed_at_ms.unwrap_or(now).min(now));
        })?;
        let end = poll.ends_at_ms().unwrap_or_else(now_ms);
        out.line(format_args!("closed {} at {}", poll.slug, time_text(end)))?;
        Ok(())
    }
}

fn change(settings: &Settings, slug: &Slug, out: &mut Output, change: &mut dyn FnMut(&mut Poll)) -> Result<Poll> {
    let mut store = settings.store()?;
    let poll = find(store.as_mut(), slug)?;
    let mut servers = settings.servers();
    owner::claim_all(&mut servers, &owner::of(store.as_mut())?)?;
    let poll = store.set_closing(&poll, change)?;
    for error in definition::publish(std::slice::from_ref(&poll), &store.properties()?, &mut servers) {
        out.warning(format_args!(
            "{error}; the change reaches that server with the next flush, and votes cast there more than {} s after a close become dead letters",
            CLOSING_GRACE_MS / 1000
        ));
    }
    Ok(poll)
}

/// The poll of that name, or the refusal that says there is none.
pub(super) fn find(store: &mut dyn Store, slug: &Slug) -> Result<Poll> {
    Ok(store.poll(slug)?.ok_or_else(|| Refusal::UnknownPoll(slug.clone()))?)
}

/// Reads a moment to come: a poll that has closed before it opens is a slip of the pen.
pub(super) fn read_closing(text: &str) -> Result<i64, String> {
    read_moment(text).and_then(|at| if at > now_ms() { Ok(at) } else { Err("that moment has passed".into()) })
}

/// Reads a moment: RFC 3339, a local date with or without time, or a while from now. Milliseconds of Unix time.
fn read_moment(text: &str) -> Result<i64, String> {
    let local = |when: jiff::civil::DateTime| when.to_zoned(jiff::tz::TimeZone::system()).ok().map(|at| at.timestamp());
    let from_now = || {
        let span: jiff::Span = text.trim_start_matches('+').parse().ok()?;
        jiff::Zoned::now().checked_add(span).ok().map(|at| at.timestamp())
    };
    let moment = text
        .parse::<jiff::Timestamp>()
        .ok()
        .or_else(|| local(text.parse().ok()?))
        .or_else(from_now)
        .ok_or_else(|| "expected a time, such as 2026-12-24 18:00, or a while from now, such as 2h".to_string())?;
    Ok(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        assert_eq!(read_moment("1970-01-01T00:00:02Z"), Ok(2000));
        assert_eq!(read_moment("1970-01-01T02:00:02+02:00"), Ok(2000));
        assert!(read_moment("2026-12-24 18:00").is_ok() && read_moment("2026-12-24").is_ok());
        for while_from_now in ["2h", "+2h", "2 hours"] {
            let in_ms = read_moment(while_from_now).unwrap() - now_ms();
            assert!((7_190_000..=7_200_000).contains(&in_ms), "{in_ms}");
        }
        for bad in ["", "soon", "25:00", "2"] {
            assert!(read_moment(bad).is_err(), "{bad:?}");
        }
    }
}
