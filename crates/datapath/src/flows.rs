//! The kernel's flow cache, as the engine has it filled and asks it: the user's side of
//! `bpf/flows.bpf.h`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, MapError, ProgramArray, RingBuf};
use aya::{Ebpf, Pod};
use pf_engine::flow::{
    Flow, FlowBasis, FlowCache, FlowChanged, FlowExit, FlowId, FlowKey, FlowOpened, FlowProgress,
};
use pf_engine::time::Instant;

use self::openings::Openings;
pub(crate) use self::openings::{FLOW_OPENINGS, FLOW_OPENINGS_MAX};
use crate::Error;
use crate::flows::lanes::{LANE_ENDS, LANE_OF_WAY, LANES, Lanes, NO_LANES};
use crate::flows::layout::{
    EndsV6Data, ExitData, KeyData, PlaceData, StateData, ends_v6_data, exit_data, key_data, sealed,
    state_data,
};
use crate::flows::reading::Reading;
use crate::program::{io_error, program};
use crate::sys::maps::{BatchMap, Stopped};
use crate::verifier::refused;

pub(crate) mod lanes;
mod layout;
mod openings;
mod reading;

/// States that the cache holds where nobody says how many (`FLOW_STATES_MAX` of
/// `bpf/flows.bpf.h`): some 56 MB of the kernel's memory, taken whether they come or not.
pub const FLOW_STATES_DEFAULT: u32 = 65_536;
/// States that it can be told to hold, at most: 1.5 GB.
pub const FLOW_STATES_LIMIT: u32 = 2_097_152;
/// Decisions without a state that it holds at most (`FLOW_DECISIONS_MAX`): some 12 MB. What blocks
/// has three quarters at most (`BLOCKING_MAX` of the engine).
const FLOW_DECISIONS_MAX: u32 = 32_768;

/// Bytes of what the kernel has to tell (`FLOW_CHANGES_LEN`): 65,536 changes of 16 bytes. When it
/// is full, packets that would change something come up.
const FLOW_CHANGES_LEN: u32 = 1 << 20;

pub(crate) const FLOWS: &str = "flows";
pub(crate) const FLOW_STATES: &str = "flow_states";
pub(crate) const FLOW_USES: &str = "flow_uses";
pub(crate) const FLOW_ENDS_V6: &str = "flow_ends_v6";
pub(crate) const FLOW_EXITS: &str = "flow_exits";
const FLOW_EPOCH: &str = "flow_epoch";
pub(crate) const FLOW_CHANGES: &str = "flow_changes";
const FAST_PATH: &str = "fast_path";

/// States of a cache that is not large.
const FLOW_STATES_FEW: u32 = 131_072;
/// How long what is learnt of a fused flow's way holds (`exit_lives`): two thirds of the least that the kernel
/// takes a neighbour for reachable without hearing of it (15 seconds: half of `base_reachable_time`, RFC 4861, 6.3.2).
const EXIT_LIVES_MIN: Duration = Duration::from_secs(10);
/// The same at most: a fifth of what a bridge remembers an address (300 seconds, IEEE 802.1D-2004, 7.9.2).
const EXIT_LIVES_MAX: Duration = Duration::from_mins(1);
/// Flows that ask the kernel again in a second, of as many as a cache for many has room for: one that is asked
/// costs what ten others do.
const EXITS_ASKED: u32 = 32_768;

/// Places that a lane may have (`LANES_IN_GROUP`).
const LANES_IN_GROUP: u32 = 8;

/// Beside a slot in [`FLOW_CHANGES`]: its lanes are meant.
const LANE_CHANGED: u32 = 1 << 31;
/// The same: both ends have closed the connection, most likely.
const FLOW_OVER: u32 = 1 << 30;

/// The programs by their index in `fast_path`: by direction, the one that makes lanes, the one that sends
/// out what has one, and by direction those that open connections.
const PROGRAMS: [&str; 6] = [
    "flow_in",
    "flow_out",
    "flow_pave",
    "flow_ride",
    "open_in",
    "open_out",
];

/// Those of them that open connections, and the one that makes lanes. The cache can do without, where a
/// kernel refuses them: some that have all else do not compare and exchange (arm64 before 5.18).
const OPENERS: [&str; 2] = ["open_in", "open_out"];
const PAVER: &str = "flow_pave";

/// Slots that one call writes or reads, at most: half a megabyte of states, and about a
/// millisecond.
const BATCH: usize = 4096;
/// `BPF_F_LOCK`: the value is read, or written, while no packet changes it.
const LOCKED: u64 = 4;

/// For how many flows there is room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    states: u32,
    decisions: u32,
}

impl Room {
    /// For so many states, and all decisions.
    pub(crate) const fn of(states: u32) -> Self {
        Self {
            states,
            decisions: FLOW_DECISIONS_MAX,
        }
    }

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

    pub(crate) const fn states(self) -> u32 {
        self.states
    }

    /// Lanes: a power of two, for every second state or somewhat more. Two states have one of each way, and
    /// never do all of them have both; fewer are in fewer pages, which is what finding one costs. Where no
    /// processor remembers so many pages anyway there is one for each state: of groups that are nearly full
    /// all places are looked at, and one in seven flows finds none.
    pub(crate) fn lanes(self) -> u32 {
        if self.decisions == 0 {
            return 1;
        }
        let wanted = if self.states <= FLOW_STATES_FEW {
            self.states.div_ceil(2)
        } else {
            self.states
        };
        wanted.next_power_of_two().max(LANES_IN_GROUP)
    }

    /// How long what is learnt of a way holds.
    pub(crate) fn exit_lives(self) -> Duration {
        let seconds = self.states.div_ceil(EXITS_ASKED);
        Duration::from_secs(seconds.into()).clamp(EXIT_LIVES_MIN, EXIT_LIVES_MAX)
    }

    pub(crate) const fn openings(self) -> u32 {
        if self.decisions == 0 {
            1
        } else {
            FLOW_OPENINGS_MAX
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
    keys: BatchMap<KeyData, PlaceData>,
    states: BatchMap<u32, StateData>,
    uses: BatchMap<u32, u64>,
    /// Of translated IPv6 alone.
    ends_v6: BatchMap<u32, EndsV6Data>,
    exits: Array<MapData, ExitData>,
    lanes: Lanes,
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
    openings: Openings,
    /// Bytes of the kernel's.
    memory: u64,
    /// The kernel's monotonic clock at the engine's time origin may lie before its own beginning:
    /// so much is added to the kernel's times.
    ahead: Duration,
}

/// What is in a slot: the keys that lead there, what it is in use for, and when its last packet came.
/// Keys of an epoch that is over stay until the slot is used again: so much is there to be removed
/// of a cache that was full that it would hold up packets.
#[derive(Clone, Debug, Default)]
struct Slot {
    keys: [Option<KeyData>; 2],
    usage: u64,
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
        let loaded = load(ebpf)?;
        let opens = OPENERS.iter().all(|name| loaded.contains(name));
        let memory = memory_of(ebpf);
        let slots = array_of::<StateData>(ebpf, FLOW_STATES)?.len();
        let decisions = FLOW_DECISIONS_MAX.min(slots / 2);
        let of_states = slots.saturating_sub(decisions);
        let mut maps = Self {
            keys: BatchMap::of_hash(map_of(ebpf, FLOWS)?).map_err(unusable)?,
            states: BatchMap::of_array(map_of(ebpf, FLOW_STATES)?).map_err(unusable)?,
            uses: BatchMap::of_array(map_of(ebpf, FLOW_USES)?).map_err(unusable)?,
            ends_v6: BatchMap::of_hash(map_of(ebpf, FLOW_ENDS_V6)?).map_err(unusable)?,
            lanes: Lanes::open(ebpf).map_err(unusable)?,
            flows: taken(ebpf, FLOWS)?,
            exits: taken(ebpf, FLOW_EXITS)?,
            epoch_in_force: taken(ebpf, FLOW_EPOCH)?,
            changes: taken(ebpf, FLOW_CHANGES)?,
            programs: taken(ebpf, FAST_PATH)?,
            epoch: 0,
            puts: 0,
            slots: [Slots::new(0, of_states), Slots::new(of_states, decisions)],
            openings: Openings::of(ebpf, if opens { of_states } else { 0 })?,
            memory,
            ahead: now.0.since_origin().saturating_sub(now.1),
        };
        maps.suspend();
        let is_used = |name: &str| loaded.contains(&name) && (opens || !OPENERS.contains(&name));
        for (index, name) in (0..).zip(PROGRAMS).filter(|(_, name)| is_used(name)) {
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

    fn slot(&self, slot: u32) -> Option<&Slot> {
        let mut slots = self.slots.iter();
        slots.find(|slots| slots.has(slot))?.get(slot)
    }

    /// The exit first: a packet that finds the key must find it.
    fn try_lead(
        &mut self,
        slot: u32,
        way: usize,
        key: &FlowKey,
        exit: &FlowExit,
    ) -> Result<(), MapError> {
        let use_of = |slot| self.slot(slot).map(|entry| entry.usage);
        let own = use_of(slot).ok_or(MapError::KeyNotFound)?;
        let place = u64::from(slot) << 1 | u64::from(way > 0);
        let then = match exit.then {
            None => [0; 2],
            Some((then, way)) => [
                use_of(then.0).ok_or(MapError::KeyNotFound)?,
                u64::from(then.0) << 1 | u64::from(way > 0),
            ],
        };
        let data = exit_data(own, then, exit).ok_or(MapError::KeyNotFound)?;
        let at = u32::try_from(place).map_err(|_| MapError::KeyNotFound)?;
        self.exits.set(at, data, 0)?;
        let key = key_data(key);
        self.flows.insert(key, [sealed(own, &key), place], 0)?;
        if let Some(entry) = self.slot_mut(slot)
            && let Some(known) = entry.keys.get_mut(way)
        {
            *known = Some(key);
        }
        Ok(())
    }

    fn put_some(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>> {
        let slots: Vec<_> = flows
            .iter()
            .map(|flow| self.free_slot(flow.basis))
            .collect();
        let placed = slots.iter().zip(flows);
        let placed: Vec<_> = placed
            .filter_map(|(slot, flow)| Some(((*slot)?, flow)))
            .collect();
        self.clear(placed.iter().map(|(slot, _)| *slot));
        let refused = self.fill(&placed);
        let held = |slot: u32| (!refused.contains(&slot)).then_some(FlowId(slot));
        slots.into_iter().map(|slot| slot.and_then(held)).collect()
    }

    /// Removes what an epoch of before has left of the keys of these slots.
    fn clear(&mut self, slots: impl Iterator<Item = u32>) {
        let mut left = Vec::new();
        for slot in slots {
            let Some(entry) = self.slot_mut(slot) else {
                continue;
            };
            let (keys, usage) = (std::mem::take(&mut entry.keys), entry.usage);
            // Another flow may have got the same key since.
            let mut is_left = |key: &KeyData| {
                let place = self.flows.get(key, 0);
                place.is_ok_and(|[of, _]| sealed(of, key) == usage)
            };
            left.extend(keys.into_iter().flatten().filter(&mut is_left));
        }
        self.keys.delete_all(&left);
    }

    /// Fills slots that no packet can reach yet, then lets packets reach them. Returns those that
    /// could not be: they are free again.
    fn fill(&mut self, placed: &[(u32, &Flow)]) -> BTreeSet<u32> {
        let mut refused = self.lay(placed);
        let slots = placed.iter().map(|(slot, _)| *slot);
        let whole: Vec<u32> = slots.filter(|slot| !refused.contains(slot)).collect();
        refused.extend(self.let_pass(&whole));
        let closed: Vec<u32> = refused.iter().copied().collect();
        self.close(&closed);
        for slot in closed {
            self.lanes.end(slot);
            self.free(slot);
        }
        refused
    }

    /// Writes states and the keys that lead to them. Their packets come up until it is said what their
    /// slots are in use for: so none has passed by one key when there is no room for the other.
    /// Returns the slots of which that is so.
    fn lay(&mut self, placed: &[(u32, &Flow)]) -> BTreeSet<u32> {
        let slots: Vec<u32> = placed.iter().map(|(slot, _)| *slot).collect();
        let mut states = Vec::new();
        let (mut keys, mut targets) = (Vec::new(), Vec::new());
        for (slot, flow) in placed {
            // Whatever an earlier flow has left there.
            self.lanes.end(*slot);
            let entry = self.entry(flow);
            for (way, key) in (0..).zip(entry.keys) {
                let place = u64::from(*slot) << 1 | way;
                targets.extend(key.map(|key| [sealed(entry.usage, &key), place]));
                keys.extend(key);
            }
            states.push(state_data(flow, entry.refreshed));
            if let Some(known) = self.slot_mut(*slot) {
                *known = entry;
            }
        }
        // With the lock: a packet that comes by what it knew of a slot before must not see its
        // use without all of its state.
        let written = self.states.update(&slots, &states, LOCKED);
        match written.and_then(|()| self.add_ends_v6(placed)) {
            Ok(()) => self.add_keys(&keys, &targets),
            Err(Stopped { error, .. }) => {
                tracing::warn!(%error, "flows cannot be put into the cache");
                slots.into_iter().collect()
            }
        }
    }

    /// From now on the packets of these slots pass. Returns those of which it cannot be said.
    fn let_pass(&self, slots: &[u32]) -> BTreeSet<u32> {
        let usage = |slot: &u32| self.slot(*slot).map_or(0, |entry| entry.usage);
        let uses: Vec<u64> = slots.iter().map(usage).collect();
        match self.uses.update(slots, &uses, 0) {
            Ok(()) => BTreeSet::new(),
            Err(Stopped { at, error }) => {
                tracing::warn!(%error, "flows cannot be put into the cache");
                slots.iter().skip(at).copied().collect()
            }
        }
    }

    /// What translated IPv6 packets become, for slots that no packet can reach yet.
    fn add_ends_v6(&self, placed: &[(u32, &Flow)]) -> Result<(), Stopped> {
        let ends = |(slot, flow): &(u32, &Flow)| Some((*slot, ends_v6_data(flow)?));
        let (slots, ends): (Vec<u32>, Vec<EndsV6Data>) = placed.iter().filter_map(ends).unzip();
        self.ends_v6.update(&slots, &ends, 0)
    }

    fn entry(&mut self, flow: &Flow) -> Slot {
        self.puts = self.puts.wrapping_add(1);
        Slot {
            keys: flow.keys.map(|key| key.as_ref().map(key_data)),
            usage: u64::from(self.puts) << 32 | u64::from(self.epoch),
            refreshed: self.kernel_time(flow.refreshed),
        }
    }

    /// Lets packets with these keys reach these places. Returns the slots of which one cannot be
    /// reached.
    fn add_keys(&self, mut keys: &[KeyData], mut places: &[PlaceData]) -> BTreeSet<u32> {
        let mut refused = BTreeSet::new();
        while let Err(stopped) = self.keys.update(keys, places, 0) {
            tracing::debug!(error = %stopped.error, "a flow has no room for its key");
            let place = places.get(stopped.at).map(|[_, way]| way >> 1);
            refused.extend(place.and_then(|slot| u32::try_from(slot).ok()));
            let next = stopped.at.saturating_add(1);
            keys = keys.get(next..).unwrap_or_default();
            places = places.get(next..).unwrap_or_default();
        }
        refused
    }

    /// Lets no packet reach slots any more. Those of an epoch that is over none can reach.
    fn close(&mut self, slots: &[u32]) {
        let in_force = u64::from(self.epoch);
        let is_open = |slot: &u32| {
            let entry = self.slot(*slot);
            entry.is_some_and(|entry| entry.usage & u64::from(u32::MAX) == in_force)
        };
        let open: Vec<u32> = slots.iter().copied().filter(is_open).collect();
        // Without it the keys alone go, and packets that are just looked at are not counted.
        if let Err(stopped) = self.uses.update(&open, &vec![0; open.len()], 0) {
            tracing::warn!(error = %stopped.error, "flows of the cache cannot be ended");
        }
        let mut keys = Vec::new();
        for slot in open {
            if let Some(entry) = self.slot_mut(slot) {
                keys.extend(std::mem::take(&mut entry.keys).into_iter().flatten());
            }
        }
        self.keys.delete_all(&keys);
    }
}

/// Nothing passes by what nobody has any more.
impl Drop for FlowMaps {
    fn drop(&mut self) {
        self.suspend();
    }
}

impl FlowCache for FlowMaps {
    fn put_all(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>> {
        let chunks = flows.chunks(BATCH);
        chunks.flat_map(|flows| self.put_some(flows)).collect()
    }

    fn lead(&mut self, flow: FlowId, way: usize, key: &FlowKey, exit: &FlowExit) -> bool {
        let led = self.try_lead(flow.0, way, key, exit);
        if let Err(error) = &led {
            tracing::debug!(%error, "a flow's exit cannot be told");
        }
        led.is_ok()
    }

    fn read_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        let readings = self.readings(flows).into_iter().zip(flows);
        let told = readings.map(|(Reading { mut progress, .. }, flow)| {
            self.add_ridden(&mut progress, self.lanes.read(flow.0));
            progress
        });
        told.collect()
    }

    fn take_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        let slots: Vec<u32> = flows.iter().map(|flow| flow.0).collect();
        self.close(&slots);
        let mut last = self.last_readings(flows);
        // Behind the reading under the locks: no lane is made of these any more.
        for (reading, slot) in last.iter_mut().zip(slots) {
            let ridden = self.lanes.end(slot);
            self.add_ridden(&mut reading.progress, ridden);
            if !reading.is_undecided {
                self.free(slot);
            }
        }
        last.into_iter().map(|reading| reading.progress).collect()
    }

    fn changed(&mut self) -> Vec<FlowChanged> {
        self.take_changed()
    }

    fn offer(&mut self, key: &FlowKey, lifetime: Duration) -> bool {
        self.offer_opening(key, lifetime)
    }

    fn withdraw(&mut self, keys: &[FlowKey]) {
        self.withdraw_openings(keys);
    }

    fn opened(&mut self) -> Vec<FlowOpened> {
        self.take_opened()
    }

    fn opened_max(&self) -> u32 {
        self.openings.max()
    }

    fn suspend(&mut self) -> bool {
        // 0 stands for slots that nothing is in.
        let next = self.epoch.wrapping_add(1).max(1);
        let is_done = self.epoch_in_force.set(0, next, 0);
        match &is_done {
            Ok(()) => self.epoch = next,
            Err(error) => tracing::warn!(%error, "the flow cache cannot be emptied at once"),
        }
        is_done.is_ok()
    }

    fn states_max(&self) -> u32 {
        let [of_states, _] = &self.slots;
        of_states.len
    }

    fn memory(&self) -> u64 {
        self.memory
    }
}

/// What the kernel's monotonic clock says, in nanoseconds, as the engine has it.
const fn engine_time(nanoseconds: u64, ahead: Duration) -> Instant {
    Instant::from_origin(ahead.saturating_add(Duration::from_nanos(nanoseconds)))
}

/// Loads the programs of the cache. Returns those that the kernel takes.
fn load(ebpf: &mut Ebpf) -> Result<Vec<&'static str>, Error> {
    let mut loaded = Vec::new();
    for name in PROGRAMS {
        match program(ebpf, name)?.load().map_err(refused) {
            Ok(()) => loaded.push(name),
            Err(error) if OPENERS.contains(&name) => {
                tracing::warn!(%error, "each connection's first packets come up");
            }
            Err(error) if name == PAVER => tracing::warn!(%error, "{NO_LANES}"),
            Err(error) => return Err(unusable(error)),
        }
    }
    Ok(loaded)
}

fn map_of<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Map, Error> {
    let map = ebpf.map(name);
    map.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))
}

fn array_of<'a, V: Pod>(ebpf: &'a Ebpf, name: &str) -> Result<Array<&'a MapData, V>, Error> {
    let array = map_of(ebpf, name)?.try_into();
    array.map_err(|error: MapError| unusable(io_error(error)))
}

/// Bytes that the cache's maps take in the kernel, as it says itself; they do not change, because
/// all room is taken when the maps are made.
fn memory_of(ebpf: &Ebpf) -> u64 {
    let of_map = |name| {
        let (Map::HashMap(data) | Map::Array(data)) = ebpf.map(name)? else {
            return None;
        };
        let fd = data.fd().as_fd().as_raw_fd();
        let told = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let line = told.lines().find_map(|line| line.strip_prefix("memlock:"));
        line?.trim().parse::<u64>().ok()
    };
    let maps = [
        FLOWS,
        FLOW_STATES,
        FLOW_USES,
        FLOW_EXITS,
        LANES,
        LANE_ENDS,
        LANE_OF_WAY,
        FLOW_OPENINGS,
    ];
    maps.into_iter().filter_map(of_map).sum()
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

#[cfg(test)]
mod tests;
