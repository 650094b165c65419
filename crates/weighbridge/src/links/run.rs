//! `weighbridge links run`: making the links, then being the laggs and VLANs until stopped.
//!
//! The loop that carries frames sends the LACPDUs too. It has the highest priority that needs no
//! real-time scheduling, which would let bulk traffic starve the machine; and what may wait for a
//! disk is done by another thread.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datapath::netlink::{Applied, Monitor, Netlink};
use links::convert::contains;
use links::lagg::ProbeTarget;
use links::plan::{Maker, Step};
use links::{Device, WantedLinks};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::setpriority_process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::command::{Probe, Source, plan_of, told};
use super::handover::{self, HandOver};
use super::hooks::hooks_first;
use super::keeper::Keeper;
use super::publish::Publisher;
use super::remains;
use super::state::read_status;
use super::watch::Watch;
use crate::config::LogLevel;
use crate::daemon::logging;
use crate::output::Output;
use crate::tools::Complaint;

/// The longest sleep: signals and the status must not wait longer.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// Of nice(1): the highest.
const PRIORITY: i32 = -20;
/// How often the status is written, if nothing happens.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// Makes the links and keeps them until SIGTERM or SIGINT; with SIGHUP by the program as it is
/// installed then, as the files say then.
pub(super) fn run(
    source: &Source,
    probe: Option<Probe>,
    output: &mut Output<'_>,
) -> Result<u8, Complaint> {
    let signals = Signals::register().map_err(told)?;
    logging::start(LogLevel::Warn);
    let left = HandOver::take().map_err(told)?;
    let wanted = source.read(output)?.links;
    let mut netlink = Netlink::open().map_err(told)?;
    let monitor = Monitor::open().map_err(told)?;
    let keeper = match left {
        Some(left) => go_on(left, &wanted, &mut netlink, output)?,
        None => begin(&wanted, &mut netlink, output)?,
    };
    let mut links = Links {
        source,
        netlink,
        monitor,
        keeper,
    };
    if links.keeper.is_empty() {
        output.message("the kernel has made all of it: nothing to keep");
        return Ok(0);
    }
    for lagg in links.keeper.laggs() {
        let target = target_of(&wanted, &lagg, probe);
        links.keeper.probe(&lagg, target);
    }
    prefer();
    let publisher = Publisher::start().map_err(told)?;
    let kept = links.keep(&publisher, &signals, output);
    publisher.finish();
    kept.map(|()| 0)
}

/// Makes all links.
fn begin(
    wanted: &WantedLinks,
    netlink: &mut Netlink,
    output: &mut Output<'_>,
) -> Result<Keeper, Complaint> {
    if let Some(other) = read_status() {
        let message = format!("process {} keeps the links already", other.pid);
        return Err(Complaint::Message(
            message + "\n  hint: `weighbridge links reload` has it read its files again",
        ));
    }
    remains::wait_until_gone(netlink, output)?;
    let steps = plan_of(wanted, netlink, Maker::Own, None)?;
    let mut keeper = Keeper::new(start());
    make(wanted, &steps, netlink, &mut keeper, output)?;
    Ok(keeper)
}

/// Goes on with links that are there. What cannot be made is no reason to lose the others.
fn go_on(
    left: HandOver,
    wanted: &WantedLinks,
    netlink: &mut Netlink,
    output: &mut Output<'_>,
) -> Result<Keeper, Complaint> {
    let mut keeper = Keeper::inherit(left, wanted, start()).map_err(told)?;
    let status = keeper.status();
    let made = plan_of(wanted, netlink, Maker::Own, Some(&status))
        .and_then(|steps| make(wanted, &steps, netlink, &mut keeper, output));
    if let Err(Complaint::Message(message)) = made {
        output.message(&message);
    }
    output.message("goes on with the links that were there");
    Ok(keeper)
}

/// What has been asked for.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let signals = Self {
            stop: Arc::new(AtomicBool::new(false)),
            reload: Arc::new(AtomicBool::new(false)),
        };
        for (signal, flag) in [
            (SIGTERM, &signals.stop),
            (SIGINT, &signals.stop),
            (SIGHUP, &signals.reload),
        ] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        // The program before this one has held them back.
        handover::listen()?;
        Ok(signals)
    }
}

/// Lets no busy program delay this one.
fn prefer() {
    if let Err(error) = setpriority_process(None, PRIORITY) {
        tracing::warn!(
            "this process has no priority over others ({error}): a busy machine may delay LACPDUs; \
             it takes root or CAP_SYS_NICE"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of this event loop")]
fn start() -> Instant {
    Instant::now()
}

fn make(
    wanted: &WantedLinks,
    steps: &[Step],
    netlink: &mut Netlink,
    keeper: &mut Keeper,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    let mut applied = Applied::default();
    for step in steps {
        let hooked = hooks_first(step, steps, netlink).map_err(Complaint::Message);
        let done = hooked.and_then(|()| {
            if keeper.carry_out(step, wanted, netlink).map_err(told)? {
                return Ok(());
            }
            netlink.carry_out(step, &mut applied).map_err(told)
        });
        if let Err(error) = done {
            netlink.undo(applied);
            return Err(error);
        }
        output.message(&step.to_string());
    }
    Ok(())
}

/// Whom the ports of a lagg ask: who was named, or the default router if it is near.
fn target_of(wanted: &WantedLinks, lagg: &str, probe: Option<Probe>) -> Option<ProbeTarget> {
    let address = match probe {
        Some(Probe::Nobody) => return None,
        Some(Probe::Neighbour(address)) => address,
        None => wanted.routes.iter().find_map(|route| match route.gateway {
            std::net::IpAddr::V4(gateway) if route.prefix_len == 0 => Some(gateway),
            std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => None,
        })?,
    };
    let near = wanted.interfaces.iter().find(|interface| {
        let mut addresses = interface.addresses.iter();
        addresses.any(|a| contains(a.address, a.prefix_len, address.into()))
    })?;
    let vlan = match &near.device {
        Device::Vlan(vlan) if vlan.parent == lagg => Some(vlan.id),
        Device::Lagg(_) if near.name == lagg => None,
        Device::Physical | Device::Bridge | Device::Lagg(_) | Device::Vlan(_) => return None,
    };
    Some(ProbeTarget { vlan, address })
}

/// The links, and what they are made by.
struct Links<'a> {
    source: &'a Source,
    netlink: Netlink,
    monitor: Monitor,
    keeper: Keeper,
}

impl Links<'_> {
    fn keep(
        &mut self,
        publisher: &Publisher,
        signals: &Signals,
        output: &mut Output<'_>,
    ) -> Result<(), Complaint> {
        let mut written = None;
        let mut due = false;
        let mut watch = Watch::default();
        self.keeper.look_at_claims(&self.netlink, true);
        self.keeper.look(&mut self.netlink).map_err(told)?;
        while !signals.stop.load(Ordering::Relaxed) {
            wait(&self.monitor, &self.keeper, watch.deadline()).map_err(told)?;
            let noticed = self.monitor.drain().map_err(told)?;
            if noticed {
                watch.told(self.keeper.now());
            }
            let look = noticed || watch.is_due(self.keeper.now());
            self.keeper.look_at_claims(&self.netlink, look);
            if look {
                self.keeper.look(&mut self.netlink).map_err(told)?;
            }
            self.keeper.forward();
            self.keeper.tick();
            let now = self.keeper.now();
            due |= self.keeper.has_news() || written.is_none_or(|at| now >= at + STATUS_PERIOD);
            if due && publisher.publish(self.keeper.status()) {
                written = Some(now);
                due = false;
            }
            if signals.reload.swap(false, Ordering::Relaxed) {
                self.reload(signals, output);
            }
        }
        Ok(())
    }

    /// Lets the next program go on. If anything is wrong all stays as it is.
    fn reload(&mut self, signals: &Signals, output: &mut Output<'_>) {
        match self.next_program(signals, output) {
            Ok(()) | Err(Complaint::Told | Complaint::OutputClosed) => {}
            Err(Complaint::Message(message) | Complaint::Usage(message)) => {
                output.message(&message);
            }
        }
        output.message("the links stay as they are");
        if let Err(error) = handover::listen() {
            tracing::warn!(%error, "signals are held back");
        }
    }

    /// Comes back only when there is no next program.
    fn next_program(
        &mut self,
        signals: &Signals,
        output: &mut Output<'_>,
    ) -> Result<(), Complaint> {
        let wanted = self.source.read(output)?.links;
        let status = self.keeper.status();
        plan_of(&wanted, &mut self.netlink, Maker::Own, Some(&status))?;
        handover::hold_signals().map_err(told)?;
        if signals.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self.keeper.hand_over().map_err(told)?;
        Err(told(left.start_next()))
    }
}

/// Sleeps until there is something to do.
fn wait(monitor: &Monitor, keeper: &Keeper, look: Option<Duration>) -> io::Result<()> {
    let now = keeper.now();
    let deadline = [keeper.deadline(), look].into_iter().flatten().min();
    let sleep = deadline
        .map_or(LONGEST_SLEEP, |at| at.saturating_sub(now))
        .min(LONGEST_SLEEP);
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(monitor.fd()).chain(keeper.fds()).collect();
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: sleep.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
