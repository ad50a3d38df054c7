//! Where lines come from: files, standard input, any reader; plain or compressed.
//!
//! A regular, plain file is kept as a file, so that it can be read anywhere and by several threads. All
//! else is a stream. What a file is, is decided by its first bytes, not by its name: gzip (RFC 1952, several
//! members are one stream) and Zstandard (RFC 8878, several frames likewise) are decompressed, also when they
//! come on standard input. The length of a plain file is taken when it is opened: lines that are appended
//! later are not part of what is sampled, a file that becomes shorter is an error.
//!
//! When a pipe has nothing more at the moment, the read reports `Interrupted` at once, so that what is buffered can be
//! printed, and from then on every [`WAIT_MS`], so that whoever samples can look for a signal or a timer.
//!
//! It refuses directories, and compressed input that is damaged or ends too early.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::Error;

/// How long a read of a pipe waits before it reports `Interrupted`.
pub const WAIT_MS: i64 = 100;

/// What a pipe is asked to hold: fewer, larger reads. The system may refuse.
const PIPE_BYTES: usize = 256 << 10;

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One input: a file that can be read anywhere, or a stream.
#[derive(Debug)]
pub enum Input {
    /// A plain regular file.
    File(PlainFile),
    /// Anything else.
    Stream(Source),
}

/// A plain regular file, from `start` for `len` bytes.
#[derive(Debug)]
pub struct PlainFile {
    /// As the user called it.
    pub name: String,
    /// The open file.
    pub file: File,
    /// Where the lines begin; not 0 when standard input had been read before.
    pub start: u64,
    /// How many bytes there were from `start` when it was opened.
    pub len: u64,
}

/// A reader with a name for messages.
pub struct Source {
    /// As the user called it.
    pub name: String,
    /// Where its bytes come from.
    pub reader: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source {
    /// Any reader, its bytes taken as they are.
    pub fn new(name: &str, reader: impl Read + Send + 'static) -> Source {
        Source { name: name.to_owned(), reader: Box::new(reader) }
    }
}

impl Input {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or its beginning cannot be read.
    pub fn open(path: &Path) -> Result<Input, Error> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Input::from_file(name, file),
            Err(source) => Err(Error::Open { name, source }),
        }
    }

    /// The process's standard input, from where it stands.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn stdin() -> Result<Input, Error> {
        let name = "standard input".to_owned();
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(descriptor) => Input::from_file(name, File::from(descriptor)),
            Err(source) => Err(Error::Open { name, source }),
        }
    }

    /// An open file, pipe, terminal or socket, from where it stands.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn from_file(name: String, file: File) -> Result<Input, Error> {
        match look_at(&file) {
            Ok(Look::Plain { start, len }) => Ok(Input::File(PlainFile { name, file, start, len })),
            Ok(Look::Stream) => match decompress(file) {
                Ok(reader) => Ok(Input::Stream(Source { name, reader })),
                Err(source) => Err(Error::Read { name, source }),
            },
            Err(source) => Err(Error::Read { name, source }),
        }
    }

    /// The input's name.
    pub fn name(&self) -> &str {
        match self {
            Input::File(file) => &file.name,
            Input::Stream(source) => &source.name,
        }
    }

    /// The input as a stream.
    pub fn into_source(self) -> Source {
        match self {
            Input::Stream(source) => source,
            Input::File(PlainFile { name, file, start, len }) => {
                Source { name, reader: Box::new(FileStream { file, at: start, end: start + len }) }
            }
        }
    }
}

enum Look {
    Plain { start: u64, len: u64 },
    Stream,
}

/// Decides how a file is read, without moving its position.
fn look_at(mut file: &File) -> io::Result<Look> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !metadata.is_file() {
        return Ok(Look::Stream);
    }
    let start = file.stream_position()?;
    let mut head = [0; 4];
    let head_len = file.read_at(&mut head, start)?;
    let len = metadata.len().saturating_sub(start);
    // Files that the kernel makes up, as in /proc, say that they are empty and are not.
    let made_up = len == 0 && head_len > 0;
    let compressed = head.starts_with(&GZIP) || head.starts_with(&ZSTANDARD);
    Ok(if made_up || compressed { Look::Stream } else { Look::Plain { start, len } })
}

/// A reader of the file's bytes, decompressed if they are compressed.
fn decompress(file: File) -> io::Result<Box<dyn Read + Send>> {
    let patient = !file.metadata()?.is_file();
    if patient {
        // Refused for what is no pipe, and by a system that is short of pipe memory: then it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
    }
    Ok(Box::new(Detecting {
        state: State::Head { head: Vec::new(), file: Some(Descriptor { file, patient, idle: false }) },
    }))
}

/// A descriptor that is read in order.
struct Descriptor {
    file: File,
    patient: bool,
    /// There was nothing when it was last looked at, and the reader was told.
    idle: bool,
}

impl Read for Descriptor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.patient {
            let mut wanted = [PollFd::new(&self.file, PollFlags::IN)];
            let wait = Timespec { tv_sec: 0, tv_nsec: if self.idle { WAIT_MS * 1_000_000 } else { 0 } };
            self.idle = poll(&mut wanted, Some(&wait))? == 0;
            if self.idle {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        self.file.read(into)
    }
}

/// Looks at the first bytes as soon as they are there, and then reads plainly or through a decompressor.
struct Detecting {
    state: State,
}

enum State {
    Head { head: Vec<u8>, file: Option<Descriptor> },
    Plain { head: io::Cursor<Vec<u8>>, file: Descriptor },
    Decoding(Box<dyn Read + Send>),
}

impl Detecting {
    /// Reads until it is known what the input is.
    fn detect(&mut self) -> io::Result<()> {
        while let State::Head { head, file } = &mut self.state {
            let Some(descriptor) = file else { return Ok(()) };
            let undecided = (GZIP.starts_with(head) || ZSTANDARD.starts_with(head)) && head.len() < ZSTANDARD.len();
            let undecided = undecided && !head.starts_with(&GZIP);
            let mut more = [0; 4];
            let read = if undecided { descriptor.read(&mut more[head.len()..])? } else { 0 };
            if read > 0 {
                let from = head.len();
                head.extend_from_slice(&more[from..from + read]);
                continue;
            }
            let head = std::mem::take(head);
            if let Some(file) = file.take() {
                self.state = State::begin(head, file)?;
            }
        }
        Ok(())
    }
}

impl State {
    fn begin(head: Vec<u8>, file: Descriptor) -> io::Result<State> {
        let gzip = head.starts_with(&GZIP);
        let zstandard = head.starts_with(&ZSTANDARD);
        let head = io::Cursor::new(head);
        Ok(if gzip {
            let whole = io::BufReader::with_capacity(1 << 17, head.chain(file));
            State::Decoding(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
        } else if zstandard {
            let whole = io::BufReader::with_capacity(1 << 17, head.chain(file));
            State::Decoding(Box::new(zstd::stream::read::Decoder::with_buffer(whole)?))
        } else {
            State::Plain { head, file }
        })
    }
}

impl Read for Detecting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.detect()?;
        match &mut self.state {
            State::Plain { head, file } => match head.read(into)? {
                0 => file.read(into),
                read => Ok(read),
            },
            State::Decoding(decoder) => decoder.read(into),
            State::Head { .. } => Ok(0),
        }
    }
}

/// A plain file read in order, exactly as long as it was when it was opened.
struct FileStream {
    file: File,
    at: u64,
    end: u64,
}

impl Read for FileStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut while it was read"));
        }
        self.at += read as u64;
        Ok(read)
    }
}
