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
use signal_hook::consts::{SIGINT, SIGTERM};

use super::command::{Probe, plan_of, told};
use super::keeper::Keeper;
use super::publish::Publisher;
use super::state::read_status;
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

/// Makes the links and keeps them until SIGTERM or SIGINT.
pub(super) fn run(
    wanted: &WantedLinks,
    probe: Option<Probe>,
    output: &mut Output<'_>,
) -> Result<u8, Complaint> {
    if let Some(other) = read_status() {
        let message = format!("process {} keeps the links already", other.pid);
        return Err(Complaint::Message(
            message + "\n  hint: stop it with SIGTERM first",
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(told)?;
    }
    let mut netlink = Netlink::open().map_err(told)?;
    let mut monitor = Monitor::open().map_err(told)?;
    logging::start(LogLevel::Warn);
    let steps = plan_of(wanted, &mut netlink, Maker::Own)?;
    let mut keeper = Keeper::new(start());
    make(wanted, &steps, &mut netlink, &mut keeper, output)?;
    if keeper.is_empty() {
        output.message("the kernel has made all of it: nothing to keep");
        return Ok(0);
    }
    for lagg in keeper.laggs() {
        let target = target_of(wanted, &lagg, probe);
        keeper.probe(&lagg, target);
    }
    prefer();
    let publisher = Publisher::start().map_err(told)?;
    let kept = keep(&mut netlink, &mut monitor, &mut keeper, &publisher, &stop);
    publisher.finish();
    kept.map(|()| 0)
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
        let done = match keeper.carry_out(step, wanted, netlink) {
            Ok(true) => Ok(()),
            Ok(false) => netlink.carry_out(step, &mut applied).map_err(told),
            Err(error) => Err(told(error)),
        };
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

fn keep(
    netlink: &mut Netlink,
    monitor: &mut Monitor,
    keeper: &mut Keeper,
    publisher: &Publisher,
    stop: &AtomicBool,
) -> Result<(), Complaint> {
    let mut written = None;
    let mut due = false;
    keeper.look(netlink).map_err(told)?;
    while !stop.load(Ordering::Relaxed) {
        wait(monitor, keeper).map_err(told)?;
        if monitor.drain().map_err(told)? {
            keeper.look(netlink).map_err(told)?;
        }
        keeper.forward();
        keeper.tick();
        let now = keeper.now();
        due |= keeper.has_news() || written.is_none_or(|at| now >= at + STATUS_PERIOD);
        if due && publisher.publish(keeper.status()) {
            written = Some(now);
            due = false;
        }
    }
    Ok(())
}

/// Sleeps until there is something to do.
fn wait(monitor: &Monitor, keeper: &Keeper) -> io::Result<()> {
    let now = keeper.now();
    let sleep = keeper
        .deadline()
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
