//! A queue held in memcached that writers enter without a lock.
//!
//! It follows the key scheme of the old "memcached as a simple message queue" notes, a lock, a pointer and
//! the entries, so that legacy writers, which follow those notes, can share a prefix with weir. What it adds is that a
//! writer needs no lock and that no entry is lost or read twice when a process is killed anywhere.
//!
//! # Keys, for a prefix `P`
//! | key | holds | expires |
//! |---|---|---|
//! | `P-curr` | the last ticket handed out, a decimal counter | never |
//! | `P-key-T` | the entry of ticket `T` | never |
//! | `P-lock` | the lock of the notes: `incr` to 1 takes it, `set 0` frees it | never |
//! | `P-server` | the server's id, a decimal number | never |
//! | `P-epoch-N` | ticket 0 of the `N`th epoch begun since the server started | never |
//! | `P-head-ID` | 10^18 and how many entries of the server with this id have been deleted after their commit | never |
//! | `P-flushed` | when the queue was last drained to its end: for people and monitors | never |
//! | `P-database` | the id of the database that the queue belongs to | never |
//! | `P-database-name` | its URL without the password: for messages | never |
//! | `P-probe-R` | nothing: `status` stores it to see whether a vote would be stored | after 1 second |
//! | `P-legacy` | the epoch under which tickets of epoch 0 are drained (see [`ticket`]) | never |
//!
//! # States of a slot
//! *Empty*: its ticket may have been handed out, nothing is stored. *Filled*: a writer's `add` was stored, and the
//! writer has its answer. *Deleted*: its entry was committed by the reader, a later read of the reader's database showed
//! the commit, and the slot was deleted. Only writers fill slots, each its own; only the reader deletes, and only what it
//! knows to be committed. A slot that the reader finds empty is a *hole*, which it reads again later.
//!
//! # Who decides
//! The server decides which ticket a writer gets. The reader's own database decides which slots have been read and which
//! are holes; nothing in memcached is trusted for that, because memcached may forget.
//!
//! # Failures
//! - *A writer is killed after it took a ticket*: the slot stays a hole until the reader gives it up, after an hour.
//! - *A writer is stopped between its steps* for over 5 s: it takes a new ticket. For less: the reader finds the entry in
//!   the hole.
//! - *The connection breaks between the steps*: the ticket is dropped, for the server may have been restarted
//!   and its tickets may mean something else now. A connection cannot span a restart.
//! - *An answer never comes*: the outcome is unknown, and the caller must send the same content again
//!   elsewhere under the same identity. This module never retries an unknown outcome by itself.
//! - *The server restarts*: `P-curr` is gone; the first writer begins a new random epoch, so no old ticket
//!   can be mistaken for a new one, and the server gets a new id.
//! - *A legacy writer sets the counter to 0*: it had found no lock just before weir made it. What weir's
//!   writers have queued by then lies in an epoch that the counter no longer shows; `P-epoch-N` names it.
//! - *The server has no memory*: an `add` is refused, and the writer goes elsewhere. memcached removes the item that a
//!   refused conditional store meets, so such a store is used for a writer's own empty slot only; keys that the protocol
//!   relies on are created by arithmetic (`number`), which removes nothing. The reader stores nothing that it needs.
//! - *The server evicts*: an entry can be lost. Run memcached with `-M`; [`health`] tells whether it is.
//!
//! Entries are bytes here: the module knows nothing of polls, of SQL or of configuration.

mod connection;
mod error;
pub mod health;
mod kind;
mod lock;
mod mark;
mod names;
mod number;
mod owner;
mod reader;
mod server_id;
mod slots;
mod start;
pub mod ticket;
mod transport;
mod writer;

pub use connection::{Connection, Leased, Lifetime};
pub use error::Error;
pub use lock::Lock;
pub use mark::{CLAIM_SECONDS, Claim, claim, confirm};
pub use names::{Address, AddressError, Keys, Prefix, PrefixError};
pub use owner::{Owner, adopt, claim as claim_owner, may_hold_entries, owner};
pub use reader::{Entry, Position, delete, fetch, forget_shadow, leave_legacy_epoch, position, record_deleted};
pub use server_id::{ServerId, known_server_id, server_id};
pub use slots::{Slot, SlotRange, subtract};
pub use ticket::Ticket;
pub use writer::enqueue;
