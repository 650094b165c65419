//! `weighbridge run` in a namespace of a [`Site`].

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::namespace::Namespace;
use lab::{Configuration, clock};
use rustix::process::{Pid, Signal, kill_process};

use super::site::Site;

const START: Duration = Duration::from_mins(2);

/// The daemon, until it is dropped.
pub(crate) struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it with these files and waits until it is ready.
    pub(crate) fn start(site: &Site, inside: &Namespace, files: &[(&str, &str)]) -> Result<Self> {
        let directory = site.run.directory().join(format!("{}-run", inside.name()));
        let files = Configuration::of(files).for_this_run()?;
        files.write_to(&directory.join("config"))?;
        Self::again(inside, directory)
    }

    /// Starts it with the files of one before.
    pub(crate) fn again(inside: &Namespace, directory: PathBuf) -> Result<Self> {
        let place = |name: &str| directory.join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
        command
            .arg("run")
            .args(["--config".into(), place("config")])
            .args(["--socket".into(), place("control.sock")])
            .args(["--state-dir".into(), place("state")])
            .env("WEIGHBRIDGE_LINKS", place("links.json"))
            .stderr(File::create(place("log"))?);
        let child = inside.start(&mut command)?;
        let mut daemon = Self { child, directory };
        let ready = clock::wait_until(START, || {
            daemon.log().contains("weighbridge: ready") || daemon.has_ended()
        });
        ensure!(ready && !daemon.has_ended(), "not ready:\n{}", daemon.log());
        Ok(daemon)
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Of its files.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What the process says that is its laggs.
    pub(crate) fn links(&self) -> Result<links::status::Status> {
        let text = fs::read_to_string(self.directory.join("links.json"))?;
        Ok(links::status::Status::parse(&text)?)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill_process(
            Pid::from_raw(pid).context("a process")?,
            signal,
        )?)
    }

    /// Stops it and waits for its end; the directory of its files.
    pub(crate) fn stop(mut self) -> Result<PathBuf> {
        self.signal(Signal::TERM)?;
        self.child.wait()?;
        Ok(self.directory.clone())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
