//! Tests of the whole program against the real servers: memcached, MariaDB, SQLite.
//!
//! One binary, because linking is the slow part. Each test starts the servers it needs on free loopback ports and
//! ends them again; a server that is not installed fails the test with the package's name.

#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking, as the test itself does")]

mod support;

mod bad_input;
mod batcher;
mod batches;
mod closing;
mod commands;
mod database_faults;
mod database_hosts;
mod database_sessions;
mod dead_letters;
mod definitions;
mod examples;
mod fallback;
mod flush_service;
mod full_server;
mod kills;
mod layering;
mod left_epochs;
mod legacy;
mod old_scripts;
mod one_address;
mod overtaken;
mod readme;
mod refusals;
mod repair;
mod restart;
mod scale;
mod server_ids;
mod shared_queues;
mod signals;
mod status_check;
mod store_conformance;
mod unix_sockets;
mod vote_and_flush;
mod voter_secrets;
mod web;
mod went_back;
mod wrong_servers;
mod wrong_settings;
