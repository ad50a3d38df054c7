//! Fields of a line: by number, or by the name that the header gives them.
//!
//! Fields are separated by one byte, each occurrence of which separates: two in a row enclose an empty field.
//! There is no quoting. A carriage return before the terminator is not part of the last field.

use super::error::Error;

/// A field as the user calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The field of that number, from 1.
    Number(usize),
    /// The field that the first header line calls so.
    Name(Vec<u8>),
}

impl Field {
    /// A positive decimal number is a number, all else is a name.
    pub fn parse(text: &str) -> Field {
        match text.parse() {
            Ok(number @ 1..) => Field::Number(number),
            _ => Field::Name(text.as_bytes().to_vec()),
        }
    }

    /// The field's number.
    ///
    /// # Errors
    /// It is a name that the header of `input` has not.
    pub fn resolve(&self, input: &str, header: &[u8], line_end: u8, separator: u8) -> Result<usize, Error> {
        match self {
            Field::Number(number) => Ok(*number),
            Field::Name(name) => {
                let first = header.split(|byte| *byte == line_end).next().unwrap_or_default();
                let first = first.strip_suffix(b"\r").unwrap_or(first);
                let found = first.split(|byte| *byte == separator).position(|field| field == name);
                found.map(|at| at + 1).ok_or_else(|| Error::NoName {
                    name: input.to_owned(),
                    field: String::from_utf8_lossy(name).into_owned(),
                })
            }
        }
    }
}

/// Field `number`, from 1, of a line with its terminator; `None` when the line has fewer.
pub fn field_of(line: &[u8], number: usize, separator: u8) -> Option<&[u8]> {
    let line = line.split_last().map_or(line, |(_, line)| line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut separators = memchr::memchr_iter(separator, line);
    let start = match number {
        ..=1 => 0,
        _ => separators.nth(number - 2)? + 1,
    };
    Some(&line[start..separators.next().unwrap_or(line.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_what_stands_between_two_separators() {
        for (number, field) in [(1, Some(&b"a"[..])), (2, Some(b"")), (3, Some(b"c")), (4, None)] {
            assert_eq!(field_of(b"a\t\tc\r\n", number, b'\t'), field);
            assert_eq!(field_of(b"a\t\tc\0", number, b'\t'), field);
        }
        assert_eq!(field_of(b"\n", 1, b'\t'), Some(&b""[..]));
    }

    #[test]
    fn a_name_is_looked_up_in_the_first_header_line() {
        let resolve = |text: &str| Field::parse(text).resolve("log", b"host,bytes\r\nx,y\r\n", b'\n', b',');
        assert_eq!(resolve("bytes").unwrap(), 2);
        assert_eq!(resolve("7").unwrap(), 7);
        assert!(resolve("x").is_err() && resolve("0").is_err());
    }
}
