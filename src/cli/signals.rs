//! Signals that ask a command to end: the command ends in order at the first, and at a second where it stands.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::exit;

/// Has the first of these signals raise `stop`, and a second one end the process at once.
pub(super) fn end_at_second_signal(signals: &[i32], stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in signals {
        // The first signal finds the flag down; a second finds it up and ends the process.
        signal_hook::flag::register_conditional_shutdown(*signal, i32::from(exit::INTERRUPTED), stop.clone())?;
        signal_hook::flag::register(*signal, stop.clone())?;
    }
    Ok(())
}
