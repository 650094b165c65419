//! The mail side beside p0f 3.09b (Debian's), in one run: SYNs per second of processor time with
//! few and with many known hosts, answers per second and how long one takes, the time from a SYN on
//! the wire to its answer, memory.
//!
//! `make bench-mail`. Both get the same packets; rounds are interleaved; each figure is the median
//! with the least and the greatest. Live parts need root: they run in a network namespace.
//! `MAIL_BENCH_ROUNDS` (3) and `MAIL_BENCH_SHARE` (100, percent of the packets) make it shorter,
//! `MAIL_BENCH_JSON` names a file for the figures.

#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

#[path = "mail/ask.rs"]
mod ask;
#[path = "mail/generate.rs"]
mod generate;
#[path = "mail/live.rs"]
mod live;
#[path = "mail/offline.rs"]
mod offline;
#[path = "mail/process.rs"]
mod process;
#[path = "common/samples.rs"]
mod samples;
#[path = "mail/table.rs"]
mod table;

use std::path::Path;

use anyhow::Context;

use self::table::Table;

/// p0f's own signatures, which it cannot do without.
const SIGNATURES: &str = "/etc/p0f/p0f.fp";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rounds: u32,
    /// Percent of the packets.
    share: u32,
}

impl Extent {
    fn of(self, packets: u32) -> u32 {
        (packets / 100 * self.share).max(1)
    }
}

fn setting(name: &str, default: u32) -> anyhow::Result<u32> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn main() -> anyhow::Result<()> {
    let extent = Extent {
        rounds: setting("MAIL_BENCH_ROUNDS", 3)?.max(1),
        share: setting("MAIL_BENCH_SHARE", 100)?.clamp(1, 100),
    };
    if !Path::new(SIGNATURES).exists() {
        println!("no p0f (Debian package p0f): nothing to compare with");
        return Ok(());
    }
    let mut table = Table::default();
    offline::measure(extent, &mut table)?;
    match lab::requirements::missing().as_slice() {
        [] => live::measure(extent, &mut table)?,
        missing => println!("no live measurements: {}", missing.join(", ")),
    }
    println!("{} rounds\n\n{}", extent.rounds, table::markdown(&table));
    if let Ok(path) = std::env::var("MAIL_BENCH_JSON") {
        std::fs::write(&path, table::json(&table).to_string()).context(path)?;
    }
    Ok(())
}
