//! `weir sync` as a person or a cron job meets it: the real binary, the installed rsync, real trees, a stand-in for
//! the remote shell and a daemon on loopback.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]

mod examples;
mod fleet;
mod guards;
mod lists;
mod names;
mod options;
mod remote;
mod report;
mod settings;
mod stops;
mod support;
