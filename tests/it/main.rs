//! Tests of the whole program against the real servers: memcached, MariaDB, SQLite.
//!
//! One binary, because linking is the slow part. Each test starts the servers it needs on free loopback ports and
//! ends them again; a server that is not installed fails the test with the package's name.

mod support;

mod definitions;
mod layering;
mod old_scripts;
mod overtaken;
mod vote_and_flush;
