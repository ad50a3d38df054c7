//! The log of one host's run: what it was, every change, every word of rsync's, how it ended.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::show::summary;
use crate::sync::{Error, Report};

pub(super) struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    /// The first thing that went wrong with writing; the run is not ended for it.
    trouble: Option<std::io::Error>,
}

impl Log {
    /// Begins the log anew.
    pub(super) fn open(directory: &Path, label: &str) -> Result<Log, String> {
        let path = directory.join(format!("{label}.log"));
        let file = File::create(&path).map_err(|error| format!("log {}: {error}", path.display()))?;
        let mut log = Log { path, file: BufWriter::new(file), trouble: None };
        log.line(&format!("{} begun", now()));
        Ok(log)
    }

    pub(super) fn line(&mut self, line: &str) {
        if let Err(error) = writeln!(self.file, "{line}") {
            self.trouble.get_or_insert(error);
        }
    }

    /// Ends the log; what could not be written is told.
    pub(super) fn end(mut self, result: &Result<Report, Error>) -> Result<(), String> {
        let line = match result {
            Ok(report) => summary(report),
            Err(error) => format!("failed: {error}"),
        };
        self.line(&format!("{} {line}", now()));
        let trouble = self.trouble.take().or(self.file.flush().err());
        trouble.map_or(Ok(()), |error| Err(format!("log {}: {error}", self.path.display())))
    }
}

fn now() -> String {
    jiff::Zoned::now().strftime("%F %T %:z").to_string()
}
