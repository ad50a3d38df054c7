//! `weir::sample` in a program of one's own: ten lines of anything that can be read, and what can be said of them.
//!
//! Run with `cargo run --example sample_library -- FILE`, or feed it standard input.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use weir::sample::{Error, Input, Order, Plan};

fn main() -> Result<(), Error> {
    let plan = Plan::new(10);
    let input = match std::env::args().nth(1) {
        Some(path) => Input::open(Path::new(&path))?,
        None => Input::stdin()?,
    };
    let mut opened = plan.open(vec![input])?;
    // The second argument is called now and then: the place for a progress bar, a timer or a signal.
    let sample = plan.sample(&mut opened, &mut |_so_far, _bytes_read| Ok(ControlFlow::Continue(())))?;
    sample.write(Order::Input, &mut std::io::stdout().lock())?;
    let told = match sample.lines_seen() {
        Some(lines) => writeln!(std::io::stderr(), "{} of {lines} lines, by {}", sample.len(), sample.way()),
        None => writeln!(std::io::stderr(), "{} lines, by {}", sample.len(), sample.way()),
    };
    told.map_err(Error::Write)
}
