//! The process that is the laggs and VLANs (`weighbridge links run`): started and watched by the daemon.
//! It goes on when the daemon ends, for the links must outlive a restart.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use links::status::Status;
use links::{Device, WantedLinks};
use rustix::process::{Pid, Signal, kill_process};
use tracing::warn;

use crate::links::{is_running, pause, read_last, read_status, unix_now};

/// How long it may take to make the links.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at whether it is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at whether it lives.
const WATCH: Duration = Duration::from_secs(1);
/// The longest wait before one that does not start is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A process whose status is that old may be another one of the same number, in seconds.
const FORGOTTEN_SECS: f64 = 60.0;

/// The process.
#[derive(Debug)]
pub(super) struct LinksProcess {
    config: PathBuf,
    wanted: WantedLinks,
    /// Of this daemon; it may also be that of one before.
    child: Option<Child>,
    next: Duration,
    wait: Duration,
}

/// Whether the files ask for what the process does: the daemon itself sets up interfaces and bridges.
pub(super) fn is_needed(wanted: &WantedLinks) -> bool {
    let forwards = wanted.forward_v4.is_some() || wanted.forward_v6.is_some();
    forwards || !wanted.routes.is_empty() || wanted.devices().next().is_some()
}

impl LinksProcess {
    /// Starts it, or lets the one that is there read its files again, and waits until the links are
    /// as `wanted`; meanwhile it does `at_each_look` what they may wait for. Nothing comes back if the
    /// kernel has made them all.
    pub(super) fn start(
        config: &Path,
        wanted: &WantedLinks,
        at_each_look: impl FnMut(),
    ) -> Result<Option<Self>> {
        let mut process = Self {
            config: config.to_owned(),
            wanted: wanted.clone(),
            child: None,
            next: Duration::ZERO,
            wait: WATCH,
        };
        match read_status() {
            Some(other) => read_again(&other)?,
            None => process.child = Some(process.spawn()?),
        }
        let kept = process.wait_until_ready(at_each_look)?;
        Ok(kept.then_some(process))
    }

    /// In a group of its own, which a terminal's Ctrl-C does not reach.
    fn spawn(&self) -> Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .args(["links", "run", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .process_group(0);
        command
            .spawn()
            .context("cannot start `weighbridge links run`")
    }

    /// False if it has ended well: there is nothing to keep.
    fn wait_until_ready(&mut self, mut at_each_look: impl FnMut()) -> Result<bool> {
        let mut waited = Duration::ZERO;
        while waited < START_LIMIT {
            at_each_look();
            if read_status().is_some_and(|status| is_as_wanted(&status, &self.wanted)) {
                return Ok(true);
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                if status.success() {
                    return Ok(false);
                }
                bail!("the links cannot be made: `weighbridge links run` says why, above");
            }
            pause(LOOK);
            waited += LOOK;
        }
        let names: Vec<&str> = self.wanted.devices().collect();
        bail!(
            "{} not there after {START_LIMIT:?}\n  hint: if `weighbridge links run` was started with \
             other files, let it read those of {} too, or end it: `weighbridge links stop`",
            names.join(", "),
            self.config.display()
        )
    }

    /// Starts it again when it has died.
    pub(super) fn watch(&mut self, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + WATCH;
        if self.lives() {
            self.wait = WATCH;
            return;
        }
        warn!("`weighbridge links run` has ended: it is started again");
        match self.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => warn!("{error:#}"),
        }
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn lives(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            if !ended {
                return true;
            }
            self.child = None;
        }
        // One that hangs is not helped by another.
        read_last()
            .ok()
            .flatten()
            .is_some_and(|status| is_running(&status) && unix_now() - status.time < FORGOTTEN_SECS)
    }

    /// When [`LinksProcess::watch`] has something to do.
    pub(super) fn deadline(&self) -> Duration {
        self.next
    }

    /// Ends it, if this daemon has started it: the start of the daemon has failed.
    pub(super) fn abandon(mut self) {
        if let Some(mut child) = self.child.take()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let _ = child.wait();
        }
    }
}

fn read_again(other: &Status) -> Result<()> {
    let pid = i32::try_from(other.pid).ok().and_then(Pid::from_raw);
    let pid = pid.context("the status of the links names no process")?;
    kill_process(pid, Signal::HUP)
        .context("`weighbridge links run` cannot be told to read its files")
}

fn is_as_wanted(status: &Status, wanted: &WantedLinks) -> bool {
    wanted
        .interfaces
        .iter()
        .all(|interface| match &interface.device {
            Device::Lagg(lagg) => {
                let mut laggs = status.laggs.iter();
                laggs.any(|there| there.name == interface.name && there.settings() == *lagg)
            }
            Device::Vlan(vlan) => status.vlans.iter().any(|there| {
                there.name == interface.name && there.parent == vlan.parent && there.id == vlan.id
            }),
            Device::Physical | Device::Bridge => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagg_a_route_or_forwarding_need_it_and_plain_interfaces_do_not() {
        let read = |text: &str| links::rcconf::parse(text).expect("parses").links;
        assert!(!is_needed(&read("ifconfig_em0=\"inet 192.0.2.1/24\"\n")));
        assert!(is_needed(&read("defaultrouter=\"192.0.2.2\"\n")));
        assert!(is_needed(&read("gateway_enable=\"YES\"\n")));
        let lagg = read(
            "cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggproto lacp laggport em0 up\"\n",
        );
        assert!(is_needed(&lagg));
        assert!(!is_as_wanted(&Status::default(), &lagg));
    }
}
