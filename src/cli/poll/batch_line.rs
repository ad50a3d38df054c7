//! A line of a batch: `POLL<TAB>CHOICE[,CHOICE...][<TAB>VOTER]`.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::poll::ballot::{CHOICES, Voter};
use crate::poll::vote::Vote;
use crate::slug::Slug;

/// The longest line, in bytes.
const LINE_MAX_LEN: usize = 64 * 1024;

/// How many different `POLL<TAB>CHOICES` are remembered, and how long they may be.
const KINDS_MAX: usize = 1000;
const KIND_MAX_LEN: usize = 200;

/// Reads a line without its end into `line`, but never more of it than tells that it is too long. The number of
/// bytes read; 0 at the end of the input.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut read = Read::by_ref(reader).take(LINE_MAX_LEN as u64 + 1).read_until(b'\n', line)? as u64;
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|byte| *byte == b'\r');
    } else if line.len() > LINE_MAX_LEN {
        read += reader.skip_until(b'\n')? as u64;
    }
    Ok(read)
}

/// The kinds of votes read so far. A batch has few kinds and many votes, so each is read and checked once.
#[derive(Default)]
pub(super) struct Kinds {
    known: HashMap<Vec<u8>, (Slug, Arc<[Slug]>)>,
}

impl Kinds {
    /// Reads a line.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn read_vote(&mut self, line: &[u8]) -> Result<Vote, String> {
        if line.len() > LINE_MAX_LEN {
            return Err(format!("the line is longer than {LINE_MAX_LEN} bytes"));
        }
        let mut tabs = line.iter().enumerate().filter(|(_, byte)| **byte == b'\t').map(|(at, _)| at);
        let (kind, voter) = match (tabs.next(), tabs.next(), tabs.next()) {
            (None, ..) => return Err("expected POLL<TAB>CHOICE[,CHOICE...][<TAB>VOTER]".into()),
            (_, None, _) => (line, None),
            (_, Some(tab), None) => (&line[..tab], Some(&line[tab + 1..])),
            _ => return Err("more than three fields".into()),
        };
        let (poll, picks) = match self.known.get(kind) {
            Some(known) => known.clone(),
            None => self.read_kind(kind)?,
        };
        let voter =
            voter.map(|voter| text(voter).and_then(|voter| Voter::new(voter).map_err(|error| error.to_string())));
        Ok(Vote { poll, picks, voter: voter.transpose()? })
    }

    fn read_kind(&mut self, kind: &[u8]) -> Result<(Slug, Arc<[Slug]>), String> {
        let (poll, picks) = text(kind)?.split_once('\t').unwrap_or_default();
        let poll = Slug::new(poll).map_err(|error| format!("poll {error}"))?;
        // Said here and not by the poll: thousands of such lines wait for each other in memory.
        if picks.split(',').nth(*CHOICES.end()).is_some() {
            return Err(format!("more than {} choices", CHOICES.end()));
        }
        let picks = picks.split(',').map(Slug::new).collect::<Result<Arc<[Slug]>, _>>();
        let picks = picks.map_err(|error| format!("choice {error}"))?;
        if self.known.len() < KINDS_MAX && kind.len() <= KIND_MAX_LEN {
            self.known.insert(kind.to_vec(), (poll.clone(), picks.clone()));
        }
        Ok((poll, picks))
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "the line is not UTF-8".to_string())
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_read_with_any_end_and_a_huge_one_is_passed_over_in_little_memory() {
        let mut input = b"a\tb\r\nc\td".to_vec();
        input.splice(0..0, [vec![b'x'; 10 * LINE_MAX_LEN], b"\n".to_vec()].concat());
        let (mut reader, mut line) = (BufReader::new(&input[..]), Vec::new());
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), 10 * LINE_MAX_LEN as u64 + 1);
        assert!(
            Kinds::default().read_vote(&line).unwrap_err().contains("longer than")
                && line.capacity() < 4 * LINE_MAX_LEN
        );
        read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, b"a\tb");
        read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, b"c\td");
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), 0);
    }

    #[test]
    fn every_wrong_line_is_told_what_is_wrong() {
        for (line, says) in [
            (&b""[..], "expected POLL"),
            (b"now", "expected POLL"),
            (b"no w\tyes", "poll"),
            (b"now\tyes,", "choice"),
            (b"now\tyes\t", "voter"),
            (b"now\tyes\tann\tx", "more than three"),
            (b"now\t\xff", "UTF-8"),
        ] {
            let reason = Kinds::default().read_vote(line).unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
        assert!(Kinds::default().read_vote(b"now\tyes,no\tann b").is_ok());
    }

    #[test]
    fn a_line_of_thousands_of_choices_filled_the_memory() {
        let line = |choices: usize| format!("now\t{}", vec!["a"; choices].join(","));
        assert!(Kinds::default().read_vote(line(*CHOICES.end()).as_bytes()).is_ok());
        assert!(Kinds::default().read_vote(line(*CHOICES.end() + 1).as_bytes()).unwrap_err().contains("more than 63"));
    }
}
