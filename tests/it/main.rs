//! Tests of the whole program against the real servers: memcached, MariaDB, SQLite.
//!
//! One binary, because linking is the slow part. Each test starts the servers it needs on free loopback ports and
//! ends them again; a server that is not installed fails the test with the package's name.

// In a test, an unwrap that fails is the test failing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

mod kills;
mod layering;
mod legacy;
mod old_scripts;
mod overtaken;
mod readme;
mod store_conformance;
mod vote_and_flush;
