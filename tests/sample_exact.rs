//! The corners: every way gives the same lines as a plain reading of the definition, to the byte.
#![allow(clippy::unwrap_used)]

mod sample_support;

use std::fs::OpenOptions;
use std::io::{Cursor, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use sample_support::*;
use weir::sample::key::{ChunkKeys, Key};
use weir::sample::probe::{Probing, probe};
use weir::sample::reservoir::Entry;
use weir::sample::rng::{Random, Use};
use weir::sample::scan::Span;
use weir::sample::{Error, Field, Fields, LineFormat, Order, Plan, Seed};

fn go_on(_: &dyn Fn() -> Result<weir::sample::Sample<'static>, Error>, _: u64) -> Result<ControlFlow<()>, Error> {
    Ok(ControlFlow::Continue(()))
}

fn never(_: &dyn Fn() -> Vec<Entry<Span>>, _: u64) -> Result<ControlFlow<()>, Error> {
    Ok(ControlFlow::Continue(()))
}

fn of_files(plan: &Plan, paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let mut opened = plan.open(inputs(paths))?;
    plan.sample(&mut opened, &mut go_on)?.to_lines(Order::Input)
}

fn of_bytes(plan: &Plan, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    plan.sample_reader("bytes", Cursor::new(bytes.to_vec()))?.to_lines(Order::Input)
}

/// The definition, read plainly: each line has a key, drawn with the chunk that its terminator is in; the N lines with
/// the smallest keys are the sample.
fn by_definition(plan: &Plan, bytes: &[u8]) -> Vec<Vec<u8>> {
    let end = plan.format.delimiter;
    let mut bytes = bytes.to_vec();
    if bytes.last().is_some_and(|byte| *byte != end) {
        bytes.push(end);
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == end).collect();
    let mut keyed: Vec<(Key, usize)> = Vec::new();
    for (number, chunk) in bytes.chunks(plan.chunk_bytes).enumerate() {
        let first = keyed.len();
        let count = chunk.iter().filter(|byte| **byte == end).count() as u32;
        let mut found = Vec::new();
        ChunkKeys::default().draw(plan.seed.unwrap(), number as u64, count, Key::LARGEST, &mut found);
        keyed.extend(found.iter().map(|(key, line)| (*key, first + *line as usize)));
    }
    assert_eq!(keyed.len(), lines.len());
    keyed.sort_unstable();
    let mut chosen: Vec<usize> = keyed.iter().take(plan.count as usize).map(|(_, line)| *line).collect();
    chosen.sort_unstable();
    chosen.iter().map(|line| lines[*line].to_vec()).collect()
}

#[test]
fn files_streams_and_threads_give_what_the_definition_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(Seed(1), Use::Probe, 0);
    for round in 0..300u64 {
        let delimiter = if round % 3 == 0 { 0 } else { b'\n' };
        let density = 1 + random.below(40);
        let len = random.below(if round % 10 == 0 { 5000 } else { 300 });
        let byte = |random: &mut Random| if random.below(density) == 0 { delimiter } else { random.below(256) as u8 };
        let bytes: Vec<u8> = (0..len).map(|_| byte(&mut random)).collect();
        let plan = Plan {
            seed: Some(Seed(round)),
            chunk_bytes: 1 + random.below(200) as usize,
            threads: 1 + random.below(3) as usize,
            format: LineFormat { delimiter, ..LineFormat::default() },
            ..Plan::new(random.below(30))
        };
        let expected = by_definition(&plan, &bytes);
        // Gzip and Zstandard begin like this, and would rightly be decompressed.
        if bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5]) {
            continue;
        }
        let pieces: Vec<usize> = (0..5).map(|_| random.below(50) as usize).chain([7]).collect();
        let streamed = plan.sample_reader("pieces", Pieces::new(&bytes, &pieces)).unwrap();
        assert_eq!(streamed.to_lines(Order::Input).unwrap(), expected, "stream, round {round}");
        let whole = [file(dir.path(), "whole", &bytes)];
        assert_eq!(of_files(&plan, &whole).unwrap(), expected, "file, round {round}");
        // Cut behind line ends, and sometimes the line end itself is left away.
        let mut parts = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let from = random.below(80).min(rest.len() as u64) as usize;
            let Some(at) = memchr::memchr(delimiter, &rest[from..]) else { break };
            let end = from + at;
            let keeps_its_end = end == 0 || rest[end - 1] == delimiter || random.below(2) == 0;
            let name = format!("part{}", parts.len());
            parts.push(file(dir.path(), &name, &rest[..end + usize::from(keeps_its_end)]));
            rest = &rest[end + 1..];
        }
        parts.push(file(dir.path(), "last", rest));
        assert_eq!(of_files(&plan, &parts).unwrap(), expected, "{} files, round {round}", parts.len());
        let sources =
            inputs(&parts).into_iter().map(|input| weir::sample::Input::Stream(input.into_source())).collect();
        let mut opened = plan.open(sources).unwrap();
        let joined = plan.sample(&mut opened, &mut go_on).unwrap();
        assert_eq!(joined.to_lines(Order::Input).unwrap(), expected, "streams, round {round}");
    }
}

#[test]
fn fewer_lines_than_n_gives_all_and_nothing_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log: Vec<u8> = b"one\r\n\n\xff\xfe\nlast".to_vec();
    let all: Vec<Vec<u8>> = vec![b"one\r\n".to_vec(), b"\n".to_vec(), b"\xff\xfe\n".to_vec(), b"last\n".to_vec()];
    let some = [file(dir.path(), "some", &log)];
    let empty = [file(dir.path(), "empty", b"")];
    for plan in [Plan::new(4), Plan::new(20), Plan::new(u64::MAX), Plan { seed: Some(Seed(3)), ..Plan::new(5) }] {
        assert_eq!(of_files(&plan, &some).unwrap(), all);
        assert_eq!(of_bytes(&plan, &log).unwrap(), all);
        assert!(of_files(&plan, &empty).unwrap().is_empty() && of_bytes(&plan, b"").unwrap().is_empty());
    }
    assert!(of_files(&Plan::new(0), &some).unwrap().is_empty() && of_bytes(&Plan::new(0), &log).unwrap().is_empty());
    let replace = Plan { replace: true, ..Plan::new(50) };
    assert_eq!(of_bytes(&replace, &log).unwrap().len(), 50);
    assert_eq!(of_files(&replace, &some).unwrap().len(), 50);
    assert!(of_bytes(&replace, b"").unwrap().is_empty());
}

#[test]
fn a_line_longer_than_every_buffer_comes_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = vec![b'x'; 3_000_000];
    long.push(b'\n');
    let log = [b"first\n", &long[..], b"last"].concat();
    let path = [file(dir.path(), "long", &log)];
    for plan in [Plan::new(3), Plan { seed: Some(Seed(1)), ..Plan::new(3) }] {
        for lines in [of_files(&plan, &path).unwrap(), of_bytes(&plan, &log).unwrap()] {
            assert!(lines == [b"first\n", &long[..], b"last\n"]);
        }
    }
    let format = LineFormat { stream_line_max_bytes: 1_000_000, ..LineFormat::default() };
    let by = Fields { by: Some(Field::Number(1)), weight: None, separator: b'\t' };
    for plan in [Plan { format, ..Plan::new(3) }, Plan { format, fields: by, ..Plan::new(3) }] {
        let error = of_bytes(&plan, &log).unwrap_err().to_string();
        assert!(error.starts_with("bytes: line 2 of the input is longer than 1000000 bytes"), "{error}");
    }
    assert_eq!(of_files(&Plan { format, ..Plan::new(3) }, &path).unwrap().len(), 3);
}

#[test]
fn random_access_finds_lines_of_every_file_and_none_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<Vec<u8>> = (0..200).map(|i| format!("{i} {}\n", "y".repeat(i * 7 % 600)).into_bytes()).collect();
    let paths: Vec<PathBuf> = (0..4)
        .map(|i| file(dir.path(), &i.to_string(), lines[i * 50..(i + 1) * 50].concat().strip_suffix(b"\n").unwrap()))
        .collect();
    let population = population(&paths, LineFormat::default());
    let probing = Probing { count: 200, seed: Seed(1), replace: false, budget: u64::MAX };
    let found = probe(&population, probing, &mut never).unwrap().unwrap();
    let read = |start, len| {
        let mut line = vec![0; len as usize];
        population.read(start, &mut line).unwrap();
        line
    };
    assert!(found.iter().map(|entry| read(entry.item.start, entry.item.len)).eq(lines));
    assert!(probe(&population, Probing { budget: 500, ..probing }, &mut never).unwrap().is_none());
    assert!(probe(&population, Probing { count: 201, budget: 100_000, ..probing }, &mut never).unwrap().is_none());
}

#[test]
fn random_access_that_is_broken_off_gives_what_it_has_found() {
    let dir = tempfile::tempdir().unwrap();
    let population = population(&[file(dir.path(), "log", &unequal_lines(500, &[90, 3]))], LineFormat::default());
    let probing = Probing { count: 400, seed: Seed(1), replace: false, budget: u64::MAX };
    let mut so_far_len = 0;
    let mut stop = |so_far: &dyn Fn() -> Vec<Entry<Span>>, _| {
        so_far_len = so_far().len();
        Ok(ControlFlow::Break(()))
    };
    let found = probe(&population, probing, &mut stop).unwrap().unwrap();
    assert!(found.len() == so_far_len && (1..50).contains(&so_far_len), "{so_far_len}");
    assert!(found.is_sorted_by_key(|entry| entry.position));
}

#[test]
fn headers_are_taken_from_the_first_input_and_dropped_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let contents: [&[u8]; 5] = [b"h1\nh2\na\nb", b"H1\nH2\nc\n", b"H1\nH2", b"H1\n", b""];
    let paths: Vec<PathBuf> =
        contents.iter().zip(0..).map(|(bytes, i)| file(dir.path(), &format!("{i}"), bytes)).collect();
    let format = LineFormat { header_lines: 2, ..LineFormat::default() };
    for seed in [None, Some(Seed(1))] {
        let plan = Plan { format, seed, ..Plan::new(9) };
        for streams in [false, true] {
            let inputs = inputs(&paths).into_iter();
            let inputs = inputs.map(|it| if streams { weir::sample::Input::Stream(it.into_source()) } else { it });
            let mut opened = plan.open(inputs.collect()).unwrap();
            let mut out = Vec::new();
            plan.sample(&mut opened, &mut go_on).unwrap().write(Order::Input, &mut out).unwrap();
            assert_eq!(out, b"h1\nh2\na\nb\nc\n", "{streams}");
        }
    }
    let only_header = Plan { format, ..Plan::new(9) };
    let sample = only_header.sample_reader("header", Cursor::new(&b"h1\nh2"[..])).unwrap();
    assert_eq!((sample.header(), sample.len()), (&b"h1\nh2\n"[..], 0));
}

#[test]
fn a_file_that_is_cut_meanwhile_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(5000, &[30]);
    for streams in [false, true] {
        let path = file(dir.path(), "cut.log", &log);
        let plan = Plan { seed: Some(Seed(1)), threads: 2, chunk_bytes: 4096, ..Plan::new(3) };
        let input = weir::sample::Input::open(&path).unwrap();
        let input = if streams { weir::sample::Input::Stream(input.into_source()) } else { input };
        let mut opened = plan.open(vec![input]).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(20_000).unwrap();
        let error = plan.sample(&mut opened, &mut go_on).unwrap_err().to_string();
        assert!(error.contains("cut.log: ") && (error.contains("shorter") || error.contains("was cut")), "{error}");
    }
    // Cut after it was scanned, before its lines are written.
    let path = file(dir.path(), "late.log", &log);
    let plan = Plan { seed: Some(Seed(1)), ..Plan::new(3) };
    let mut opened = plan.open(inputs(std::slice::from_ref(&path))).unwrap();
    let sample = plan.sample(&mut opened, &mut go_on).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    let error = sample.to_lines(Order::Input).unwrap_err().to_string();
    assert!(error.contains("late.log: "), "{error}");
}

#[test]
fn a_file_that_grows_meanwhile_is_sampled_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "grows.log", b"one\ntwo\n");
    for plan in [Plan::new(9), Plan { seed: Some(Seed(1)), ..Plan::new(9) }] {
        let mut opened = plan.open(inputs(std::slice::from_ref(&path))).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"three\n").unwrap();
        let sample = plan.sample(&mut opened, &mut go_on).unwrap();
        assert_eq!(sample.to_lines(Order::Input).unwrap(), [b"one\n", b"two\n"]);
        std::fs::write(&path, b"one\ntwo\n").unwrap();
    }
}

#[test]
fn lines_that_moved_between_counting_and_looking_up_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "rewritten.log", b"one\ntwo\nthree\nfour\n");
    let plan = Plan { seed: Some(Seed(1)), threads: 1, ..Plan::new(2) };
    let mut opened = plan.open(inputs(std::slice::from_ref(&path))).unwrap();
    let mut rewrite = |_: &dyn Fn() -> Result<weir::sample::Sample<'static>, Error>, _: u64| {
        std::fs::write(&path, b"x\ny\nz\nand as many bytes").unwrap();
        Ok(ControlFlow::Continue(()))
    };
    let error = plan.sample(&mut opened, &mut rewrite).unwrap_err().to_string();
    assert!(error.contains("rewritten.log: changed"), "{error}");
}

#[test]
fn compressed_files_are_read_as_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let log = unequal_lines(3000, &[10, 500]);
    let (one, two) = log.split_at(10_000);
    let gzip = |bytes: &[u8]| {
        let mut out = Vec::new();
        flate2::bufread::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        out
    };
    let zstandard = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let plan = Plan { seed: Some(Seed(4)), chunk_bytes: 4000, ..Plan::new(40) };
    let expected = by_definition(&plan, &log);
    // Two members, two frames: one stream each. The name says nothing.
    let gz = file(dir.path(), "log.gz.1", &[gzip(one), gzip(two)].concat());
    let zst = file(dir.path(), "log", &[zstandard(one), zstandard(two)].concat());
    assert_eq!(of_files(&plan, &[gz]).unwrap(), expected);
    assert_eq!(of_files(&plan, &[zst]).unwrap(), expected);
    // A plain file between two compressed ones, cut at a line end.
    let cut = one.len() + two.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mixed = [file(dir.path(), "a", &gzip(&log[..cut])), file(dir.path(), "b", &log[cut..])];
    assert_eq!(of_files(&plan, &mixed).unwrap(), expected);
    for (name, whole) in [("cut.gz", gzip(&log)), ("cut.zst", zstandard(&log))] {
        let path = file(dir.path(), name, &whole[..whole.len() / 2]);
        let error = of_files(&plan, &[path]).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: cannot read")), "{error}");
    }
}

#[test]
fn a_weight_that_is_none_stops_with_file_and_line() {
    let fields = Fields { by: None, weight: Some(Field::Name(b"hits".to_vec())), separator: b',' };
    let format = LineFormat { header_lines: 1, ..LineFormat::default() };
    let plan = Plan { fields, format, ..Plan::new(2) };
    for (log, message) in [
        ("page,hits\na,1\nb,-1\n", "bytes: line 3: \"-1\" is no weight: a finite number, zero or greater"),
        ("page,hits\na,inf\n", "bytes: line 2: \"inf\" is no weight: a finite number, zero or greater"),
        ("page,hits\na,1\nb\n", "bytes: line 3 has no field 2"),
        ("page,views\na,1\n", "bytes: its header has no field named \"hits\""),
    ] {
        assert_eq!(of_bytes(&plan, log.as_bytes()).unwrap_err().to_string(), message);
    }
    assert_eq!(of_bytes(&plan, b"page,hits\na,0\nb,1e-300\nc, 2 \r\n").unwrap(), [&b"b,1e-300\n"[..], b"c, 2 \r\n"]);
}

#[test]
fn a_saved_sample_that_is_damaged_or_counted_twice_is_refused() {
    use weir::sample::saved::{merge, read, write};
    let save = |seed, count, lines: usize| {
        let plan = Plan { seed: Some(Seed(seed)), ..Plan::new(count) };
        let mut bytes = Vec::new();
        let log = Cursor::new(unequal_lines(lines, &[1, 30]));
        write(plan.sample_reader("log", log).unwrap(), &mut bytes).unwrap();
        bytes
    };
    let whole = save(1, 5, 100);
    assert_eq!(read("x", &whole).unwrap().len(), 5);
    for len in 0..whole.len() {
        assert!(read("x", &whole[..len]).is_err(), "cut to {len}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(read("x", &changed).is_err(), "changed at {at}");
    }
    let part = |name: &str, bytes: &[u8]| (name.to_owned(), read(name, bytes).unwrap());
    let twice = merge(vec![part("a", &whole), part("b", &whole)], None).unwrap_err().to_string();
    assert!(twice.starts_with("b: cannot be merged: a sample with seed 1 is in it and in one before it"), "{twice}");
    // Also when it is inside a merged one.
    let mut both = Vec::new();
    write(merge(vec![part("a", &whole), part("c", &save(2, 5, 50))], None).unwrap(), &mut both).unwrap();
    assert!(merge(vec![part("both", &both), part("c", &save(2, 5, 50))], None).is_err());
    // N is what the smallest part allows; a part that kept all its lines allows any.
    let sizes = |count| {
        let parts = vec![part("a", &whole), part("d", &save(3, 8, 100)), part("e", &save(4, 5, 3))];
        merge(parts, count).map(|sample| (sample.len(), sample.lines_seen()))
    };
    assert_eq!(sizes(None).unwrap(), (5, Some(203)));
    assert_eq!(sizes(Some(2)).unwrap(), (2, Some(203)));
    assert!(sizes(Some(6)).unwrap_err().to_string().starts_with("a: cannot be merged: it kept 5"));
}
