//! `weir`: tools for the people who keep busy web sites running.
//!
//! The crate is a house with one room per job; a reader who looks for a job finds a folder of its name:
//!
//! | room | what it does | what it may import |
//! |---|---|---|
//! | [`poll`] | takes votes in and folds them into SQL, each exactly once | `queue`, `store` |
//! | [`queue`] | memcached as a queue that writers enter without a lock | nothing of weir |
//! | [`store`] | polls, ballots and tallies in MySQL, MariaDB or SQLite | nothing of weir |
//! | [`rules`] | rsync lists: parse, match, explain, check, expand | nothing of weir |
//! | [`sync`] | runs rsync with lists, behind guards | `rules` |
//! | [`sample`] | chooses lines at random out of files and streams | nothing of weir |
//! | [`web`] | polls as pages and as a JSON interface: `weir poll serve` | `poll`, `queue`, `store` |
//! | [`config`] | settings: flag, environment, file, default, and which of them it was | nothing of weir |
//! | [`cli`] | one file per command: its arguments and the few lines that call a room | all of the above |
//!
//! `slug` and [`failpoint`] are leaves that every room may use.
//!
//! Imports run one way: `main -> cli -> {config, web, poll, sync, rules, sample}`, `web -> poll -> {queue, store}`,
//! `sync -> rules`. clap and anyhow stay in
//! [`cli`]; only `cli::output` prints; library errors are types that name the server, key, URL or file that
//! failed. `tests/it/layering.rs` holds the house to these rules.

pub mod cli;
pub mod config;
pub mod failpoint;
pub mod poll;
pub mod queue;
pub mod rules;
pub mod sample;
pub mod slug;
pub mod store;
pub mod sync;
pub mod web;
