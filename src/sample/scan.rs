//! A uniform sample of plain files by reading them once, with several threads.
//!
//! Algorithm: bottom-N by random key ([`reservoir`](super::reservoir)), the keys drawn chunk by chunk
//! ([`key`](super::key)). The row of bytes is cut into chunks of fixed size; a line belongs to the chunk that
//! holds its terminator. A thread takes the next chunk, counts its terminators (with vector instructions), draws the small
//! keys that so many lines have, and goes on: no line is looked at. At the end the N chosen places, which are "line
//! 17 of chunk 4711", are looked up by reading those chunks again.
//!
//! Cost: one pass at the speed of memory, about N chunks read twice, 24 bytes a line of the sample. What a chunk
//! gives depends on the seed and on its own lines, so the number of threads changes nothing. It gives up the
//! order of reading: it is for files, [`stream`](super::stream) does the same for what comes once.
//!
//! It refuses files that become shorter meanwhile, and those whose lines were found elsewhere the second time.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::count::count_byte;
use super::error::Error;
use super::key::{ChunkKeys, Key};
use super::population::Population;
use super::reservoir::{Entry, Reservoir};
use super::rng::Seed;

/// A line of a [`Population`]: where it begins, and its length with its terminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte's place in the row.
    pub start: u64,
    /// How many bytes, the terminator included.
    pub len: u64,
}

/// What a scan needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// How many lines to keep.
    pub count: u64,
    /// What the keys are derived from.
    pub seed: Seed,
    /// How large a chunk is; the same in every run that is to give the same sample.
    pub chunk_bytes: usize,
    /// How many threads read.
    pub threads: usize,
}

/// A scan that is under way, or over.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The chosen places: the chunk's number times its size plus the line's place in it; with each the number
    /// of lines in its chunk.
    pub places: Reservoir<u32>,
    /// How many lines were counted.
    pub lines: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// Called now and then by the thread that samples, with a way to the sample so far and the bytes read so far: the
/// place to look for signals and timers, and to move a progress bar. `Break` ends the sampling there.
pub type Look<'a, T> = dyn FnMut(&dyn Fn() -> T, u64) -> Result<ControlFlow<()>, Error> + 'a;

struct Shared<'a> {
    population: &'a Population,
    scan: Scan,
    next_chunk: AtomicU64,
    limit: AtomicU64,
    stop: AtomicBool,
    found: Mutex<Scanned>,
}

/// Scans the row once. Every chunk that a thread has done, `look` is called by the calling thread with a way to the
/// sample so far; when it breaks off, what was seen until then is the result.
///
/// # Errors
/// A file cannot be read or has become shorter; `look` failed.
pub fn scan(population: &Population, scan: Scan, look: &mut Look<'_, Scanned>) -> Result<Scanned, Error> {
    let scan = Scan { chunk_bytes: scan.chunk_bytes.clamp(1, 1 << 30), ..scan };
    let places = Reservoir::new(scan.count);
    let shared = Shared {
        population,
        scan,
        next_chunk: AtomicU64::new(0),
        limit: AtomicU64::new(Key::LARGEST.to_bits()),
        stop: AtomicBool::new(false),
        found: Mutex::new(Scanned { places, lines: 0, bytes: 0 }),
    };
    let chunks = population.len().div_ceil(scan.chunk_bytes as u64);
    let helpers = (scan.threads.max(1) as u64 - 1).min(chunks.saturating_sub(1));
    std::thread::scope(|scope| {
        let helpers: Vec<_> =
            (0..helpers).map(|_| scope.spawn(|| shared.work(&mut || Ok(ControlFlow::Continue(()))))).collect();
        let so_far = || lock(&shared.found).clone();
        let own = shared.work(&mut || look(&so_far, lock(&shared.found).bytes));
        helpers.into_iter().fold(own, |result, helper| {
            result.and(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })?;
    population.check_lengths()?;
    Ok(shared.found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Shared<'_> {
    /// Takes chunk after chunk until there is none.
    fn work(&self, look: &mut dyn FnMut() -> Result<ControlFlow<()>, Error>) -> Result<(), Error> {
        let mut worker =
            Worker { buffer: vec![0; self.scan.chunk_bytes], keys: ChunkKeys::default(), found: Vec::new() };
        let result = loop {
            let chunk = self.next_chunk.fetch_add(1, Ordering::Relaxed);
            let start = chunk.saturating_mul(self.scan.chunk_bytes as u64);
            if start >= self.population.len() || self.stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            match self.one_chunk(&mut worker, chunk, start).and_then(|()| look()) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => {
                    self.stop.store(true, Ordering::Relaxed);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    fn one_chunk(&self, worker: &mut Worker, chunk: u64, start: u64) -> Result<(), Error> {
        let len = (self.population.len() - start).min(self.scan.chunk_bytes as u64);
        let buffer = &mut worker.buffer[..len as usize];
        self.population.read(start, buffer)?;
        let line_count = count_byte(self.population.delimiter(), buffer) as u32;
        let limit = Key::from_bits(self.limit.load(Ordering::Relaxed));
        worker.keys.draw(self.scan.seed, chunk, line_count, limit, &mut worker.found);
        let mut found = lock(&self.found);
        for (key, line) in worker.found.drain(..) {
            found.places.offer(key, start + u64::from(line), line_count);
        }
        self.limit.store(found.places.limit().to_bits(), Ordering::Relaxed);
        found.lines += u64::from(line_count);
        found.bytes += len;
        Ok(())
    }
}

struct Worker {
    buffer: Vec<u8>,
    keys: ChunkKeys,
    found: Vec<(Key, u32)>,
}

/// The mutex guards numbers that are whole after each call, so a panic elsewhere does not spoil them.
fn lock(found: &Mutex<Scanned>) -> MutexGuard<'_, Scanned> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the lines at the chosen places, in the order of the input.
///
/// # Errors
/// A file cannot be read, or the lines are not where they were.
pub fn find(population: &Population, chunk_bytes: usize, places: Reservoir<u32>) -> Result<Vec<Entry<Span>>, Error> {
    let chunk_bytes = chunk_bytes.clamp(1, 1 << 30);
    let places = places.into_entries();
    let mut spans = Vec::with_capacity(places.len());
    let mut buffer = vec![0; chunk_bytes];
    for group in places.chunk_by(|one, other| one.position / chunk_bytes as u64 == other.position / chunk_bytes as u64)
    {
        let Some(first) = group.first() else { continue };
        let start = first.position / chunk_bytes as u64 * chunk_bytes as u64;
        let len = (population.len() - start).min(chunk_bytes as u64) as usize;
        population.read(start, &mut buffer[..len])?;
        let changed = || Error::Changed {
            name: population.name_at(start).to_owned(),
            what: "its lines are no longer where they were".to_owned(),
        };
        let mut line_count = 0u32;
        let mut wanted = group.iter().peekable();
        let mut line_start = None;
        for end in memchr::memchr_iter(population.delimiter(), &buffer[..len]) {
            if let Some(entry) = wanted.next_if(|entry| entry.position == start + u64::from(line_count)) {
                let from = match line_start {
                    Some(from) => from,
                    None => population.line_start(start)?,
                };
                let span = Span { start: from, len: start + end as u64 + 1 - from };
                spans.push(Entry { key: entry.key, position: entry.position, item: span });
            }
            line_start = Some(start + end as u64 + 1);
            line_count += 1;
        }
        if line_count != first.item || wanted.next().is_some() {
            return Err(changed());
        }
    }
    Ok(spans)
}
