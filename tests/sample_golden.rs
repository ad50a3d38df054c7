//! One seed, one sample, for ever: what a seed chose once it chooses in every later version, on every machine.
//!
//! These values may never be changed to make a test pass: scripts and saved samples rely on them.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::ops::ControlFlow;

use weir::sample::input::Source;
use weir::sample::{Field, Fields, Input, LineFormat, Order, Plan, Seed, saved};

fn log() -> String {
    (0..100_000).map(|i| format!("{i}\t{}\thost{}\n", i % 97, i % 3)).collect()
}

fn plan(count: u64) -> Plan {
    Plan { seed: Some(Seed(20_081_005)), ..Plan::new(count) }
}

fn first_fields(plan: &Plan, order: Order) -> String {
    let sample = plan.sample_reader("log", Cursor::new(log())).unwrap();
    let lines = sample.to_lines(order).unwrap();
    let first = |line: &Vec<u8>| String::from_utf8(line.split(|byte| *byte == b'\t').next().unwrap().to_vec()).unwrap();
    lines.iter().map(first).collect::<Vec<_>>().join(" ")
}

#[test]
fn uniform() {
    assert_eq!(first_fields(&plan(8), Order::Input), "13056 23160 47833 50031 54819 61940 76425 79011");
}

#[test]
fn shuffled() {
    assert_eq!(first_fields(&plan(8), Order::Shuffled), "61940 50031 79011 23160 13056 47833 76425 54819");
}

#[test]
fn with_replacement() {
    let plan = Plan { replace: true, ..plan(8) };
    let sample = plan.sample_reader("log", Cursor::new("a\nb\nc\nd\ne\nf\n")).unwrap();
    assert_eq!(sample.to_lines(Order::Shuffled).unwrap().concat(), b"f\nb\ne\nf\nf\ne\nb\nd\n");
}

#[test]
fn weighted() {
    let fields = Fields { by: None, weight: Some(Field::Number(2)), separator: b'\t' };
    assert_eq!(
        first_fields(&Plan { fields, ..plan(8) }, Order::Input),
        "20533 20643 55075 58745 61607 76334 84350 99308"
    );
}

#[test]
fn by_group() {
    let fields = Fields { by: Some(Field::Number(3)), weight: None, separator: b'\t' };
    assert_eq!(
        first_fields(&Plan { fields, ..plan(3) }, Order::Shuffled),
        "10101 80368 23876 73132 17322 68828 59013 43382 73504"
    );
}

#[test]
fn at_a_rate() {
    let mut out = Vec::new();
    let input = Input::Stream(Source::new("log", Cursor::new(log())));
    let look = &mut |_| Ok(ControlFlow::Continue(()));
    plan(0).write_at_rate("0.0001".parse().unwrap(), vec![input], &mut out, look).unwrap();
    let firsts: Vec<&str> =
        str::from_utf8(&out).unwrap().lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(firsts.join(" "), "15363 23547 56525 85576 89938 96226");
}

#[test]
fn a_saved_sample() {
    let format = LineFormat { header_lines: 1, ..LineFormat::default() };
    let sample = Plan { format, ..plan(2) }.sample_reader("log", Cursor::new("head\na\nb\nc\n")).unwrap();
    let mut file = Vec::new();
    saved::write(sample, &mut file).unwrap();
    let golden = concat!(
        r#"{"weir_sample":1,"count":2,"seeds":[20081005],"lines":3,"bytes":6,"by":null,"weight":null,"#,
        r#""separator":9,"line_end":10,"header_bytes":5,"entries":2}"#,
        "\nhead\nfe4df19ecb67f61e 2\nb\nfcf3797e02470cd1 2\nc\n",
        "blake3 a5de3d2e135e5cb4af45eefa4341a7edab9f7228091110429a126f9eda0e69c3\n",
    );
    assert_eq!(String::from_utf8(file).unwrap(), golden);
    // Written once, readable for ever.
    assert_eq!(saved::read("golden", golden.as_bytes()).unwrap().to_lines(Order::Input).unwrap().len(), 2);
}
