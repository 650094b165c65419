//! A short soak: everything that `make soak` does, once.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lab::soak::{self, Report, SoakConfig, SoakSample};
use lab::{FastPath, requirements};

use crate::support::BINARY;

/// How long it takes; longer when a busy machine has not come to everything.
const SECONDS: [u64; 3] = [20, 60, 110];

#[test]
fn twenty_seconds_of_everything_at_once_bring_no_wrong_verdict() -> Result<()> {
    soak_briefly(None)
}

#[test]
fn nor_do_they_with_a_flow_cache_that_is_emptied_at_random_moments() -> Result<()> {
    soak_briefly(Some(FastPath::Emptied))
}

fn soak_briefly(fast_path: Option<FastPath>) -> Result<()> {
    if requirements::skip_test("soak") {
        return Ok(());
    }
    let mut idle = Ok(());
    for seconds in SECONDS {
        let config = SoakConfig {
            binary: PathBuf::from(BINARY),
            seconds,
            seed: 20,
            fast_path,
        };
        let mut out = Vec::new();
        let report = soak::run(&config, &mut out)?;
        report.write(&mut out)?;
        let text = String::from_utf8_lossy(&out);
        ensure!(report.complaints.is_empty(), "{text}");
        idle = everything_was_tried(&report, fast_path).with_context(|| text.into_owned());
        if idle.is_ok() {
            break;
        }
    }
    idle
}

fn everything_was_tried(report: &Report, fast_path: Option<FastPath>) -> Result<()> {
    let never = &report.never_right;
    ensure!(never.is_empty(), "{never:?} never came out right");
    for what in ["reload", "hand-over (SIGUSR2)", "crash (kill -9)"] {
        let tally = report.tried.get(what).copied().unwrap_or_default();
        ensure!(tally.right > 0, "no {what}");
    }
    if fast_path.is_some() {
        let most = |pick: fn(&SoakSample) -> u64| report.samples.iter().map(pick).max();
        ensure!(most(|sample| sample.by_cache) > Some(0), "no cache");
        ensure!(most(|sample| sample.emptied) > Some(0), "never emptied");
    }
    Ok(())
}
