//! A short soak: everything that `make soak` does, once.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use lab::requirements;
use lab::soak::{self, SoakConfig};

use crate::support::BINARY;

#[test]
fn twenty_seconds_of_everything_at_once_bring_no_wrong_verdict() -> Result<()> {
    if requirements::skip_test("soak") {
        return Ok(());
    }
    let config = SoakConfig {
        binary: PathBuf::from(BINARY),
        seconds: 20,
        seed: 20,
    };
    let mut out = Vec::new();
    let report = soak::run(&config, &mut out)?;
    report.write(&mut out)?;
    let text = String::from_utf8_lossy(&out);
    ensure!(report.has_passed(), "{text}");
    for what in ["reload", "hand-over (SIGUSR2)", "crash (kill -9)"] {
        let tally = report.tried.get(what).copied().unwrap_or_default();
        ensure!(tally.right > 0, "no {what}: {text}");
    }
    Ok(())
}
