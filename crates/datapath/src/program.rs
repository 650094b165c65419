//! The BPF program: loading, attaching, counters.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::xdp::DevMapHash;
use aya::maps::{Array, HashMap, PerCpuArray, ProgramArray};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
};
use aya::programs::xdp::{XdpLinkId, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError, EbpfLoader};
use pf_engine::time::Instant;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_getres};

use crate::flows::lanes::{LANE_ENDS, LANE_OF_WAY, LANES, NO_LANES};
use crate::flows::{
    FLOW_CHANGES, FLOW_ENDS_V6, FLOW_EXITS, FLOW_OPENINGS, FLOW_STATES, FLOW_STATES_LIMIT,
    FLOW_USES, FLOWS, FlowMaps, Room,
};
use crate::left::OwnerData;
use crate::shares::{SharesData, UpcallShares};
use crate::sys::{self, TcxPoint};
use crate::tap::Tap;
use crate::verifier::refused;
use crate::{Attachment, Error, FailPolicy, FastPath};

pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weighbridge.bpf.o"));

/// Oldest kernel that has all the program needs, by the version that distributions ship:
/// `bpf_redirect_neigh` with a given next hop is of 5.10.
const OLDEST_KERNEL: KernelVersion = KernelVersion::new(5, 15, 0);
const OLDEST_KERNEL_NAME: &str = "5.15";

/// First kernel with TCX.
pub(crate) const TCX_KERNEL: KernelVersion = KernelVersion::new(6, 6, 0);

/// First kernel with what the part for XDP calls (`bpf_xdp_load_bytes`).
const XDP_KERNEL: KernelVersion = KernelVersion::new(5, 18, 0);

pub(crate) const HOOK_IN: &str = "hook_in";
pub(crate) const HOOK_OUT: &str = "hook_out";
const REINJECT: &str = "reinject";
const DIVERT_IN: &str = "divert_in";
const COUNTERS: &str = "counters";
const DIVERTS: &str = "diverts";
const FRAMES: &str = "frames";
pub(crate) const UPCALL_SHARES: &str = "upcall_shares";
const TOPOLOGY: &str = "topology";
const EXIT_PORTS: &str = "exit_ports";
const XDP_PORTS: &str = "xdp_ports";
const FLOW_XDP: &str = "flow_xdp";
/// What makes lanes behind it, and the map by which it is reached.
const FLOW_XDP_PAVE: &str = "flow_xdp_pave";
const XDP_PATH: &str = "xdp_path";
const NO_XDP: &str = "the program has no part for it";

/// Interfaces that fused flows leave by (`EXIT_PORTS_MAX` of bpf/exit.bpf.h), at most: a bridge has
/// no more ports (`BR_MAX_PORTS` of `net/bridge/br_private.h`). Flows of others go the ordinary way.
const EXIT_PORTS_MAX: usize = 1024;

/// An entry of the map `diverts`, as the program reads it: address, family, port.
pub(crate) type DivertData = [u8; 24];

/// `struct exit_port`: where its neighbours are known, and whether all that leaves there is seen.
pub(crate) type ExitPortData = [u32; 2];

/// Counters of the program, in the order of its `enum counter`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    Upcalls,
    Reinjected,
    NotIp,
    Decided,
    UpcallFailed,
    Refused,
    Cached,
    Blocked,
    HeldBack,
    Fused,
    ByXdp,
    Ridden,
    RiddenByXdp,
}

#[derive(Debug)]
pub(crate) struct Program {
    ebpf: Ebpf,
    attachment: Attachment,
    policy: FailPolicy,
    /// What is in the map of that name.
    xdp_ports: BTreeSet<u32>,
}

/// The hooks of one interface.
#[derive(Debug)]
pub(crate) struct Hooks {
    ingress: Hook,
    egress: Hook,
}

/// A number that nobody can guess.
fn token() -> io::Result<NonZeroU16> {
    loop {
        if let Some(token) = NonZeroU16::new(u16::from_ne_bytes(random()?)) {
            return Ok(token);
        }
    }
}

/// The same, for places that packets choose among themselves.
fn seed() -> io::Result<u64> {
    random().map(u64::from_ne_bytes)
}

fn random<const LEN: usize>() -> io::Result<[u8; LEN]> {
    loop {
        let mut bytes = [0; LEN];
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(len) if len == bytes.len() => return Ok(bytes),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Nanoseconds between two ticks of the kernel, which its coarse clocks go by.
fn nanoseconds_of_jiffy() -> u64 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    u64::try_from(tick.tv_nsec).unwrap_or_default()
}

/// How a hook is held.
#[derive(Debug)]
enum Hook {
    /// By this process: it goes with it.
    Held(SchedClassifierLinkId),
    /// By the interface with this number.
    Tcx(u32, TcxPoint),
    /// By the queueing discipline of the interface with this name.
    Filter(String, TcAttachType, u16, TcHandle),
}

/// Loads what is always there: hooks of this owner, with room for so many flows and lanes.
fn load(owner: &OwnerData, room: Room, lanes: u32) -> Result<Ebpf, Error> {
    let exit_lives = u64::try_from(room.exit_lives().as_nanos()).unwrap_or(u64::MAX);
    let mut ebpf = EbpfLoader::new()
        .override_global("exit_lives", &exit_lives, true)
        .override_global("owner", owner, true)
        .override_global("lanes_mask", &lanes.saturating_sub(1), true)
        .override_global("lanes_seed", &seed().map_err(not_loaded)?, true)
        .override_global("jiffy_ns", &nanoseconds_of_jiffy(), true)
        .map_max_entries(LANES, lanes)
        .map_max_entries(LANE_ENDS, lanes)
        .map_max_entries(LANE_OF_WAY, room.slots().saturating_mul(2))
        .map_max_entries(FLOWS, room.keys())
        .map_max_entries(FLOW_STATES, room.slots())
        .map_max_entries(FLOW_USES, room.slots())
        .map_max_entries(FLOW_CHANGES, room.changes())
        .map_max_entries(FLOW_ENDS_V6, room.states())
        .map_max_entries(FLOW_OPENINGS, room.openings())
        .map_max_entries(FLOW_EXITS, room.slots().saturating_mul(2))
        .load(OBJECT)
        .map_err(|error| not_loaded_with(room, error))?;
    for name in [HOOK_IN, HOOK_OUT, REINJECT, DIVERT_IN] {
        program(&mut ebpf, name)?
            .load()
            .map_err(|error| not_loaded(refused(error)))?;
    }
    Ok(ebpf)
}

/// Loads with so many lanes, or without: the hook that looks for one has an instruction that not every
/// kernel has (compare and exchange, arm64 before 5.18), and the verifier takes it out where there are none.
fn or_without_lanes<T>(lanes: u32, load: impl Fn(u32) -> Result<T, Error>) -> Result<T, Error> {
    const NONE: u32 = 1;
    load(lanes).or_else(|error| {
        if lanes == NONE {
            return Err(error);
        }
        match load(NONE) {
            Ok(loaded) => {
                tracing::warn!(%error, "{NO_LANES}");
                Ok(loaded)
            }
            // It was not the lanes.
            Err(_) => Err(error),
        }
    })
}

impl Program {
    /// Loads the program for this TAP.
    pub(crate) fn load(
        tap: &Tap,
        attachment: Attachment,
        policy: FailPolicy,
        (fast_path, flow_states): (&FastPath, u32),
    ) -> Result<Self, Error> {
        lift_memory_limit();
        let token = token().map_err(not_loaded)?;
        let owner: OwnerData = crate::left::owner_data(tap.index, &tap.name, token);
        let room = match fast_path {
            FastPath::On | FastPath::Xdp(_) => Room::of(flow_states.clamp(1, FLOW_STATES_LIMIT)),
            FastPath::Off => Room::NONE,
        };
        let ebpf = or_without_lanes(room.lanes(), |lanes| load(&owner, room, lanes))?;
        Ok(Self {
            ebpf,
            attachment,
            policy,
            xdp_ports: BTreeSet::new(),
        })
    }

    /// The flow cache, which is in force from now on. `now` is the engine's time and the kernel's.
    pub(crate) fn open_flows(&mut self, now: (Instant, Duration)) -> Result<FlowMaps, Error> {
        FlowMaps::open(&mut self.ebpf, now)
    }

    /// Puts the reinjection on the TAP, for as long as the TAP lives.
    pub(crate) fn attach_reinjection(&mut self, tap: &str) -> Result<(), Error> {
        self.attach_held(REINJECT, tap, TcAttachType::Ingress)
            .map(drop)
    }

    /// Hands what is diverted to its socket on a bridge, for as long as this process lives.
    pub(crate) fn attach_divert(&mut self, bridge: &str) -> Result<(), Error> {
        self.attach_held(DIVERT_IN, bridge, TcAttachType::Ingress)
            .map(drop)
    }

    /// Puts both hooks on an interface, or none.
    pub(crate) fn attach(&mut self, interface: &str, index: u32) -> Result<Hooks, Error> {
        let ingress = self.attach_one(HOOK_IN, interface, index, TcAttachType::Ingress)?;
        match self.attach_one(HOOK_OUT, interface, index, TcAttachType::Egress) {
            Ok(egress) => Ok(Hooks { ingress, egress }),
            Err(error) => {
                self.detach_one(HOOK_IN, ingress);
                Err(error)
            }
        }
    }

    /// Takes the hooks off; harmless when the interface is gone.
    pub(crate) fn detach(&mut self, hooks: Hooks) {
        self.detach_one(HOOK_IN, hooks.ingress);
        self.detach_one(HOOK_OUT, hooks.egress);
    }

    /// Tells the program where a socket listens.
    pub(crate) fn set_divert(&mut self, at: u32, entry: DivertData) -> io::Result<()> {
        let map = self.ebpf.map_mut(DIVERTS);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: Array<_, DivertData> = map.try_into().map_err(io::Error::other)?;
        map.set(at, entry, 0).map_err(io_error)
    }

    /// Tells the program whether frames without IP are to be sent up.
    pub(crate) fn set_filters_frames(&mut self, filters: bool) -> io::Result<()> {
        let map = self.ebpf.map_mut(FRAMES);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: Array<_, u32> = map.try_into().map_err(io::Error::other)?;
        map.set(0, u32::from(filters), 0).map_err(io_error)
    }

    /// Tells the program what may come up.
    pub(crate) fn set_upcall_shares(&mut self, shares: UpcallShares) -> io::Result<()> {
        let map = self.ebpf.map_mut(UPCALL_SHARES);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: Array<_, SharesData> = map.try_into().map_err(io::Error::other)?;
        map.set(0, shares.data(), 0).map_err(io_error)
    }

    /// Which interfaces have hooks, and what is known of them (`struct exit_port`).
    pub(crate) fn set_exit_ports(&mut self, ports: &BTreeMap<u32, ExitPortData>) -> io::Result<()> {
        let map = self.ebpf.map_mut(EXIT_PORTS);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: HashMap<_, u32, ExitPortData> = map.try_into().map_err(io::Error::other)?;
        let known: Vec<u32> = map.keys().filter_map(Result::ok).collect();
        let ports: BTreeMap<_, _> = ports.iter().take(EXIT_PORTS_MAX).collect();
        for port in known.iter().filter(|port| !ports.contains_key(port)) {
            map.remove(port).map_err(io_error)?;
        }
        for (port, data) in ports {
            map.insert(port, data, 0).map_err(io_error)?;
        }
        Ok(())
    }

    /// Puts the flow cache on an interface's driver, for as long as this process lives.
    pub(crate) fn attach_xdp(&mut self, interface: &str) -> Result<XdpLinkId, String> {
        if self.xdp(FLOW_XDP)?.fd().is_err() {
            self.load_xdp()?;
        }
        self.xdp(FLOW_XDP)?
            .attach(interface, XdpMode::Driver)
            .map_err(|error| format!("its driver does not take the program ({})", io_error(error)))
    }

    fn load_xdp(&mut self) -> Result<(), String> {
        if !has_xdp().map_err(|error| error.to_string())? {
            return Err("it takes Linux 5.18 or later".to_owned());
        }
        let not_taken = |error| format!("the kernel does not take the program ({error})");
        match self.load_once(FLOW_XDP_PAVE)? {
            Ok(()) => self.join_xdp()?,
            Err(error) => tracing::warn!(%error, "{NO_LANES}"),
        }
        // The last, because it tells that all is there.
        self.load_once(FLOW_XDP)?.map_err(not_taken)
    }

    /// Loads a program, unless an attempt that failed with another one has.
    fn load_once(&mut self, name: &str) -> Result<io::Result<()>, String> {
        let program = self.xdp(name)?;
        Ok(if program.fd().is_ok() {
            Ok(())
        } else {
            program.load().map_err(refused)
        })
    }

    fn join_xdp(&mut self) -> Result<(), String> {
        let unplaced = |error: io::Error| format!("its programs are not joined ({error})");
        let program = self.xdp(FLOW_XDP_PAVE)?;
        let fd = program.fd().map_err(|error| unplaced(io_error(error)))?;
        let fd = fd.try_clone().map_err(unplaced)?;
        let map = self.ebpf.map_mut(XDP_PATH).ok_or(NO_XDP)?;
        let path = ProgramArray::try_from(map);
        let mut path = path.map_err(|error| unplaced(io_error(error)))?;
        let placed = path.set(0, &fd, 0);
        placed.map_err(|error| unplaced(io_error(error)))
    }

    pub(crate) fn detach_xdp(&mut self, id: XdpLinkId) {
        let detached = self.xdp(FLOW_XDP).map(|program| program.detach(id));
        if let Ok(Err(error)) = detached {
            tracing::debug!(%error, "an interface with XDP is gone");
        }
    }

    fn xdp(&mut self, name: &str) -> Result<&mut aya::programs::Xdp, String> {
        let program = self.ebpf.program_mut(name).ok_or(NO_XDP)?;
        let program = program.try_into();
        program.map_err(|error: ProgramError| format!("{NO_XDP} ({error})"))
    }

    /// Of these interfaces, and no others, frames may be sent out at the driver.
    pub(crate) fn set_xdp_ports(&mut self, ports: &BTreeSet<u32>) -> io::Result<()> {
        let map = self.ebpf.map_mut(XDP_PORTS);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: DevMapHash<_> = map.try_into().map_err(io::Error::other)?;
        for port in self.xdp_ports.difference(ports) {
            map.remove(*port).map_err(io_error)?;
        }
        for port in ports.difference(&self.xdp_ports).take(EXIT_PORTS_MAX) {
            map.insert(*port, *port, None, 0).map_err(io_error)?;
        }
        self.xdp_ports.clone_from(ports);
        Ok(())
    }

    /// What has been learnt of the ways of packets holds for this number alone.
    pub(crate) fn set_topology(&mut self, number: u32) -> io::Result<()> {
        let map = self.ebpf.map_mut(TOPOLOGY);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        let mut map: Array<_, u32> = map.try_into().map_err(io::Error::other)?;
        map.set(0, number, 0).map_err(io_error)
    }

    /// The sum of a counter over all CPUs.
    pub(crate) fn counter(&self, counter: Counter) -> u64 {
        let values = self.ebpf.map(COUNTERS).and_then(|map| {
            let map: PerCpuArray<_, u64> = map.try_into().ok()?;
            map.get(&(counter as u32), 0).ok()
        });
        values.map_or(0, |values| values.iter().sum())
    }

    fn attach_one(
        &mut self,
        name: &str,
        interface: &str,
        index: u32,
        at: TcAttachType,
    ) -> Result<Hook, Error> {
        match (self.policy, self.attachment) {
            (FailPolicy::Block, Attachment::Tcx) => {
                let point = tcx_point(at);
                self.attach_lasting(name, index, point)
                    .map_err(|error| not_attached(interface, error))?;
                Ok(Hook::Tcx(index, point))
            }
            (FailPolicy::Block, Attachment::Clsact) => self.attach_filter(name, interface, at),
            (FailPolicy::Pass, _) => self.attach_held(name, interface, at).map(Hook::Held),
        }
    }

    fn attach_lasting(&mut self, name: &str, index: u32, point: TcxPoint) -> io::Result<()> {
        let program = program(&mut self.ebpf, name).map_err(io::Error::other)?;
        let fd = program.fd().map_err(io_error)?;
        sys::attach_tcx(fd.as_fd(), index, point)
    }

    /// A filter that stays when its link is dropped: the link is told to forget it.
    fn attach_filter(
        &mut self,
        name: &str,
        interface: &str,
        at: TcAttachType,
    ) -> Result<Hook, Error> {
        let failed = |error| not_attached(interface, io_error(error));
        let id = self.attach_held(name, interface, at)?;
        let program = program(&mut self.ebpf, name)?;
        let link = program.take_link(id).map_err(failed)?;
        let (priority, handle) = (
            link.priority().map_err(failed)?,
            link.handle().map_err(failed)?,
        );
        std::mem::forget(link);
        Ok(Hook::Filter(interface.to_owned(), at, priority, handle))
    }

    fn attach_held(
        &mut self,
        name: &str,
        interface: &str,
        at: TcAttachType,
    ) -> Result<SchedClassifierLinkId, Error> {
        let options = self
            .options(interface)
            .map_err(|error| not_attached(interface, error))?;
        program(&mut self.ebpf, name)?
            .attach_with_options(interface, at, options)
            .map_err(|error| not_attached(interface, io_error(error)))
    }

    fn options(&self, interface: &str) -> io::Result<TcAttachOptions> {
        match self.attachment {
            Attachment::Tcx => Ok(TcAttachOptions::TcxOrder(LinkOrder::default())),
            Attachment::Clsact => {
                add_clsact(interface)?;
                Ok(TcAttachOptions::Netlink(NlOptions::default()))
            }
        }
    }

    fn detach_one(&mut self, name: &str, hook: Hook) {
        // An interface that is gone took its hooks along.
        if let Err(error) = self.try_detach(name, hook) {
            tracing::debug!(%error, name, "hook was gone already");
        }
    }

    fn try_detach(&mut self, name: &str, hook: Hook) -> io::Result<()> {
        let program = program(&mut self.ebpf, name).map_err(io::Error::other)?;
        match hook {
            Hook::Held(link) => program.detach(link).map_err(io_error),
            Hook::Tcx(index, point) => {
                let fd = program.fd().map_err(io_error)?;
                sys::detach_tcx(fd.as_fd(), index, point)
            }
            Hook::Filter(interface, at, priority, handle) => {
                SchedClassifierLink::attached(&interface, at, priority, handle, None).map(drop)
            }
        }
    }
}

/// As the system call has it.
pub(crate) const fn tcx_point(at: TcAttachType) -> TcxPoint {
    match at {
        TcAttachType::Egress => TcxPoint::Egress,
        TcAttachType::Ingress | TcAttachType::Custom(_) => TcxPoint::Ingress,
    }
}

impl Attachment {
    /// The best that this kernel has.
    pub(crate) fn of_this_kernel() -> Result<Self, Error> {
        let running = running_kernel()?;
        if running < OLDEST_KERNEL {
            let release = rustix::system::uname();
            return Err(Error::KernelTooOld {
                found: release.release().to_string_lossy().into_owned(),
                needed: OLDEST_KERNEL_NAME,
            });
        }
        if running < TCX_KERNEL {
            return Ok(Self::Clsact);
        }
        Ok(Self::Tcx)
    }
}

fn running_kernel() -> Result<KernelVersion, Error> {
    KernelVersion::current().map_err(|error| not_loaded(io::Error::other(error.to_string())))
}

/// Whether this kernel may take the part for XDP.
pub(crate) fn has_xdp() -> Result<bool, Error> {
    Ok(running_kernel()? >= XDP_KERNEL)
}

pub(crate) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| not_loaded(io::ErrorKind::NotFound.into()))?;
    program
        .try_into()
        .map_err(|error: ProgramError| not_loaded(io::Error::other(error)))
}

fn add_clsact(interface: &str) -> io::Result<()> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => Ok(()),
        Err(error) => match io_error(error) {
            error if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            error => Err(error),
        },
    }
}

/// Before Linux 5.11 maps count against the memory that a process may lock.
fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit for locked memory stays");
    }
}

/// What the kernel said, which is where the chain of errors begins.
pub(crate) fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        let said = current.downcast_ref::<io::Error>();
        if let Some(number) = said.and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(number);
        }
        cause = current.source();
    }
    io::Error::other(error)
}

/// The memory of the maps is taken when they are made.
fn not_loaded_with(room: Room, error: EbpfError) -> Error {
    let cause = io_error(error);
    if cause.kind() == io::ErrorKind::OutOfMemory {
        return Error::kernel(
            format!(
                "there is no memory for {} flows in the kernel",
                room.slots()
            ),
            cause,
            "set a smaller flow-cache in weighbridge.toml",
        );
    }
    not_loaded(io::Error::other(cause))
}

fn not_loaded(source: io::Error) -> Error {
    Error::kernel(
        "cannot load the BPF program",
        source,
        "run as root on a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and \
         CONFIG_NET_CLS_ACT",
    )
}

fn not_attached(interface: &str, source: io::Error) -> Error {
    Error::kernel(
        format!("cannot put the hooks on {interface}"),
        source,
        "`ip link` shows whether it is still there; the kernel needs TCX (6.6) or clsact \
         (CONFIG_NET_SCH_INGRESS)",
    )
}

#[cfg(test)]
mod tests;
