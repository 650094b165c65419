//! Lanes of fused flows: the user's side of `bpf/lane.bpf.h`. The kernel makes them, and counts datagrams
//! there that it does not count at their two states; they end here, with a state.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use aya::Ebpf;
use pf_engine::counters::Count;

use crate::sys::shared::SharedArray;

pub(crate) const LANES: &str = "lanes";
pub(crate) const LANE_ENDS: &str = "lane_ends";
pub(crate) const LANE_OF_WAY: &str = "lane_of_way";
/// What is lost where the kernel does not take them.
pub(crate) const NO_LANES: &str = "fused datagrams go by their two states, without lanes";

/// `struct lane` and `struct lane_end`, in words.
type LaneData = [u64; 8];
const WORDS: usize = size_of::<LaneData>() / size_of::<u64>();

/// Where `struct lane` has its figures, when its last packet passed and, in the second half, whether it has
/// ended, and `struct lane_end` both ways, in words.
const COUNT_AT: usize = 0;
const LAST_AT: usize = 1;
const UNTIL_AT: usize = 5;
const WAYS_AT: usize = 0;

/// What `count` says (`LANE_IS_…`).
const IS_OPEN: u64 = 1 << 63;
const IS_CLAIMED: u64 = 1 << 62;
const IS_GIVEN_UP: u64 = 1 << 61;
const PACKETS_SHIFT: u32 = 36;
const PACKETS_MASK: u64 = (1 << 20) - 1;
const BYTES_MASK: u64 = (1 << PACKETS_SHIFT) - 1;

/// Packets that are left in a lane when somebody asks (half of `LANE_NOTICE`): taking them makes the next
/// packet's cache miss.
const LEFT_MAX: u64 = 1 << 16;

/// What a way of a state has passed by lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ridden {
    pub(super) count: Count,
    /// When the last of them came, on the kernel's clock; 0 for never.
    pub(super) last: u64,
}

impl Ridden {
    fn add(&mut self, other: Self) {
        self.count.add(other.count);
        self.last = self.last.max(other.last);
    }
}

/// The lanes, and what was taken from them for states that stay.
#[derive(Debug)]
pub(super) struct Lanes {
    table: SharedArray,
    ends: SharedArray,
    of_way: SharedArray,
    /// By way.
    taken: BTreeMap<u32, Ridden>,
}

impl Lanes {
    pub(super) fn open(ebpf: &Ebpf) -> io::Result<Self> {
        let map = |name| ebpf.map(name).ok_or(io::ErrorKind::NotFound);
        Ok(Self {
            table: SharedArray::of::<LaneData>(map(LANES)?)?,
            ends: SharedArray::of::<LaneData>(map(LANE_ENDS)?)?,
            of_way: SharedArray::of::<u64>(map(LANE_OF_WAY)?)?,
            taken: BTreeMap::new(),
        })
    }

    /// What a slot's ways have passed so far.
    pub(super) fn read(&self, slot: u32) -> [Ridden; 2] {
        ways(slot).map(|way| {
            let mut ridden = self.taken.get(&way).copied().unwrap_or_default();
            if let Some(lane) = self.lane_of(way) {
                ridden.add(self.figures(lane, self.load(lane, COUNT_AT)));
            }
            ridden
        })
    }

    /// Ends the lanes of a slot that no packet reaches any more. What they have passed is final.
    pub(super) fn end(&mut self, slot: u32) -> [Ridden; 2] {
        ways(slot).map(|way| {
            if let Some(lane) = self.lane_of(way) {
                self.close(lane);
            }
            self.taken.remove(&way).unwrap_or_default()
        })
    }

    /// Takes from the lanes of a slot what they have counted, and ends those whose way is another by now.
    pub(super) fn look_after(&mut self, slot: u32) {
        for way in ways(slot) {
            let Some(lane) = self.lane_of(way) else {
                continue;
            };
            let [_, until] = halves(self.load(lane, UNTIL_AT));
            if until == 0 {
                self.close(lane);
            } else {
                self.drain(lane);
            }
        }
    }

    /// Takes what has been counted, if it is much.
    fn drain(&mut self, lane: usize) {
        let Some(word) = word(&self.table, lane, COUNT_AT) else {
            return;
        };
        let count = word.load(Acquire);
        let counted = count & (PACKETS_MASK << PACKETS_SHIFT | BYTES_MASK);
        if count & IS_OPEN == 0 || counted >> PACKETS_SHIFT < LEFT_MAX {
            return;
        }
        word.fetch_sub(counted, AcqRel);
        let ridden = self.figures(lane, count);
        self.credit(self.ways_of(lane), ridden);
    }

    /// Nobody counts there any more. Others may have the place only when nothing of it is needed.
    fn close(&mut self, lane: usize) {
        let ways = self.ways_of(lane);
        let Some(word) = word(&self.table, lane, COUNT_AT) else {
            return;
        };
        let give_up = |count: u64| match count {
            0 => None,
            // Whoever fills it frees it when he cannot open it.
            claimed if claimed & IS_CLAIMED != 0 => Some(claimed | IS_GIVEN_UP),
            _ => Some(IS_GIVEN_UP),
        };
        let count = word.fetch_update(AcqRel, Acquire, give_up).unwrap_or(0);
        let ridden = self.figures(lane, count);
        self.credit(ways, ridden);
        let number = u64::try_from(lane).map_or(0, |lane| lane.saturating_add(1));
        for way in ways {
            if let Some(of_way) = self.of_way.words().get(way as usize) {
                // It may have another by now; then that stays.
                let _ = of_way.compare_exchange(number, 0, AcqRel, Relaxed);
            }
        }
        if count & IS_OPEN != 0
            && let Some(word) = self::word(&self.table, lane, COUNT_AT)
        {
            word.store(0, Release);
        }
    }

    /// Both states of a lane have passed what it has.
    fn credit(&mut self, ways: [u32; 2], ridden: Ridden) {
        if ridden == Ridden::default() {
            return;
        }
        for way in ways {
            self.taken.entry(way).or_default().add(ridden);
        }
    }

    fn figures(&self, lane: usize, count: u64) -> Ridden {
        if count & IS_OPEN == 0 {
            return Ridden::default();
        }
        let packets = count >> PACKETS_SHIFT & PACKETS_MASK;
        Ridden {
            count: Count {
                packets,
                bytes: count & BYTES_MASK,
            },
            last: self.load(lane, LAST_AT),
        }
    }

    /// The lane of a way, if it has one.
    fn lane_of(&self, way: u32) -> Option<usize> {
        let number = self.of_way.words().get(way as usize)?.load(Acquire);
        let lane = usize::try_from(number.checked_sub(1)?).ok()?;
        self.ways_of(lane).contains(&way).then_some(lane)
    }

    fn ways_of(&self, lane: usize) -> [u32; 2] {
        let ways = word(&self.ends, lane, WAYS_AT).map_or(0, |word| word.load(Acquire));
        halves(ways)
    }

    fn load(&self, lane: usize, at: usize) -> u64 {
        word(&self.table, lane, at).map_or(0, |word| word.load(Acquire))
    }
}

/// The first and the second of two numbers that lie in a word.
fn halves(word: u64) -> [u32; 2] {
    let bytes = word.to_ne_bytes();
    let half = |half: Option<&[u8; 4]>| half.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    [half(bytes.first_chunk()), half(bytes.last_chunk())]
}

/// Both ways of a slot.
const fn ways(slot: u32) -> [u32; 2] {
    let way = slot.wrapping_mul(2);
    [way, way | 1]
}

fn word(array: &SharedArray, lane: usize, at: usize) -> Option<&AtomicU64> {
    array.words().get(lane.checked_mul(WORDS)?.checked_add(at)?)
}
