//! The machine, and what else it does.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Load average above which figures of times are not to be trusted.
const BUSY: f64 = 0.5;

/// What figures depend on.
#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    memory: u64,
    load_before: f64,
}

impl Machine {
    pub(crate) fn here() -> Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo")?;
        let total = memory.split_whitespace().nth(1).context("/proc/meminfo")?;
        Ok(Self {
            cpu: model.map_or("unknown CPU", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            memory: total.parse::<u64>().context("/proc/meminfo")? / 1_000_000,
            load_before: load()?,
        })
    }

    /// What is to be said before and after the figures if others use the machine.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.load_before > BUSY).then(|| {
            format!(
                "WARNING: THE MACHINE WAS BUSY (load average {:.2} before the run): rates and \
                 times are not to be trusted, costs in ns less than on a quiet machine",
                self.load_before
            )
        })
    }

    pub(crate) fn markdown(&self) -> Result<String> {
        let Self {
            cpu,
            cores,
            kernel,
            memory,
            load_before,
        } = self;
        let after = load()?;
        Ok(format!(
            "{cpu}, {cores} CPUs, {memory} GB, Linux {kernel}, load average {load_before:.2} before \
             and {after:.2} after the run (which is 1 to 2 by itself)."
        ))
    }

    pub(crate) fn json(&self) -> Result<Value> {
        Ok(json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "kernel": self.kernel,
            "memory_gb": self.memory,
            "load_before": self.load_before,
            "load_after": load()?,
        }))
    }
}

/// Of the last minute.
fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("/proc/loadavg")
}
