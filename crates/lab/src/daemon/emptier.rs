//! Empties a daemon's flow cache at random moments, from when it starts until it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::service::PseudoRandom;

/// How long the cache is left alone, at most.
const REST: u64 = 200;
const SEED: u64 = 0x5eed;

/// The thread that does it.
#[derive(Debug)]
pub(super) struct Emptier {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Emptier {
    /// Begins.
    pub(super) fn start(binary: &Path, socket: &Path) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (binary, socket, told) = (binary.to_owned(), socket.to_owned(), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let mut random = PseudoRandom::seeded(SEED);
            while !told.load(Ordering::Relaxed) {
                clock::pause(Duration::from_millis(1 + random.draw() % REST));
                empty(&binary, &socket);
            }
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Emptier {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Kills the states of a rule that there is not: nothing changes, but the daemon cannot know that
/// before. It may have ended.
fn empty(binary: &PathBuf, socket: &PathBuf) {
    let mut command = Command::new(binary);
    command.arg("pfctl").arg("--socket").arg(socket);
    command.args(["-k", "label", "-k", "nobody has this label"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let _ = quiet.stdin(Stdio::null()).status();
}
