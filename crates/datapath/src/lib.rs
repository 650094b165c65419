//! Everything that touches the kernel: BPF program, TAP, netlink, capabilities.
//!
//! `unsafe` is allowed in the module `sys` alone.
//!
//! A packet on its way up and down again keeps its bytes and its frame's addresses; what the
//! kernel knew beside them (socket, `SO_MARK`, priority) is lost with the upcall. Rules may give it
//! another priority, and steer it through the kernel's routing by marks (`steer`).

#[doc(hidden)]
pub mod bench;
mod capability;
pub mod device;
mod error;
mod exits;
mod flows;
mod frame;
pub mod handshakes;
mod left;
pub mod netlink;
pub mod offload;
mod program;
pub mod queues;
mod reinject;
mod shares;
mod steer;
mod sys;
mod tap;
mod unhook;
mod verifier;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pf_engine::decision::{Hook, Packet};
use pf_engine::env::IfIndex;
use pf_engine::queue::{QueueNumbers, QueueTree};
use pf_engine::time::Instant;

use crate::frame::{ETHERNET_LEN, PACKET_MAX, TAG_LEN, UPCALL_LEN};
use crate::netlink::connection::Connection;
use crate::netlink::link::{self, Link};
use crate::program::{Counter, Hooks, Program};
use crate::queues::{QueueStatistics, Queues};
use crate::steer::Steer;
use crate::tap::Tap;
use crate::xdp::Xdp;

pub use crate::capability::{
    check_privileges, drop_all_capabilities, drop_capabilities, drop_capabilities_of_starter,
};
pub use crate::error::Error;
pub use crate::flows::{FLOW_STATES_DEFAULT, FLOW_STATES_LIMIT, FlowMaps};
pub use crate::reinject::Reinjection;
pub use crate::shares::UpcallShares;
pub use crate::sys::memory::advise_huge;
pub use crate::unhook::{Unhooked, unhook};
pub use crate::xdp::XdpConfig;

/// Room for the largest frame from the TAP, and a byte more to notice what is larger.
const BUFFER_LEN: usize = UPCALL_LEN + TAG_LEN + ETHERNET_LEN + PACKET_MAX + 1;

/// Largest MTU of an interface with hooks. The kernel's limit for a packet that a BPF program
/// lengthens (`BPF_SKB_MAX_LEN` of net/core/filter.c: four pages of 4096 bytes without their
/// management, 16064) less the headers. Super-packets are not subject to it.
const MTU_MAX: u32 = 16_026;

/// The hooks, the TAP and the maps of one running daemon. Dropping it removes all of them, but
/// with [`FailPolicy::Block`] the hooks: without the TAP they drop every IP packet, until
/// [`Datapath::release`], another daemon or [`unhook()`] takes them off.
#[derive(Debug)]
pub struct Datapath {
    // The order matters: hooks go before the TAP they redirect to.
    attached: BTreeMap<IfIndex, Attached>,
    xdp: Option<Xdp>,
    /// Interfaces that fused flows may leave by.
    exits: BTreeSet<u32>,
    program: Program,
    tap: Tap,
    connection: Connection,
    steer: Steer,
    queues: Queues,
    filters_frames: bool,
    has_room_for_flows: bool,
    /// Moves on with each change of the ways of packets.
    topology: u32,
    buffer: Vec<u8>,
    invalid: u64,
    oversized: u64,
    strayed: u64,
    not_sent: u64,
}

/// How the data path is set up.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// Name of the TAP device (15 bytes at most), for example `weighbridge0`.
    pub tap: String,
    /// What becomes of packets when this process is gone.
    pub policy: FailPolicy,
    /// Whether there is room for a flow cache.
    pub fast_path: FastPath,
    /// States that it has room for, [`FLOW_STATES_LIMIT`] at most: some 680 bytes each, which are
    /// taken at once.
    pub flow_states: u32,
}

/// Whether the kernel repeats decisions that the engine has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FastPath {
    /// Each packet goes up.
    #[default]
    Off,
    /// Packets of states that are only counted pass in the kernel, and those that rules decide by
    /// the flow's key alone pass or end there.
    On,
    /// As `On`; what passes both hooks passes at the driver already, and so does what ends.
    Xdp(XdpConfig),
}

/// What becomes of IP packets at managed interfaces when a daemon has ended without
/// [`Datapath::release`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailPolicy {
    /// They are dropped.
    #[default]
    Block,
    /// They pass unfiltered. (With clsact only if the process could clean up.)
    Pass,
}

/// How the hooks are put on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// TCX, Linux 6.6 and later.
    Tcx,
    /// The `clsact` queueing discipline, which stays on the interface when the hooks are gone.
    Clsact,
}

/// A packet on its way up.
#[derive(Clone, Debug)]
pub struct Upcall {
    /// Where it met the filter.
    pub hook: Hook,
    /// What came up.
    pub content: Content,
    /// The packet, IP header first, checksums complete, with its frame's addresses. Of a frame
    /// without IP the bytes are all that follows the addresses: tags, type, and what is in it.
    pub packet: Packet,
}

/// What is on its way up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// An IP packet.
    #[default]
    Packet,
    /// An IP packet that was decided when it came in, in the frame in which it leaves.
    Departure,
    /// A frame that carries no IP packet, or has a VLAN tag.
    Frame,
}

/// Counters of the kernel program and the TAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatapathStatistics {
    /// Packets sent up; a super-packet counts as the segments that it is cut into.
    pub upcalls: u64,
    /// Packets that were decided and went on.
    pub reinjected: u64,
    /// Frames that are not IP (or carry a VLAN tag) and passed untouched: none where there are
    /// rules for frames.
    pub not_ip: u64,
    /// Packets that could not be sent up (no headroom, no memory).
    pub upcall_failed: u64,
    /// Packets lost because the TAP's queue was full.
    pub queue_full: u64,
    /// Packets that met a hook they were decided for, or were generated, and passed it.
    pub decided: u64,
    /// Frames on the TAP that the kernel program did not put back, because they are not ours.
    pub refused: u64,
    /// Frames from the TAP that are no upcalls: something else sent to the device.
    pub invalid: u64,
    /// Frames from the TAP that are larger than any IP packet: dropped, not cut.
    pub oversized: u64,
    /// Packets that waited to be taken when their interface went ([`Datapath::strayed`]).
    pub strayed: u64,
    /// Packets that [`Datapath::send`] could not put back.
    pub not_sent: u64,
    /// Packets that passed by the flow cache, without coming up.
    pub cached: u64,
    /// Packets that the flow cache dropped, without their coming up.
    pub blocked: u64,
    /// Packets of who had had his share of what comes up ([`UpcallShares`]).
    pub held_back: u64,
    /// Packets that passed two hooks at once by the flow cache, without the kernel's bridge or
    /// routing between: two of `cached` each.
    pub fused: u64,
    /// Packets of these that passed at the driver.
    pub by_xdp: u64,
    /// Of `fused`, those that went by a lane (`bpf/lane.bpf.h`).
    pub ridden: u64,
}

/// What we know about an interface with hooks.
#[derive(Debug)]
struct Attached {
    hooks: Hooks,
    name: String,
    /// Whether packets were blocked here by what a dead daemon had left.
    was_blocked: bool,
    /// Where the kernel keeps its neighbours: itself or, for a bridge port, the bridge.
    neighbours: IfIndex,
    /// Ethernet address of the box there.
    mac: Option<[u8; 6]>,
}

impl Datapath {
    /// Loads the program and makes the TAP.
    ///
    /// # Errors
    /// With what to do: no root, no BPF, kernel too old, name taken.
    pub fn open(config: &DatapathConfig) -> Result<Self, Error> {
        Self::open_with(config, Attachment::of_this_kernel()?)
    }

    /// As [`Datapath::open`], with a certain way to attach hooks.
    ///
    /// # Errors
    /// As [`Datapath::open`].
    pub fn open_with(config: &DatapathConfig, attachment: Attachment) -> Result<Self, Error> {
        check_privileges()?;
        let connection = netlink::connect()?;
        let tap = Tap::create(&config.tap, &connection)?;
        let mut program = Program::load(
            &tap,
            attachment,
            config.policy,
            (&config.fast_path, config.flow_states),
        )?;
        let xdp = match &config.fast_path {
            FastPath::Xdp(config) => Some(Xdp::new(config.clone())),
            FastPath::Off | FastPath::On => None,
        };
        program.attach_reinjection(&tap.name)?;
        tap.bring_up(&connection)?;
        Ok(Self {
            attached: BTreeMap::new(),
            xdp,
            exits: BTreeSet::new(),
            program,
            tap,
            connection,
            steer: Steer::default(),
            queues: Queues::default(),
            filters_frames: false,
            has_room_for_flows: config.fast_path != FastPath::Off,
            topology: 0,
            buffer: vec![0; BUFFER_LEN],
            invalid: 0,
            oversized: 0,
            strayed: 0,
            not_sent: 0,
        })
    }

    /// Whether it was opened with [`FastPath::On`] or [`FastPath::Xdp`].
    #[must_use]
    pub const fn has_room_for_flows(&self) -> bool {
        self.has_room_for_flows
    }

    /// The flow cache for the engine, once, of a data path that was opened with
    /// [`FastPath::On`]. The kernel stops using it when it is dropped, or this process ends. `now`
    /// is the engine's time; its origin must move with the kernel's monotonic clock.
    ///
    /// # Errors
    /// When the kernel refuses its programs.
    pub fn open_flows(&mut self, now: Instant) -> Result<FlowMaps, Error> {
        let kernel = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(kernel.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(kernel.tv_nsec).unwrap_or_default();
        self.program
            .open_flows((now, Duration::new(seconds, nanos)))
    }

    /// Puts the two hooks on an interface (TCX, or clsact where TCX is missing). Where it has
    /// them, only what is known of it is refreshed: to be called again when its bridge changes.
    ///
    /// # Errors
    /// When the interface has no Ethernet header or an MTU of more than 16026 bytes (as `lo`
    /// has), or the kernel refuses.
    pub fn attach(&mut self, interface: IfIndex) -> Result<(), Error> {
        let link = link::by_index(&self.connection, interface.0)
            .map_err(|source| no_such_interface(interface, source))?;
        if !link.ethernet {
            return Err(not_ethernet(&link.name));
        }
        if link.mtu > MTU_MAX {
            return Err(mtu_too_large(&link));
        }
        let neighbours = match link.controller {
            Some(bridge) if link.port.is_some() => IfIndex(bridge),
            _ => interface,
        };
        let mac = link::by_index(&self.connection, neighbours.0)
            .ok()
            .and_then(|own| own.mac.as_slice().try_into().ok());
        if let Some(attached) = self.attached.get_mut(&interface) {
            attached.neighbours = neighbours;
            attached.mac = mac;
            return Ok(());
        }
        // What a dead daemon left drops everything as long as it is there, so nothing passes
        // undecided between the two.
        let left = unhook::left_on(&self.connection, &link)?;
        let hooks = self.program.attach(&link.name, link.index)?;
        let was_blocked = !left.is_empty();
        let attached = Attached {
            hooks,
            name: link.name.clone(),
            was_blocked,
            neighbours,
            mac,
        };
        self.attached.insert(interface, attached);
        if let Some(xdp) = &mut self.xdp {
            xdp.attach(&link, &mut self.program);
        }
        unhook::remove(&self.connection, &link.name, left)?;
        if was_blocked {
            tracing::info!("{} was blocked and is filtered again", link.name);
        }
        Ok(())
    }

    /// Takes off what a dead daemon with this one's TAP left on interfaces that have no hooks of
    /// ours. Returns the names of those interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clean_up(&mut self) -> Result<Vec<String>, Error> {
        unhook::clean_up(&self.connection, &self.tap.name, |index| {
            self.attached.contains_key(&IfIndex(index))
        })
    }

    /// The orderly end: takes all hooks off, so that packets pass unfiltered.
    pub fn release(&mut self) {
        if let Some(xdp) = &mut self.xdp {
            xdp.detach_all(&mut self.program);
        }
        for (_, attached) in std::mem::take(&mut self.attached) {
            self.program.detach(attached.hooks);
        }
        self.steer.release(&self.connection);
        self.queues.release(&self.connection);
    }

    /// The end of a start that failed: takes the hooks off where there were none before. What
    /// was blocked stays blocked; its interfaces are named.
    pub fn abandon(&mut self) -> Vec<String> {
        self.queues.release(&self.connection);
        let mut blocked = Vec::new();
        for (_, attached) in std::mem::take(&mut self.attached) {
            if attached.was_blocked {
                blocked.push(attached.name);
            } else {
                self.program.detach(attached.hooks);
            }
        }
        blocked
    }

    /// Puts queues into force in place of those before. Interfaces whose queues are the same keep
    /// them, with the packets that wait. On an error nothing has changed.
    ///
    /// # Errors
    /// Where the kernel has no such qdisc, an interface is not there or has a queueing discipline
    /// of somebody else, or what is wanted cannot be told the kernel.
    pub fn set_queues(&mut self, trees: &[QueueTree], numbers: &QueueNumbers) -> Result<(), Error> {
        self.queues.set(trees, numbers, &self.connection)?;
        self.set_xdp_ports()
    }

    /// Gives interfaces that have vanished and come back their queues again.
    pub fn restore_queues(&mut self) {
        self.queues.restore(&self.connection);
    }

    /// What the kernel has counted of the queues.
    #[must_use]
    pub fn queue_statistics(&self, numbers: &QueueNumbers) -> QueueStatistics {
        self.queues.statistics(numbers, &self.connection)
    }

    /// Takes the hooks off; harmless when the interface is gone.
    pub fn detach(&mut self, interface: IfIndex) {
        if let Some(xdp) = &mut self.xdp {
            xdp.detach(interface.0, &mut self.program);
        }
        if let Some(attached) = self.attached.remove(&interface) {
            self.program.detach(attached.hooks);
        }
    }

    /// The next packet, or nothing for now. Reuses `upcall`'s buffer. Frames that are no valid
    /// upcall are counted and skipped.
    ///
    /// # Errors
    /// When the TAP is gone.
    pub fn receive(&mut self, upcall: &mut Upcall) -> Result<bool, Error> {
        while let Some(len) = self.tap.read(&mut self.buffer).map_err(tap_gone)? {
            if len == BUFFER_LEN {
                self.oversized += 1;
                continue;
            }
            let frame = self.buffer.get(..len).unwrap_or_default();
            let Some(received) = frame::parse(frame) else {
                self.invalid += 1;
                continue;
            };
            upcall.hook = received.hook;
            upcall.packet.ether = Some(received.ether);
            upcall.packet.received_on = received.came_by;
            upcall.packet.priority = received.priority;
            upcall.content = received.content;
            upcall.packet.bytes.clear();
            upcall
                .packet
                .bytes
                .extend(received.tag.into_iter().flatten());
            upcall.packet.bytes.extend_from_slice(received.packet);
            return Ok(true);
        }
        Ok(false)
    }

    /// Counts a packet that was received and is given up, because its interface is not known (any more).
    pub const fn strayed(&mut self) {
        self.strayed = self.strayed.saturating_add(1);
    }

    /// Whether frames without IP are sent up ([`Content::Frame`]), as long as there are rules for
    /// them. Without, they pass untouched.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_filters_frames(&mut self, filters: bool) -> Result<(), Error> {
        if self.filters_frames != filters {
            self.program.set_filters_frames(filters).map_err(|source| {
                Error::kernel(
                    "cannot tell the BPF program of rules for frames",
                    source,
                    "start weighbridge again",
                )
            })?;
            self.filters_frames = filters;
        }
        Ok(())
    }

    /// Readable when [`Datapath::receive`] has something.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    /// Counters since the data path was opened.
    #[must_use]
    pub fn statistics(&self) -> DatapathStatistics {
        let queue_full = self.tap.queue_full(&self.connection);
        if let Err(error) = &queue_full {
            tracing::debug!(%error, "cannot read the TAP's counters");
        }
        let by_xdp = self.program.counter(Counter::RiddenByXdp);
        let ridden = self.program.counter(Counter::Ridden).saturating_add(by_xdp);
        DatapathStatistics {
            upcalls: self.program.counter(Counter::Upcalls),
            reinjected: self.program.counter(Counter::Reinjected),
            not_ip: self.program.counter(Counter::NotIp),
            upcall_failed: self.program.counter(Counter::UpcallFailed),
            queue_full: queue_full.unwrap_or_default(),
            decided: self.program.counter(Counter::Decided),
            refused: self.program.counter(Counter::Refused),
            invalid: self.invalid,
            oversized: self.oversized,
            strayed: self.strayed,
            not_sent: self.not_sent,
            // At both hooks.
            cached: (self.program.counter(Counter::Cached))
                .saturating_add(ridden.saturating_mul(2)),
            blocked: self.program.counter(Counter::Blocked),
            held_back: self.held_back(),
            fused: self.program.counter(Counter::Fused).saturating_add(ridden),
            by_xdp: self.program.counter(Counter::ByXdp).saturating_add(by_xdp),
            ridden,
        }
    }

    /// Packets of who had had his share of what comes up, so far.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.program.counter(Counter::HeldBack)
    }

    /// Bounds what comes up from one source and by one interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_upcall_shares(&mut self, shares: UpcallShares) -> Result<(), Error> {
        self.program.set_upcall_shares(shares).map_err(|source| {
            Error::kernel(
                "cannot tell the BPF program who may send how much up",
                source,
                "start weighbridge again",
            )
        })
    }

    /// Has the kernel ask a neighbour of an interface for its link-layer address (ARP, neighbor
    /// discovery), although it may know it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ask_neighbor(&self, interface: IfIndex, address: IpAddr) -> Result<(), Error> {
        let at = self.neighbours(interface);
        netlink::neighbor::ask(&self.connection, at.0, address)
            .map_err(|source| no_neighbor(address, source))
    }

    /// Whether a neighbour has answered since [`Datapath::ask_neighbor`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn neighbor_has_answered(
        &self,
        interface: IfIndex,
        address: IpAddr,
    ) -> Result<bool, Error> {
        let at = self.neighbours(interface);
        netlink::neighbor::has_answered(&self.connection, at.0, address)
            .map_err(|source| no_neighbor(address, source))
    }

    /// Number of the TAP device, which is nobody's interface to filter on.
    #[must_use]
    pub fn tap(&self) -> IfIndex {
        IfIndex(self.tap.index)
    }

    fn neighbours(&self, interface: IfIndex) -> IfIndex {
        self.attached
            .get(&interface)
            .map_or(interface, |attached| attached.neighbours)
    }
}

fn no_such_interface(interface: IfIndex, source: std::io::Error) -> Error {
    Error::kernel(
        format!("interface number {} cannot be filtered", interface.0),
        source,
        "`ip link` lists the interfaces of this machine",
    )
}

fn not_ethernet(name: &str) -> Error {
    Error::Conflict {
        what: format!("{name} has no Ethernet header: its packets cannot be filtered"),
        hint: "leave it out, or `set skip on` it",
    }
}

fn mtu_too_large(link: &Link) -> Error {
    Error::Conflict {
        what: format!(
            "{} has an MTU of {}: the largest that can be filtered is {MTU_MAX}",
            link.name, link.mtu
        ),
        hint: "lower it with `ip link set dev INTERFACE mtu 9000`, or leave the interface out",
    }
}

fn no_neighbor(address: IpAddr, source: std::io::Error) -> Error {
    Error::kernel(
        format!("cannot ask for neighbour {address}"),
        source,
        "its interface must be up and have an address",
    )
}

fn tap_gone(source: std::io::Error) -> Error {
    Error::kernel(
        "cannot read from the TAP device",
        source,
        "something removed the device; start weighbridge again",
    )
}
