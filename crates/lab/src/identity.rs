//! Names of runs, and how whatever a run made goes away again.
//!
//! A namespace is called `wb<pid>x<number>-<role>`: the process that made it, and which of its
//! labs it belongs to. A name whose process no longer exists is a leftover.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::command::{CommandError, Tool, run};

/// Where `ip netns` keeps its names.
const NAMESPACES: &str = "/run/netns";

static NEXT: AtomicU32 = AtomicU32::new(0);
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// What a signal's number is added to, or the status itself when it is 0.
static STATUS_BASE: AtomicI32 = AtomicI32::new(128);
static HANDLER: Once = Once::new();
/// Whether a signal is ending this process.
static ENDS: AtomicBool = AtomicBool::new(false);

/// One lab's id, unique on this machine, for example `wb4711x0`. Dropping it removes every
/// namespace that carries it, the processes inside, and its directory.
#[derive(Debug)]
pub struct RunId {
    id: String,
    directory: PathBuf,
}

impl RunId {
    /// A new id; from now on a signal that ends this process removes what carries it.
    pub fn new() -> anyhow::Result<Self> {
        install_signal_handler()?;
        let (id, directory) = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let id = format!("wb{}x{number}", std::process::id());
            let directory = directory_of(&id);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) if !is_taken(&id) => break (id, directory),
                // Of a killed run whose process had this one's number.
                Ok(()) => std::fs::remove_dir(&directory)?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let place = directory.display().to_string();
                    return Err(error).context(format!("cannot make {place}"));
                }
            }
        };
        LIVE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone());
        Ok(Self { id, directory })
    }

    /// The namespace of a role.
    #[must_use]
    pub fn namespace(&self, role: &str) -> String {
        format!("{}-{role}", self.id)
    }

    /// A directory for the run's files, of this user alone.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for RunId {
    fn drop(&mut self) {
        leave_to_signal();
        remove_run(&self.id);
        LIVE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// From now on Ctrl-C is how this process is meant to end: its exit status is 0.
pub fn expect_signal() {
    STATUS_BASE.store(0, Ordering::Relaxed);
}

/// Removes the namespaces of runs whose process is dead; returns their names.
pub fn clean() -> Result<Vec<String>, CommandError> {
    let names = existing();
    let dead = names
        .into_iter()
        .filter(|name| owner(name).is_some_and(is_dead));
    let removed = dead.map(|name| match remove(&name) {
        // Another run may clean at the same time.
        Err(error) if existing().contains(&name) => Err(error),
        Ok(()) | Err(_) => Ok(name),
    });
    removed.collect()
}

/// Removes what this process has made so far: for an end that drops nothing.
pub fn remove_live() {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for id in &live {
        remove_run(id);
    }
}

/// Once a signal ends this process, the thread that catches it removes everything and tells the
/// exit status: whoever else comes to an end because of that waits here.
fn leave_to_signal() {
    while ENDS.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// The names of all lab namespaces on this machine.
#[must_use]
pub fn existing() -> Vec<String> {
    let Ok(directory) = std::fs::read_dir(NAMESPACES) else {
        return Vec::new();
    };
    let names = directory
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| owner(name).is_some()).collect();
    names.sort();
    names
}

/// The process that made a namespace of this name, if a lab did.
fn owner(name: &str) -> Option<u32> {
    let (run, _role) = name.strip_prefix("wb")?.split_once('-')?;
    let (pid, number) = run.split_once('x')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Whether there are namespaces with an id.
fn is_taken(id: &str) -> bool {
    let prefix = format!("{id}-");
    existing().iter().any(|name| name.starts_with(&prefix))
}

fn is_dead(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn remove_run(id: &str) {
    let prefix = format!("{id}-");
    for name in existing().iter().filter(|name| name.starts_with(&prefix)) {
        // Nothing else can be done about a name that stays; `clean` tries again.
        let _ = remove(name);
    }
    // When the run failed before its first namespace.
    let _ = std::fs::remove_dir_all(directory_of(id));
}

fn directory_of(id: &str) -> PathBuf {
    std::env::temp_dir().join(id)
}

fn remove(name: &str) -> Result<(), CommandError> {
    for line in run(Tool::Ip, &format!("netns pids {name}"))?.lines() {
        kill(line.trim());
    }
    run(Tool::Ip, &format!("netns del {name}"))?;
    let id = name.split('-').next().unwrap_or(name);
    let is_last = !existing()
        .iter()
        .any(|other| other.split('-').next() == Some(id));
    if is_last {
        let _ = std::fs::remove_dir_all(directory_of(id));
    }
    Ok(())
}

/// Ends a process inside a lab; never this one, whose threads visit the namespaces.
fn kill(pid: &str) {
    let pid = pid
        .parse()
        .ok()
        .filter(|pid| *pid != std::process::id().cast_signed());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn install_signal_handler() -> anyhow::Result<()> {
    let mut result = Ok(());
    HANDLER.call_once(|| {
        result = Signals::new([SIGINT, SIGTERM, SIGHUP]).map(|signals| {
            std::thread::spawn(move || remove_on_signal(signals));
        });
    });
    result.context("cannot catch signals, and so not clean up on Ctrl-C")
}

fn remove_on_signal(mut signals: Signals) {
    if let Some(signal) = signals.forever().next() {
        ENDS.store(true, Ordering::Relaxed);
        remove_live();
        let base = STATUS_BASE.load(Ordering::Relaxed);
        std::process::exit(if base == 0 { 0 } else { base + signal });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_process_and_other_names_are_left_alone() {
        assert_eq!(owner("wb4711x0-h99"), Some(4711));
        for name in [
            "wb-h99",
            "wb4711-h99",
            "wb4711x-h99",
            "web1x0-a",
            "wb1x0",
            "other",
        ] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn a_running_process_is_not_dead() {
        assert!(!is_dead(std::process::id()));
        assert!(is_dead(u32::MAX));
    }
}
