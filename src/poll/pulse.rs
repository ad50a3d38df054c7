//! What a long flush and whoever started it tell each other: "stop after this chunk", and "something has moved".
//!
//! It refuses to say what moved: a service that must prove to be alive needs no more than that something did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A flag and a counter; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicU64>,
}

impl Pulse {
    /// The flag that asks the work to stop at its next commit: for a signal handler.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether it has been asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Something has moved.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something has moved.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}
