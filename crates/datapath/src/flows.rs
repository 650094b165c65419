//! The kernel's flow cache, as the engine has it filled and asks it: the user's side of
//! `bpf/flows.bpf.h`, whose layouts are repeated here.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray, RingBuf};
use pf_engine::counters::Count;
use pf_engine::flow::{Flow, FlowBasis, FlowCache, FlowId, FlowKey, FlowProgress, FlowWindow};
use pf_engine::rule::Direction;
use pf_engine::time::Instant;

use crate::Error;
use crate::program::{io_error, program};

/// States that the cache holds at most (`FLOW_STATES_MAX`): some 35 MB of the kernel's memory.
const FLOW_STATES_MAX: u32 = 65_536;
/// Decisions without a state that it holds at most (`FLOW_DECISIONS_MAX`): some 6 MB. What blocks
/// and what passes have half each (`BLOCKING_MAX` of the engine).
const FLOW_DECISIONS_MAX: u32 = 16_384;

/// Bytes of what the kernel has to tell (`FLOW_CHANGES_LEN`): 65,536 changes of 16 bytes. When it
/// is full, packets that would change something come up.
const FLOW_CHANGES_LEN: u32 = 1 << 20;

pub(crate) const FLOWS: &str = "flows";
pub(crate) const FLOW_STATES: &str = "flow_states";
pub(crate) const FLOW_USES: &str = "flow_uses";
pub(crate) const FLOW_EXITS: &str = "flow_exits";
const FLOW_EPOCH: &str = "flow_epoch";
pub(crate) const FLOW_CHANGES: &str = "flow_changes";
const FAST_PATH: &str = "fast_path";

/// The programs by their index in `fast_path`, which is the direction.
const PROGRAMS: [&str; 2] = ["flow_in", "flow_out"];

/// `BPF_F_LOCK`: the value is read, or written, while no packet changes it.
const LOCKED: u64 = 4;

/// `struct flow_key`.
type KeyData = [u8; 56];
/// `struct flow_place`.
type PlaceData = [u64; 2];
/// `struct flow_state`.
type StateData = [u8; STATE_LEN];

const STATE_LEN: usize = 128;
const HAS_WINDOWS_AT: usize = 4;
const LIFETIME_AT: usize = 8;
const LAST_AT: usize = 16;
const TRAFFIC_AT: usize = 24;
const PEERS_AT: usize = 56;
const PEER_LEN: usize = 16;
const ENDS_AT: usize = 88;
const ENDS_LEN: usize = 16;
/// `enum act`.
const TRANSLATE: u32 = 1;
const DROP: u32 = 2;

/// For how many flows there is room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    states: u32,
    decisions: u32,
}

impl Room {
    pub(crate) const FULL: Self = Self {
        states: FLOW_STATES_MAX,
        decisions: FLOW_DECISIONS_MAX,
    };
    /// As little as maps can have: the cache is off.
    pub(crate) const NONE: Self = Self {
        states: 1,
        decisions: 0,
    };

    /// Keys that lead to them: a state has two.
    pub(crate) const fn keys(self) -> u32 {
        self.states.saturating_mul(2).saturating_add(self.decisions)
    }

    /// Bytes for changes: a page at least.
    pub(crate) const fn changes(self) -> u32 {
        if self.decisions == 0 {
            4096
        } else {
            FLOW_CHANGES_LEN
        }
    }

    pub(crate) const fn slots(self) -> u32 {
        self.states.saturating_add(self.decisions)
    }
}

/// Slots for flows of one sort, from `first` on.
#[derive(Debug)]
struct Slots {
    first: u32,
    len: u32,
    /// Those that were used once.
    used: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    const fn new(first: u32, len: u32) -> Self {
        Self {
            first,
            len,
            used: Vec::new(),
            free: Vec::new(),
        }
    }

    const fn has(&self, slot: u32) -> bool {
        slot >= self.first && slot - self.first < self.len
    }

    /// A slot that nothing is in.
    fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let next = u32::try_from(self.used.len()).ok()?;
        if next >= self.len {
            return None;
        }
        self.used.push(Slot::default());
        Some(self.first.saturating_add(next))
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        let at = slot.checked_sub(self.first)?;
        self.used.get_mut(at as usize)
    }

    fn get(&self, slot: u32) -> Option<&Slot> {
        let at = slot.checked_sub(self.first)?;
        self.used.get(at as usize)
    }
}

/// The maps of the cache. What is put in lasts until it is taken, or the daemon ends.
pub struct FlowMaps {
    flows: HashMap<MapData, KeyData, PlaceData>,
    states: Array<MapData, StateData>,
    uses: Array<MapData, u64>,
    epoch_in_force: Array<MapData, u32>,
    changes: RingBuf<MapData>,
    /// Which programs look flows up. Their descriptor must stay open: when it is closed the
    /// kernel takes the programs out.
    programs: ProgramArray<MapData>,
    epoch: u32,
    /// Tells what is put from what was put before.
    puts: u32,
    /// Of states, then of decisions without one.
    slots: [Slots; 2],
    /// The kernel's monotonic clock at the engine's time origin may lie before its own beginning:
    /// so much is added to the kernel's times.
    ahead: Duration,
}

/// What is in a slot: the keys that lead there, and when its last packet came.
#[derive(Clone, Debug, Default)]
struct Slot {
    keys: [Option<KeyData>; 2],
    refreshed: u64,
}

impl fmt::Debug for FlowMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowMaps")
            .field("epoch", &self.epoch)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl FlowMaps {
    /// Loads the programs of the cache and puts them into force. `now` is the engine's time and
    /// the kernel's.
    pub(crate) fn open(ebpf: &mut Ebpf, now: (Instant, Duration)) -> Result<Self, Error> {
        for name in PROGRAMS {
            let loaded = program(ebpf, name)?.load();
            loaded.map_err(|error| unusable(io_error(error)))?;
        }
        let states: Array<_, StateData> = taken(ebpf, FLOW_STATES)?;
        let decisions = FLOW_DECISIONS_MAX.min(states.len() / 2);
        let of_states = states.len().saturating_sub(decisions);
        let mut maps = Self {
            flows: taken(ebpf, FLOWS)?,
            states,
            uses: taken(ebpf, FLOW_USES)?,
            epoch_in_force: taken(ebpf, FLOW_EPOCH)?,
            changes: taken(ebpf, FLOW_CHANGES)?,
            programs: taken(ebpf, FAST_PATH)?,
            epoch: 0,
            puts: 0,
            slots: [Slots::new(0, of_states), Slots::new(of_states, decisions)],
            ahead: now.0.since_origin().saturating_sub(now.1),
        };
        maps.suspend();
        for (index, name) in (0..).zip(PROGRAMS) {
            let program = program(ebpf, name)?;
            let fd = program.fd().map_err(|error| unusable(io_error(error)))?;
            let set = maps.programs.set(index, fd, 0);
            set.map_err(|error| unusable(io_error(error)))?;
        }
        Ok(maps)
    }

    /// Readable when [`FlowCache::changed`] has something to tell.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// A slot that nothing is in.
    fn free_slot(&mut self, basis: FlowBasis) -> Option<u32> {
        let [of_states, of_decisions] = &mut self.slots;
        match basis {
            FlowBasis::State => of_states.take(),
            FlowBasis::Pass | FlowBasis::Block => of_decisions.take(),
        }
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        let mut slots = self.slots.iter_mut();
        slots.find(|slots| slots.has(slot))?.get_mut(slot)
    }

    /// Nothing is in the slot any more.
    fn free(&mut self, slot: u32) {
        if let Some(slots) = self.slots.iter_mut().find(|slots| slots.has(slot)) {
            slots.free.push(slot);
        }
    }

    fn kernel_time(&self, at: Instant) -> u64 {
        let time = at.since_origin().saturating_sub(self.ahead);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Fills a slot that no packet can reach yet, then lets packets reach it.
    fn fill(&mut self, slot: u32, state: &StateData, keys: &[Option<KeyData>; 2]) -> bool {
        self.puts = self.puts.wrapping_add(1);
        let slot_use = u64::from(self.puts) << 32 | u64::from(self.epoch);
        // With the lock: a packet that comes by what it knew of the slot before must not see this
        // use without all of this state.
        if self.states.set(slot, state, LOCKED).is_err()
            || self.uses.set(slot, slot_use, 0).is_err()
        {
            return false;
        }
        (0..).zip(keys).all(|(way, key)| {
            let place = [slot_use, u64::from(slot) << 1 | way];
            let key = key.as_ref();
            key.is_none_or(|key| self.flows.insert(key, place, 0).is_ok())
        })
    }

    /// Lets no packet reach a slot any more.
    fn close(&mut self, slot: u32) {
        // Without it the keys alone go, and packets that are just looked at are not counted.
        let closed = self.uses.set(slot, 0, 0);
        let entry = self.slot_mut(slot);
        let keys = entry.map(|entry| std::mem::take(&mut entry.keys));
        for key in keys.into_iter().flatten().flatten() {
            if let Err(error) = self.flows.remove(&key) {
                tracing::debug!(%error, "a flow's key was gone already");
            }
        }
        if let Err(error) = closed {
            tracing::warn!(%error, "a flow of the cache cannot be ended");
        }
    }

    fn progress(&self, slot: u32) -> FlowProgress {
        let Ok(data) = self.states.get(&slot, LOCKED) else {
            return FlowProgress::default();
        };
        let counts = [0, 16].map(|at| Count {
            packets: get_u64(&data, TRAFFIC_AT + at),
            bytes: get_u64(&data, TRAFFIC_AT + at + 8),
        });
        let has_windows = get_u32(&data, HAS_WINDOWS_AT) != 0;
        let windows = [0, PEER_LEN].map(|at| window(&data, PEERS_AT + at));
        let last = get_u64(&data, LAST_AT);
        let mut slots = self.slots.iter();
        let before = slots.find_map(|slots| slots.get(slot));
        let before = before.map(|slot| slot.refreshed);
        let refreshed = Instant::from_origin(self.ahead.saturating_add(Duration::from_nanos(last)));
        FlowProgress {
            counts,
            windows: has_windows.then_some(windows),
            refreshed: (before != Some(last)).then_some(refreshed),
        }
    }
}

impl FlowCache for FlowMaps {
    fn put(&mut self, flow: &Flow) -> Option<FlowId> {
        let translated = flow.becomes.iter().flatten();
        if translated.into_iter().any(|ends| ends.0.address.is_ipv6()) {
            return None;
        }
        let slot = self.free_slot(flow.basis)?;
        let keys = flow.keys.map(|key| key.as_ref().map(key_data));
        let refreshed = self.kernel_time(flow.refreshed);
        let state = state_data(flow, refreshed);
        let filled = self.fill(slot, &state, &keys);
        if let Some(entry) = self.slot_mut(slot) {
            *entry = Slot { keys, refreshed };
        }
        if !filled {
            self.close(slot);
            self.free(slot);
            return None;
        }
        Some(FlowId(slot))
    }

    fn read(&mut self, flow: FlowId) -> FlowProgress {
        self.progress(flow.0)
    }

    fn take(&mut self, flow: FlowId) -> FlowProgress {
        self.close(flow.0);
        let progress = self.progress(flow.0);
        self.free(flow.0);
        progress
    }

    fn changed(&mut self) -> Vec<FlowId> {
        let mut changed = Vec::new();
        while let Some(item) = self.changes.next() {
            let slot = item.first_chunk().map(|slot| u32::from_ne_bytes(*slot));
            changed.extend(slot.map(FlowId));
        }
        changed
    }

    fn suspend(&mut self) {
        // 0 stands for slots that nothing is in.
        self.epoch = self.epoch.wrapping_add(1).max(1);
        if let Err(error) = self.epoch_in_force.set(0, self.epoch, 0) {
            tracing::warn!(%error, "the flow cache cannot be emptied at once");
        }
    }
}

fn taken<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &str) -> Result<T, Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.take_map(name);
    let map = map.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))?;
    map.try_into()
        .map_err(|error: T::Error| unusable(io_error(error)))
}

fn unusable(source: io::Error) -> Error {
    Error::kernel(
        "the kernel does not take the flow cache",
        source,
        "set fast-path = \"off\" in weighbridge.toml",
    )
}

fn key_data(key: &FlowKey) -> KeyData {
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

fn state_data(flow: &Flow, refreshed: u64) -> StateData {
    let mut data = [0; STATE_LEN];
    let lifetime = u64::try_from(flow.lifetime.as_nanos()).unwrap_or(u64::MAX);
    let has_windows = u32::from(flow.windows.is_some());
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
            put_address(&mut data, at, source.address);
            put_address(&mut data, at + 4, destination.address);
            put(&mut data, at + 8, &source.port.to_be_bytes());
            put(&mut data, at + 10, &destination.port.to_be_bytes());
            put(&mut data, at + 12, &TRANSLATE.to_ne_bytes());
        }
        if flow.basis == FlowBasis::Block {
            put(&mut data, at + 12, &DROP.to_ne_bytes());
        }
    }
    data
}

/// `struct peer`.
fn window(data: &[u8], at: usize) -> FlowWindow {
    let byte = |at: usize| data.get(at).copied().unwrap_or_default();
    FlowWindow {
        seq_lo: get_u32(data, at),
        seq_hi: get_u32(data, at + 4),
        max_win: get_u32(data, at + 8),
        scale: byte(at + 13).checked_sub(1),
        state: byte(at + 14),
    }
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
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

fn get_u32(data: &[u8], at: usize) -> u32 {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn get_u64(data: &[u8], at: usize) -> u64 {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

const _: () = assert!(ENDS_AT + 2 * ENDS_LEN + size_of::<u64>() == STATE_LEN);

#[cfg(test)]
mod tests;
