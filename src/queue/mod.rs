//! A queue held in memcached that writers enter without a lock.
//!
//! It follows the key scheme of the old "memcached as a simple message queue" notes, a lock, a pointer and
//! the entries, so that scripts written to those notes can share a prefix with weir. What it adds is that a
//! writer needs no lock and that no entry is lost or read twice when a process dies anywhere.
//!
//! # Keys, for a prefix `P`
//! | key | holds | lives |
//! |---|---|---|
//! | `P-curr` | the last ticket handed out, a decimal counter | no expiry |
//! | `P-key-T` | the entry of ticket `T`, or a tombstone | no expiry; a tombstone 1 hour |
//! | `P-lock` | the lock of the notes: `incr` to 1 takes it, `set 0` frees it | no expiry |
//! | `P-head` | every ticket up to here has been deleted: a hint | no expiry |
//! | `P-epochs` | ticket 0 of every epoch begun since the server started, one a line | no expiry |
//! | `P-flushed` | when the queue was last drained to its end: for people and monitors | no expiry |
//! | `P-database` | the id of the database that the queue belongs to | no expiry |
//! | `P-database-name` | its URL without the password: for messages | no expiry |
//! | `P-legacy` | the epoch under which tickets of epoch 0 are drained (see [`ticket`]) | no expiry |
//!
//! # States of a slot
//! *Empty*: its ticket may be handed out, nothing is stored. *Filled*: a writer's `add` was stored, and the
//! writer has been told so. *Closed*: a reader's tombstone was stored; a writer's later `add` is refused and
//! it takes a new ticket. `add` is the only command that leaves *empty*, so a slot is filled or closed, never
//! both, whoever comes first. A filled slot is deleted only after what it held is committed elsewhere.
//!
//! # Who decides
//! The server decides which ticket a writer gets and who wins a slot. The reader's own database decides which
//! tickets have been read; nothing in memcached is trusted for that, because memcached may forget.
//!
//! # Failures
//! - *A writer dies after taking a ticket*: the slot stays empty and the reader closes it.
//! - *A writer sleeps between its steps* (over 5 s, or until the reader closed the slot): it takes a new ticket.
//! - *The connection breaks between the steps*: the ticket is dropped, for the server may have been restarted
//!   and its tickets may mean something else now. A connection cannot span a restart.
//! - *An answer never comes*: the outcome is unknown, and the caller must send the same content again
//!   elsewhere under the same identity. This room never retries an unknown outcome by itself.
//! - *The server restarts*: `P-curr` is gone; the first writer begins a new random epoch, so no old ticket
//!   can be mistaken for a new one.
//! - *A script of the notes sets the counter to 0*: it had found no lock just before weir made it. What weir's
//!   writers have queued by then lies in an epoch that the counter no longer shows; `P-epochs` names it.
//! - *The counter is gone and nothing else*: a reader makes one, in a fresh epoch, before it decides what to read.
//! - *The server evicts*: an entry can be lost. Run memcached with `-M`; [`health`] tells whether it is.
//!
//! It refuses to know what an entry says: entries are bytes here. It knows nothing of polls, of SQL or of
//! configuration.

mod connection;
mod error;
pub mod health;
mod lock;
mod mark;
mod names;
mod owner;
mod reader;
pub mod ticket;
mod writer;

pub use connection::{Connection, Leased, Lifetime};
pub use error::Error;
pub use lock::{Acquired, Lock};
pub use mark::{CLAIM_SECONDS, Claim, claim, confirm};
pub use names::{Address, AddressError, Keys, Prefix, PrefixError};
pub use owner::{Owner, adopt, claim as claim_owner, may_hold_entries, owner};
pub use reader::{Entry, Position, delete, fetch, forget_shadow, leave_legacy_epoch, position, set_head, sweep};
pub use ticket::Ticket;
pub use writer::enqueue;
