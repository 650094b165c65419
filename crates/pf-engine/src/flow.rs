//! What a flow cache is told, and what it tells: the seam to whoever repeats the engine's
//! decisions about packets of states, and those that it made without (`datapath` does so in the
//! kernel).
//!
//! A cache decides nothing. It passes packets that agree with a [`FlowKey`] in every field, as they
//! are or translated, as long as the state lives and, for TCP, its windows take them; it drops those
//! of flows that are blocked; everything else, and
//! whatever it is not sure of, comes to the engine. What it has passed it tells when it is asked,
//! so that states, windows and counters are then as if the engine had seen each packet.

use std::fmt::Debug;
use std::time::Duration;

use crate::addr::Protocol;
use crate::counters::Count;
use crate::decision::{EtherAddresses, Exit, Hook, Packet};
use crate::rule::tcp_flags;
use crate::time::Instant;
use crate::view::HostPort;

/// What all packets of a flow have in common at a hook. They are whole, without IP options or
/// extension headers; TCP segments have ACK and not URG, and at most one of SYN, FIN and RST, or of
/// these five and PSH SYN alone; their urgent pointer and reserved bits are zero, and their port is
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Where they meet the filter.
    pub hook: Hook,
    /// Addresses of their frames.
    pub ether: EtherAddresses,
    /// TCP, UDP, or ICMP and ICMPv6 echo.
    pub protocol: Protocol,
    /// They are TCP segments with SYN.
    pub opens: bool,
    /// Their source. Of an echo request the port is its identifier, of an answer the type of
    /// the request.
    pub source: HostPort,
    /// Their destination. Of an echo request the port is its type, of an answer the identifier.
    pub destination: HostPort,
}

/// What is known of one end of a connection (PF's `pf_state_peer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowWindow {
    /// Highest sequence number sent.
    pub seq_lo: u32,
    /// Highest that the other end acknowledged, and its window.
    pub seq_hi: u32,
    /// Largest window it announced, not scaled.
    pub max_win: u32,
    /// The window scale that its SYN announced; it holds if both have one (RFC 7323, section 1.3).
    pub scale: Option<u8>,
    /// How far it is: PF's number of its state (`TCPS_…` of BSD's `tcp_fsm.h`).
    pub state: u8,
}

/// TCP flags that a [`FlowKey`] tells: all that make a segment plain, or one that opens a
/// connection.
pub const FLAGS_IN_KEY: u8 =
    tcp_flags::FIN | tcp_flags::SYN | tcp_flags::RST | tcp_flags::ACK | tcp_flags::URG;

/// What the packets of a flow are decided by, and what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowBasis {
    /// By a state: they pass.
    #[default]
    State,
    /// By rules alone: they pass.
    Pass,
    /// By rules alone: they are dropped.
    Block,
}

/// Packets that a cache may decide about: those of a state, or those that rules decide alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What they are decided by. Flows without a state have the first key alone.
    pub basis: FlowBasis,
    /// Of the packets of its opener, and of the others; nothing for those that it may not pass.
    pub keys: [Option<FlowKey>; 2],
    /// The ends that these packets have behind their translation, if there is one: of the same family.
    pub becomes: [Option<(HostPort, HostPort)>; 2],
    /// Of the opener and of the other end, if it is a TCP connection.
    pub windows: Option<[FlowWindow; 2]>,
    /// What is added to the sequence numbers of the opener and of the other end on the way (`modulate
    /// state`), and taken off where they are acknowledged, SACK included. Windows are in their
    /// sender's own count. 0 where nothing is.
    pub shifts: [u32; 2],
    /// When its last packet came.
    pub refreshed: Instant,
    /// How long it lives behind its last packet.
    pub lifetime: Duration,
}

/// How packets of one way of a flow leave, where the engine routes them: counted by both flows and
/// translated by both, each as it says of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowExit {
    /// [`Exit::Gateway`] or [`Exit::Wire`].
    pub exit: Exit,
    /// The flow and the way of it by which they pass where they leave, if a state was asked there.
    pub then: Option<(FlowId, usize)>,
    /// TTL or hop limit that they lose, 0 or 1. Those that have no more are for the engine.
    pub hops: u8,
    /// Longest packet in bytes. Longer ones are for the engine.
    pub mtu: u32,
}

/// What the packets of a flow have done since it was put into the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowProgress {
    /// Packets and bytes by the keys of [`Flow::keys`].
    pub counts: [Count; 2],
    /// The windows now; nothing of a flow without.
    pub windows: Option<[FlowWindow; 2]>,
    /// When the last packet came; nothing if none has come.
    pub refreshed: Option<Instant>,
}

/// A connection that a cache has opened by what it was offered ([`FlowCache::offer`]): it holds the
/// flow as if the engine had put it in behind the SYN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowOpened {
    /// By what it knows the flow.
    pub flow: FlowId,
    /// Where the SYN met the filter.
    pub hook: Hook,
    /// The SYN, which has passed as it came.
    pub packet: Packet,
    /// When it did.
    pub at: Instant,
}

/// By what a cache knows a flow that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u32);

/// A flow in which an end of the connection has gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowChanged {
    /// Which.
    pub flow: FlowId,
    /// Both ends have closed the connection, most likely: few packets follow, if any.
    pub is_over: bool,
}

/// A cache of decisions. What is asked for many flows at once costs less than for each.
pub trait FlowCache: Debug + Send {
    /// Takes flows up; for each, in their order, nothing where there is no room.
    fn put_all(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>>;

    /// Packets with `key` pass by this way of `flow`, and leave by `exit`, as long as both flows
    /// are there. False if it cannot have that: then they are for the engine.
    fn lead(&mut self, flow: FlowId, way: usize, key: &FlowKey, exit: &FlowExit) -> bool {
        let _ = (flow, way, key, exit);
        false
    }

    /// What became of flows so far, in their order. They stay.
    fn read_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress>;

    /// Ends flows: no packet passes by them any more, and what is told, in their order, is final.
    fn take_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress>;

    /// Flows in which an end of the connection has gone from one state to another, as far as they
    /// were not told yet; some may be there more than once, or taken already. Of flows that it has
    /// opened it tells when [`FlowCache::opened`] has told those.
    fn changed(&mut self) -> Vec<FlowChanged>;

    /// From now on a SYN without payload that agrees with `key` but for the port of its source,
    /// which is 0 there, passes and opens a flow of both ways that lives so long behind its last
    /// packet, if there is none with its key. Each is told. False if the cache cannot do that.
    fn offer(&mut self, key: &FlowKey, lifetime: Duration) -> bool {
        let _ = (key, lifetime);
        false
    }

    /// No more are opened by these offers.
    fn withdraw(&mut self, keys: &[FlowKey]) {
        let _ = keys;
    }

    /// Connections that were opened since this was asked last, in their order.
    fn opened(&mut self) -> Vec<FlowOpened> {
        Vec::new()
    }

    /// How many it may open before they are told; none if it has no offers.
    fn opened_max(&self) -> u32 {
        0
    }

    /// No packet passes by any flow that was put before, and all offers are over. Each flow is still
    /// to be taken. False if that cannot be had at once.
    fn suspend(&mut self) -> bool;

    /// States that it has room for.
    fn states_max(&self) -> u32;

    /// Bytes that it takes, full or not.
    fn memory(&self) -> u64;

    /// Takes one flow up.
    fn put(&mut self, flow: &Flow) -> Option<FlowId> {
        let put = self.put_all(std::slice::from_ref(flow));
        put.into_iter().next().flatten()
    }

    /// What became of one flow so far.
    fn read(&mut self, flow: FlowId) -> FlowProgress {
        let told = self.read_all(&[flow]);
        told.into_iter().next().unwrap_or_default()
    }

    /// Ends one flow.
    fn take(&mut self, flow: FlowId) -> FlowProgress {
        let told = self.take_all(&[flow]);
        told.into_iter().next().unwrap_or_default()
    }
}

/// What a cache has done for the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStatistics {
    /// States that are in the cache now, or were until it was emptied and are not made up for.
    pub held: usize,
    /// Decisions without a state that are.
    pub decisions: usize,
    /// Flows that were put into it, or that it has opened.
    pub put: u64,
    /// Those that it has opened.
    pub opened: u64,
    /// Flows that were taken out of it: for a packet that the engine had to see, or with their
    /// state.
    pub taken: u64,
    /// How often it was emptied: for a new ruleset, another table, other interfaces and the like.
    pub emptied: u64,
    /// Flows for which there was no room.
    pub refused: u64,
    /// Packets that it has passed, as far as they have been told.
    pub packets: u64,
    /// Packets that it has dropped, as far as they have been told.
    pub blocked: u64,
    /// Packets that the engine has decided about.
    pub decided: u64,
}
