//! A program that is run to its end: its processor time and its memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::clock;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The kernel counts processor time in hundredths of seconds for everybody (`USER_HZ`).
const TICK: f64 = 0.01;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Of all its threads, kernel included, in seconds.
    pub(crate) processor: f64,
    /// The most that it had, in megabytes.
    pub(crate) memory: f64,
}

/// Runs `command` without output and waits for its end.
pub(crate) fn run(mut command: Command) -> anyhow::Result<Cost> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut memory = 0.0_f64;
    while !has_ended(&child)? {
        memory = memory.max(peak(&child));
        clock::pause(LOOK);
    }
    let processor = processor_time(&child)?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(Cost { processor, memory })
}

/// It stays to be asked about until it is waited for.
fn has_ended(child: &Child) -> anyhow::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some())
}

/// User and system time of all threads so far, in seconds.
pub(crate) fn processor_time(child: &Child) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let (_, fields) = stat.rsplit_once(") ").context("no stat")?;
    let mut times = fields.split(' ').skip(11).take(2);
    let mut next = || -> anyhow::Result<f64> { Ok(times.next().context("no time")?.parse()?) };
    Ok((next()? + next()?) * TICK)
}

/// The most memory that it has had, in megabytes; 0 when it has ended.
pub(crate) fn peak(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1024.0
}
