//! What the maps of the flow cache hold, byte by byte: the structures of `bpf/flows.bpf.h`.

use std::net::IpAddr;

use pf_engine::decision::Exit;
use pf_engine::flow::{Flow, FlowBasis, FlowExit, FlowKey, FlowWindow};
use pf_engine::rule::Direction;

use crate::frame::{AF_INET, AF_INET6};

/// `struct flow_key`.
pub(super) type KeyData = [u8; 56];
/// `struct flow_place`, whose use is [`sealed`].
pub(super) type PlaceData = [u64; 2];
/// `struct exit`.
pub(super) type ExitData = [u8; 64];
/// `struct ends_v6`.
pub(super) type EndsV6Data = [u8; 2 * ENDS_V6_LEN];
/// `struct flow_state`.
pub(super) type StateData = [u8; STATE_LEN];

pub(super) const STATE_LEN: usize = 128;
pub(super) const HAS_WINDOWS_AT: usize = 4;
pub(super) const UNDECIDED_AT: usize = 6;
const LIFETIME_AT: usize = 8;
pub(super) const LAST_AT: usize = 16;
pub(super) const TRAFFIC_AT: usize = 24;
pub(super) const PEERS_AT: usize = 56;
pub(super) const PEER_LEN: usize = 16;
const ENDS_AT: usize = 88;
const ENDS_LEN: usize = 16;
/// `struct addresses_v6`.
const ENDS_V6_LEN: usize = 32;
const SHIFTS_AT: usize = ENDS_AT + 2 * ENDS_LEN;
const EXIT_NEXT_HOP_AT: usize = 24;
const EXIT_FAMILY_AT: usize = 40;
const EXIT_INTERFACE_AT: usize = 44;
const EXIT_ETHER_AT: usize = 48;
const EXIT_LONGEST_AT: usize = 60;
/// `enum told`.
const BY_WIRE: u8 = 1;
const BY_GATEWAY: u8 = 2;
/// `enum act`.
const TRANSLATE: u32 = 1;
const DROP: u32 = 2;

pub(super) fn key_data(key: &FlowKey) -> KeyData {
    let mut data = [0; size_of::<KeyData>()];
    let direction = match key.hook.direction {
        Direction::In => 0,
        Direction::Out => 1,
    };
    let family = if key.source.address.is_ipv4() { 4 } else { 6 };
    put(&mut data, 0, &key.hook.interface.0.to_ne_bytes());
    let opens = u8::from(key.opens);
    put(&mut data, 4, &[direction, family, key.protocol.0, opens]);
    put(&mut data, 8, &key.source.port.to_be_bytes());
    put(&mut data, 10, &key.destination.port.to_be_bytes());
    put(&mut data, 12, &key.ether.destination);
    put(&mut data, 18, &key.ether.source);
    put_address(&mut data, 24, key.source.address);
    put_address(&mut data, 40, key.destination.address);
    data
}

/// As in `seal`.
const SEAL_FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

/// The use of a slot as it stands beside `key` in the map of flows: only packets with this key get it back. The
/// same takes the seal off.
pub(super) fn sealed(usage: u64, key: &KeyData) -> u64 {
    let mut hashes = [0u64; 2];
    for (at, word) in key.chunks_exact(size_of::<u64>()).enumerate() {
        let (Some(hash), Some(factor)) = (hashes.get_mut(at & 1), SEAL_FACTORS.get(at & 1)) else {
            continue;
        };
        *hash = (*hash ^ get_u64(word, 0)).wrapping_mul(*factor);
        *hash ^= *hash >> 32;
    }
    let [even, odd] = hashes;
    usage ^ (even ^ odd) << 32
}

/// Nothing for an exit that is not told.
pub(super) fn exit_data(own: u64, then: [u64; 2], exit: &FlowExit) -> Option<ExitData> {
    let mut data = [0; size_of::<ExitData>()];
    let longest = u16::try_from(exit.mtu).unwrap_or(u16::MAX);
    put(&mut data, 0, &own.to_ne_bytes());
    put(&mut data, 8, &then.map(u64::to_ne_bytes).concat());
    put(&mut data, EXIT_LONGEST_AT, &longest.to_ne_bytes());
    let told = match exit.exit {
        Exit::Wire { interface, ether } => {
            put(&mut data, EXIT_INTERFACE_AT, &interface.0.to_ne_bytes());
            put(&mut data, EXIT_ETHER_AT, &ether.destination);
            put(&mut data, EXIT_ETHER_AT + 6, &ether.source);
            BY_WIRE
        }
        Exit::Gateway {
            interface,
            next_hop,
        } => {
            put(&mut data, EXIT_INTERFACE_AT, &interface.0.to_ne_bytes());
            put(&mut data, EXIT_FAMILY_AT, &family(next_hop).to_ne_bytes());
            put_address(&mut data, EXIT_NEXT_HOP_AT, next_hop);
            BY_GATEWAY
        }
        Exit::Continue | Exit::Socket(_) | Exit::Bridge { .. } => return None,
    };
    put(&mut data, EXIT_LONGEST_AT + 2, &[exit.hops, told]);
    Some(data)
}

const fn family(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

pub(super) fn state_data(flow: &Flow, refreshed: u64) -> StateData {
    let mut data = [0; STATE_LEN];
    let lifetime = u64::try_from(flow.lifetime.as_nanos()).unwrap_or(u64::MAX);
    let has_windows = u16::from(flow.windows.is_some());
    put(&mut data, HAS_WINDOWS_AT, &has_windows.to_ne_bytes());
    put(&mut data, LIFETIME_AT, &lifetime.to_ne_bytes());
    put(&mut data, LAST_AT, &refreshed.to_ne_bytes());
    let windows = flow.windows.unwrap_or_default();
    let both_scale = windows.iter().all(|window| window.scale.is_some());
    for (at, window) in (PEERS_AT..).step_by(PEER_LEN).zip(windows) {
        put(&mut data, at, &window.seq_lo.to_ne_bytes());
        put(&mut data, at + 4, &window.seq_hi.to_ne_bytes());
        put(&mut data, at + 8, &window.max_win.to_ne_bytes());
        let holds = window.scale.filter(|_| both_scale).unwrap_or(0);
        let offers = window.scale.map_or(0, |scale| scale.saturating_add(1));
        put(&mut data, at + 12, &[holds, offers, window.state]);
    }
    for (at, ends) in (ENDS_AT..).step_by(ENDS_LEN).zip(flow.becomes) {
        if let Some((source, destination)) = ends {
            if source.address.is_ipv4() {
                put_address(&mut data, at, source.address);
                put_address(&mut data, at + 4, destination.address);
            }
            put(&mut data, at + 8, &source.port.to_be_bytes());
            put(&mut data, at + 10, &destination.port.to_be_bytes());
            put(&mut data, at + 12, &TRANSLATE.to_ne_bytes());
        }
        if flow.basis == FlowBasis::Block {
            put(&mut data, at + 12, &DROP.to_ne_bytes());
        }
    }
    put(
        &mut data,
        SHIFTS_AT,
        &flow.shifts.map(u32::to_ne_bytes).concat(),
    );
    data
}

/// What translated IPv6 packets become; nothing of a flow without.
pub(super) fn ends_v6_data(flow: &Flow) -> Option<EndsV6Data> {
    let mut data = [0; size_of::<EndsV6Data>()];
    let mut is_v6 = false;
    for (at, ends) in (0..).step_by(ENDS_V6_LEN).zip(flow.becomes) {
        let Some((source, destination)) = ends.filter(|ends| ends.0.address.is_ipv6()) else {
            continue;
        };
        put_address(&mut data, at, source.address);
        put_address(&mut data, at + 16, destination.address);
        is_v6 = true;
    }
    is_v6.then_some(data)
}

/// `struct peer`.
pub(super) fn window(data: &[u8], at: usize) -> FlowWindow {
    let byte = |at: usize| data.get(at).copied().unwrap_or_default();
    FlowWindow {
        seq_lo: get_u32(data, at),
        seq_hi: get_u32(data, at + 4),
        max_win: get_u32(data, at + 8),
        scale: byte(at + 13).checked_sub(1),
        state: byte(at + 14),
    }
}

pub(super) fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in data.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn put_address(data: &mut [u8], at: usize, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(data, at, &address.octets()),
        IpAddr::V6(address) => put(data, at, &address.octets()),
    }
}

pub(super) fn get_u16(data: &[u8], at: usize) -> u16 {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

pub(super) fn get_u32(data: &[u8], at: usize) -> u32 {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

pub(super) fn get_u64(data: &[u8], at: usize) -> u64 {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

const _: () = assert!(SHIFTS_AT + 2 * size_of::<u32>() == STATE_LEN);
