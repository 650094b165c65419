//! SIGHUP: reads pf.conf again, beside the packet loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::Waker;
use pf_conf::{Feedback, LoadOptions};
use pf_engine::anchor::AnchorPath;
use pf_engine::env::Interface;
use pf_engine::ruleset::{Dialect, Ruleset};
use tracing::{info, warn};

use super::files::DiskFiles;
use crate::accounts;
use crate::config::read_bytes;
use crate::memory;
use crate::unfiltered;

/// What a reading came to: a ruleset, or what is wrong.
type Reading = Result<Box<Ruleset>, String>;

/// What is read again.
#[derive(Clone, Debug)]
pub(super) struct Reloaded {
    /// The file.
    pub(super) path: PathBuf,
    /// Whose meaning it has.
    pub(super) dialect: Dialect,
    /// What rules may send packets by.
    pub(super) filtered: Arc<[String]>,
}

/// Reads pf.conf in a thread of its own, one reading at a time.
#[derive(Debug)]
pub(super) struct Reloader {
    reloaded: Reloaded,
    waker: Arc<Waker>,
    sender: Sender<Reading>,
    readings: Receiver<Reading>,
    busy: bool,
    /// Asked for, and not begun: the file may have changed after it was read.
    again: bool,
}

impl Reloader {
    /// For that pf.conf; `waker` wakes the packet loop.
    pub(super) fn new(reloaded: Reloaded, waker: Arc<Waker>) -> Self {
        let (sender, readings) = channel();
        Self {
            reloaded,
            waker,
            sender,
            readings,
            busy: false,
            again: false,
        }
    }

    /// The file is to be read again.
    pub(super) const fn ask(&mut self) {
        self.again = true;
    }

    /// Whether a reading was asked for and is to be started now.
    pub(super) fn is_due(&mut self) -> bool {
        !self.busy && std::mem::take(&mut self.again)
    }

    /// Starts a reading. `feedback` tells what the rules in force have seen, in case the file asks
    /// to be optimized by it.
    pub(super) fn start(
        &mut self,
        interfaces: &[Interface],
        hash_seed: u64,
        feedback: Vec<Feedback>,
    ) {
        if self.busy {
            self.again = true;
            return;
        }
        info!("reading {} again", self.reloaded.path.display());
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let reloaded = self.reloaded.clone();
        let options = LoadOptions {
            dialect: reloaded.dialect,
            defines: Vec::new(),
            interfaces: interfaces.to_vec(),
            accounts: accounts::of_machine(),
            anchor: AnchorPath::main(),
            hash_seed,
            memory: memory::of_machine(),
        };
        let thread = std::thread::Builder::new().name("reload".into());
        let started = thread.spawn(move || {
            let _ = sender.send(read(&reloaded, &options, &feedback));
            let _ = waker.wake();
        });
        match started {
            Ok(_) => self.busy = true,
            Err(error) => warn!(%error, "cannot read pf.conf again"),
        }
    }

    /// The ruleset of a reading that has ended well. One that has not is logged.
    pub(super) fn finished(&mut self) -> Option<Box<Ruleset>> {
        let reading = self.readings.try_recv().ok()?;
        self.busy = false;
        match reading {
            Ok(ruleset) => Some(ruleset),
            Err(message) => {
                warn!("pf.conf has errors, the rules stay as they are\n{message}");
                None
            }
        }
    }
}

fn read(reloaded: &Reloaded, options: &LoadOptions, feedback: &[Feedback]) -> Reading {
    let path = &reloaded.path;
    let name = path.display().to_string();
    let bytes = read_bytes(path).map_err(|error| format!("{name}: {error}"))?;
    let mut files = DiskFiles::relative_to(path.parent().unwrap_or(Path::new("")));
    match pf_conf::load(&name, &bytes, &mut files, options) {
        Ok(mut loaded) => {
            unfiltered::log(&loaded, &options.interfaces, &reloaded.filtered);
            loaded.optimize(loaded.level(None), feedback);
            Ok(Box::new(loaded.ruleset))
        }
        Err(diagnostics) => Err(diagnostics.plain().trim_end().to_owned()),
    }
}
