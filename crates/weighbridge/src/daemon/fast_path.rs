//! The flow cache: the one that weighbridge.toml asks for, or else what kernel and machine are good for.

use std::os::fd::OwnedFd;

use anyhow::Result;
use datapath::{Datapath, DatapathConfig, FLOW_STATES_DEFAULT, FastPath};
use pf_engine::engine::Engine;
use tracing::warn;

use super::clock::Clock;
use crate::config::{FLOW_CACHE_MIN, Settings};
use crate::memory;

/// Where nobody says how large the cache is its states take one of so many bytes of the memory.
const MEMORY_SHARE: u64 = 16;
/// Bytes of the kernel's for each of them, at most (docs/performance.md).
const BYTES_OF_STATE: u64 = 700;

/// Opens the data path. A kernel that does not take the cache goes without, unless it or its room was
/// asked for.
pub(super) fn open(settings: &Settings) -> Result<Datapath, datapath::Error> {
    let with = |fast_path| {
        Datapath::open(&DatapathConfig {
            tap: settings.tap.clone(),
            policy: settings.fail_policy,
            fast_path,
            flow_states: states(settings),
        })
    };
    let wanted = settings.fast_path.clone().unwrap_or(FastPath::On);
    with(wanted).or_else(|refused| {
        if is_asked_for(settings) {
            return Err(refused);
        }
        let datapath = with(FastPath::Off)?;
        tell(&refused);
        Ok(datapath)
    })
}

/// Lets the kernel repeat what the engine decides. Returns what tells of connections that went on
/// there.
pub(super) fn begin(
    settings: &Settings,
    engine: &mut Engine,
    datapath: &mut Datapath,
    clock: &Clock,
) -> Result<Option<OwnedFd>> {
    if !datapath.has_room_for_flows() {
        return Ok(None);
    }
    let flows = match datapath.open_flows(clock.now()) {
        Ok(flows) => flows,
        Err(refused) if !is_asked_for(settings) => {
            tell(&refused);
            return Ok(None);
        }
        Err(refused) => return Err(refused.into()),
    };
    let changes = flows.fd().try_clone_to_owned()?;
    engine.set_flow_cache(Box::new(flows));
    Ok(Some(changes))
}

fn tell(refused: &datapath::Error) {
    warn!("each packet comes up, as with fast-path = \"off\": {refused}");
}

const fn is_asked_for(settings: &Settings) -> bool {
    settings.fast_path.is_some() || settings.flow_cache.is_some()
}

fn states(settings: &Settings) -> u32 {
    settings
        .flow_cache
        .unwrap_or_else(|| suited(memory::of_machine()))
}

/// States for a machine of so many bytes of memory.
fn suited(memory: Option<u64>) -> u32 {
    let states = memory.map(|bytes| bytes / MEMORY_SHARE / BYTES_OF_STATE);
    let states = states.and_then(|states| u32::try_from(states).ok());
    let states = states.unwrap_or(FLOW_STATES_DEFAULT);
    states.clamp(FLOW_CACHE_MIN, FLOW_STATES_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_has_a_small_cache() {
        const MEBIBYTE: u64 = 1 << 20;
        assert_eq!(suited(Some(24 << 30)), FLOW_STATES_DEFAULT);
        assert_eq!(suited(Some(1 << 30)), FLOW_STATES_DEFAULT);
        assert_eq!(suited(Some(256 * MEBIBYTE)), 23_967);
        assert_eq!(suited(Some(MEBIBYTE)), FLOW_CACHE_MIN);
        assert_eq!(suited(None), FLOW_STATES_DEFAULT);
    }
}
