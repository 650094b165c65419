//! What the kernel says of flows, so far or for the last time.

use std::thread;

use pf_engine::counters::Count;
use pf_engine::flow::{FlowId, FlowProgress};

use super::lanes::Ridden;
use super::layout::{
    HAS_WINDOWS_AT, LAST_AT, PEER_LEN, PEERS_AT, STATE_LEN, StateData, TRAFFIC_AT, UNDECIDED_AT,
    get_u16, get_u64, window,
};
use super::{BATCH, FlowMaps, LOCKED, engine_time};

/// Slots that are read along although nobody asks, between two that are asked for: a call costs as
/// much as some of them.
const GAP: u32 = 8;

/// How often a flow is read that a packet is just on its way through, at most: some 50 ms. The packet takes
/// microseconds, unless whoever runs this machine has stopped its CPU.
const UNDECIDED_TRIES: u32 = 50_000;

/// What the kernel says of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) progress: FlowProgress,
    /// A packet has passed, if the state where it leaves lets it pass.
    pub(super) is_undecided: bool,
}

impl FlowMaps {
    /// What became of flows that no packet reaches any more. Those that are on their way through one
    /// are waited for.
    pub(super) fn last_readings(&self, flows: &[FlowId]) -> Vec<Reading> {
        let mut last = self.readings(flows);
        for _ in 0..UNDECIDED_TRIES {
            let undecided = (0..).zip(&last).filter(|(_, reading)| reading.is_undecided);
            let undecided: Vec<usize> = undecided.map(|(at, _)| at).collect();
            if undecided.is_empty() {
                return last;
            }
            thread::yield_now();
            let asked: Vec<FlowId> = undecided
                .iter()
                .filter_map(|at| flows.get(*at).copied())
                .collect();
            for (at, now) in undecided.into_iter().zip(self.readings(&asked)) {
                if let Some(reading) = last.get_mut(at) {
                    *reading = now;
                }
            }
        }
        tracing::warn!("a packet does not leave the kernel's program: its flow's slot is given up");
        last
    }

    /// What became of flows so far, in their order. Neighbours are read together.
    pub(super) fn readings(&self, flows: &[FlowId]) -> Vec<Reading> {
        let mut told = vec![Reading::default(); flows.len()];
        let mut wanted: Vec<_> = flows.iter().map(|flow| flow.0).zip(0..).collect();
        wanted.sort_unstable();
        let runs = wanted.chunk_by(|one, next| next.0.saturating_sub(one.0) <= GAP);
        for run in runs.flat_map(|run| run.chunks(BATCH / GAP as usize)) {
            let data = self.read_run(run);
            for ((slot, at), data) in run.iter().zip(data) {
                if let Some(told) = told.get_mut::<usize>(*at) {
                    *told = self.told(*slot, &data);
                }
            }
        }
        told
    }

    /// The states of a run of slots; nothing, and a line in the log, if the kernel does not tell.
    fn read_run(&self, run: &[(u32, usize)]) -> Vec<StateData> {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
            return Vec::new();
        };
        let at = |slot: u32| slot.saturating_sub(*first) as usize;
        let mut values = vec![[0; STATE_LEN]; at(*last).saturating_add(1)];
        if let Err(error) = self.states.read(*first, &mut values, LOCKED) {
            tracing::warn!(%error, "flows of the cache cannot be read");
            return Vec::new();
        }
        let of_run = run.iter().filter_map(|(slot, _)| values.get(at(*slot)));
        of_run.copied().collect()
    }

    fn told(&self, slot: u32, data: &StateData) -> Reading {
        let counts = [0, 16].map(|at| Count {
            packets: get_u64(data, TRAFFIC_AT + at),
            bytes: get_u64(data, TRAFFIC_AT + at + 8),
        });
        let has_windows = get_u16(data, HAS_WINDOWS_AT) != 0;
        let windows = [0, PEER_LEN].map(|at| window(data, PEERS_AT + at));
        let last = get_u64(data, LAST_AT);
        let before = self.slot(slot).map(|slot| slot.refreshed);
        let refreshed = engine_time(last, self.ahead);
        let progress = FlowProgress {
            counts,
            windows: has_windows.then_some(windows),
            refreshed: (before != Some(last)).then_some(refreshed),
        };
        Reading {
            progress,
            is_undecided: get_u16(data, UNDECIDED_AT) != 0,
        }
    }

    /// What a flow has passed by its lanes as well.
    pub(super) fn add_ridden(&self, told: &mut FlowProgress, ridden: [Ridden; 2]) {
        for (count, ridden) in told.counts.iter_mut().zip(ridden) {
            count.add(ridden.count);
            if ridden.last > 0 {
                let last = engine_time(ridden.last, self.ahead);
                told.refreshed = told.refreshed.max(Some(last));
            }
        }
    }
}
