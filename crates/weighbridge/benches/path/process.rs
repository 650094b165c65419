//! What processes use, as the kernel tells.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time of all threads of a process.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).context("a daemon's threads")?;
    // A thread may end meanwhile.
    Ok(tasks
        .flatten()
        .flat_map(|task| run_time(&task.path()))
        .sum())
}

/// Time that the kernel's thread for what interrupts leave behind has used on a CPU.
pub(crate) fn softirq_time(cpu: usize) -> Result<Duration> {
    static THREAD: OnceLock<Option<u32>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| kernel_thread(&format!("ksoftirqd/{cpu}")));
    let thread = thread.context("no ksoftirqd")?;
    run_time(Path::new(&format!("/proc/{thread}")))
}

fn kernel_thread(name: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|number: &u32| {
        fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

fn run_time(task: &Path) -> Result<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).context("schedstat")?;
    let nanos = text.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(nanos.parse().context("schedstat")?))
}

/// Bytes of memory that a process has, and that its maps in the kernel have.
pub(crate) fn memory(process: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = field(&status, "VmRSS:").context("VmRSS")? * 1024;
    let files = fs::read_dir(format!("/proc/{process}/fdinfo"))?.flatten();
    let texts = files.flat_map(|file| fs::read_to_string(file.path()));
    let maps = texts.filter(|text| text.contains("map_type:"));
    // Two descriptors may be of one map.
    let mut sizes: Vec<_> = maps
        .filter_map(|text| Some((field(&text, "map_id:")?, field(&text, "memlock:")?)))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    Ok((resident, sizes.iter().map(|(_, size)| size).sum()))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
