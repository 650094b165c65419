//! Connections that the kernel opens itself: the user's side of `bpf/open.bpf.h`.

use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use pf_engine::decision::{EtherAddresses, Hook, Packet};
use pf_engine::env::IfIndex;
use pf_engine::flow::{FlowChanged, FlowId, FlowKey, FlowOpened};
use pf_engine::rule::Direction;

use super::layout::{KeyData, get_u32, get_u64, key_data, put};
use super::{FLOW_OVER, FlowMaps, LANE_CHANGED, Slot, engine_time, map_of, taken, unusable};
use crate::Error;
use crate::sys::maps::BatchMap;

pub(crate) const FLOW_OPENINGS: &str = "flow_openings";
/// What can be offered at a time (`FLOW_OPENINGS_MAX`).
pub(crate) const FLOW_OPENINGS_MAX: u32 = 4096;
const FLOW_GRANTS: &str = "flow_grants";
const FLOW_GRANTED: &str = "flow_granted";
/// Places for grants.
const GRANTS: u32 = 4096;
/// Slots that the kernel has for connections that it opens, at most: as many as it may open until
/// the daemon looks the next time, at 50,000 a second, twice over.
const GRANTED_MAX: u32 = 2048;
/// Of all slots of states it has one in so many.
const GRANTED_SHARE: u32 = 16;
/// Where it could have less it has none.
const GRANTED_LEAST: u32 = 16;

/// `struct opening`.
type OpeningData = [u8; 16];
/// `struct grant`.
type GrantData = [u32; 2];

/// Bytes of `struct opened`, and where its parts begin.
const OPENED_LEN: usize = 184;
const WHEN_AT: usize = 8;
const KEY_AT: usize = 16;
const SLOT_AT: usize = 72;
const RECEIVED_ON_AT: usize = 76;
const LEN_AT: usize = 80;
const USED_AT: usize = 82;
const PACKET_AT: usize = 84;

/// What the kernel may open, with what, and what it has told.
pub(super) struct Openings {
    offers: HashMap<MapData, KeyData, OpeningData>,
    keys: BatchMap<KeyData, OpeningData>,
    grants: BatchMap<u32, GrantData>,
    granted: Array<MapData, u32>,
    /// Slots that were granted so far, and those that were told back.
    given: u32,
    told: u32,
    max: u32,
    is_used: bool,
    opened: Vec<FlowOpened>,
    changed: Vec<FlowChanged>,
}

impl Openings {
    pub(super) fn of(ebpf: &mut Ebpf, states: u32) -> Result<Self, Error> {
        let max = (states / GRANTED_SHARE).min(GRANTED_MAX);
        Ok(Self {
            keys: BatchMap::of_hash(map_of(ebpf, FLOW_OPENINGS)?).map_err(unusable)?,
            grants: BatchMap::of_array(map_of(ebpf, FLOW_GRANTS)?).map_err(unusable)?,
            offers: taken(ebpf, FLOW_OPENINGS)?,
            granted: taken(ebpf, FLOW_GRANTED)?,
            given: 0,
            told: 0,
            max: if max < GRANTED_LEAST { 0 } else { max },
            is_used: false,
            opened: Vec::new(),
            changed: Vec::new(),
        })
    }

    pub(super) const fn max(&self) -> u32 {
        self.max
    }
}

/// What the kernel has told.
enum Told {
    Changed(FlowChanged),
    /// A slot whose lanes are meant.
    Lane(u32),
    /// The flow and the use of its slot; nothing of a slot that nothing has come of.
    Opened(u32, Option<Box<(Slot, FlowOpened)>>),
}

impl FlowMaps {
    pub(super) fn offer_opening(&mut self, key: &FlowKey, lifetime: Duration) -> bool {
        if self.openings.max == 0 {
            return false;
        }
        let lifetime = u64::try_from(lifetime.as_nanos()).unwrap_or(u64::MAX);
        let mut data = OpeningData::default();
        put(&mut data, 0, &self.epoch.to_ne_bytes());
        put(&mut data, 8, &lifetime.to_ne_bytes());
        if let Err(error) = self.openings.offers.insert(key_data(key), data, 0) {
            tracing::debug!(%error, "an opening has no room");
            return false;
        }
        self.openings.is_used = true;
        self.grant();
        true
    }

    pub(super) fn withdraw_openings(&self, keys: &[FlowKey]) {
        let keys: Vec<KeyData> = keys.iter().map(key_data).collect();
        self.openings.keys.delete_all(&keys);
    }

    /// All that the kernel has told.
    pub(super) fn take_opened(&mut self) -> Vec<FlowOpened> {
        while self.hear() {}
        if self.openings.is_used {
            self.grant();
        }
        std::mem::take(&mut self.openings.opened)
    }

    /// Changes, but for those behind a connection that was opened and is not taken yet.
    pub(super) fn take_changed(&mut self) -> Vec<FlowChanged> {
        while self.openings.opened.is_empty() && self.hear() {}
        std::mem::take(&mut self.openings.changed)
    }

    /// The next that the kernel has told; false if there is none.
    fn hear(&mut self) -> bool {
        let told = match self.changes.next() {
            Some(item) => told(&item, self.ahead),
            None => return false,
        };
        match told {
            Some(Told::Changed(changed)) => self.openings.changed.push(changed),
            Some(Told::Lane(slot)) => self.lanes.look_after(slot),
            Some(Told::Opened(slot, used)) => {
                self.openings.told = self.openings.told.wrapping_add(1);
                self.note_opened(slot, used.map(|used| *used));
            }
            None => {}
        }
        true
    }

    fn note_opened(&mut self, slot: u32, used: Option<(Slot, FlowOpened)>) {
        let Some((entry, opened)) = used else {
            self.free(slot);
            return;
        };
        if let Some(known) = self.slot_mut(slot) {
            *known = entry;
            self.openings.opened.push(opened);
        }
    }

    /// Gives the kernel as many slots as it may have.
    fn grant(&mut self) {
        let given = self.openings.given;
        let lacks = self.openings.max - given.wrapping_sub(self.openings.told);
        if lacks < self.openings.max / 4 {
            return;
        }
        let [of_states, _] = &mut self.slots;
        let slots: Vec<u32> = (0..lacks).map_while(|_| of_states.take()).collect();
        self.clear(slots.iter().copied());
        let mut number = self.puts;
        let data: Vec<GrantData> = slots
            .iter()
            .map(|slot| {
                number = number.wrapping_add(1);
                [*slot, number]
            })
            .collect();
        self.puts = number;
        let places: Vec<u32> = (given..).zip(&slots).map(|(at, _)| at % GRANTS).collect();
        let count = u32::try_from(slots.len()).unwrap_or_default();
        let next = given.wrapping_add(count);
        let written = self.openings.grants.update(&places, &data, 0);
        let written = written.map_err(|stopped| stopped.error);
        let set = written.and_then(|()| {
            let set = self.openings.granted.set(0, next, 0);
            set.map_err(std::io::Error::other)
        });
        match set {
            Ok(()) => self.openings.given = next,
            Err(error) => {
                tracing::warn!(%error, "the kernel cannot be told what it may open");
                for slot in slots {
                    self.free(slot);
                }
            }
        }
    }
}

fn told(item: &[u8], ahead: Duration) -> Option<Told> {
    if item.len() < OPENED_LEN {
        let slot = item.first_chunk().map(|slot| u32::from_ne_bytes(*slot))?;
        return Some(if slot & LANE_CHANGED == 0 {
            Told::Changed(FlowChanged {
                flow: FlowId(slot & !FLOW_OVER),
                is_over: slot & FLOW_OVER != 0,
            })
        } else {
            Told::Lane(slot & !LANE_CHANGED)
        });
    }
    let slot = get_u32(item, SLOT_AT);
    let is_used = item.get(USED_AT).is_some_and(|used| *used != 0);
    let opened = is_used.then(|| opened(item, slot, ahead)).flatten();
    Some(Told::Opened(slot, opened.map(Box::new)))
}

fn opened(item: &[u8], slot: u32, ahead: Duration) -> Option<(Slot, FlowOpened)> {
    let key: KeyData = *item.get(KEY_AT..)?.first_chunk()?;
    let when = get_u64(item, WHEN_AT);
    let len = usize::from(u16::from_ne_bytes(*item.get(LEN_AT..)?.first_chunk()?));
    let packet = item.get(PACKET_AT..)?.get(..len)?;
    let received_on = get_u32(item, RECEIVED_ON_AT);
    let entry = Slot {
        keys: [Some(key), Some(turned(&key))],
        usage: get_u64(item, 0),
        refreshed: when,
    };
    let opened = FlowOpened {
        flow: FlowId(slot),
        hook: hook_of(&key),
        packet: Packet {
            bytes: packet.to_vec(),
            ether: Some(ether_of(&key)?),
            received_on: (received_on != 0).then_some(IfIndex(received_on)),
            priority: None,
        },
        at: engine_time(when, ahead),
    };
    Some((entry, opened))
}

fn hook_of(key: &KeyData) -> Hook {
    let direction = match key.get(4) {
        Some(0) => Direction::In,
        Some(_) | None => Direction::Out,
    };
    Hook {
        interface: IfIndex(get_u32(key, 0)),
        direction,
    }
}

fn ether_of(key: &KeyData) -> Option<EtherAddresses> {
    Some(EtherAddresses {
        destination: *key.get(12..)?.first_chunk()?,
        source: *key.get(18..)?.first_chunk()?,
    })
}

/// `turn` of `bpf/open.bpf.h`.
fn turned(key: &KeyData) -> KeyData {
    let mut turned = *key;
    let other = u8::from(key.get(4) == Some(&0));
    put(&mut turned, 4, &[other]);
    for (from, to, len) in [
        (8, 10, 2),
        (10, 8, 2),
        (12, 18, 6),
        (18, 12, 6),
        (24, 40, 16),
        (40, 24, 16),
    ] {
        put(
            &mut turned,
            to,
            key.get(from..from + len).unwrap_or_default(),
        );
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_answers_has_both_ends_and_the_direction_turned() {
        let mut key: KeyData = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
        put(&mut key, 4, &[0]);
        let answers = turned(&key);
        assert_eq!(answers[4], 1);
        assert_eq!(answers[8..12], [10, 11, 8, 9]);
        assert_eq!(
            answers[12..24],
            [18, 19, 20, 21, 22, 23, 12, 13, 14, 15, 16, 17]
        );
        assert_eq!((answers[24], answers[40]), (40, 24));
        assert_eq!(turned(&answers), key);
    }
}
