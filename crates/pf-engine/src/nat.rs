//! Network address translation: which port is free, which port a redirection leads to.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::addr::Protocol;
use crate::pool::CompiledPool;
use crate::rule::{PoolPorts, PortMatch};

/// Ports that NAT takes if the rule names none (pf.conf(5), TRANSLATION; PF's
/// `PF_NAT_PROXY_PORT_LOW` and `_HIGH`).
pub(crate) const NAT_PORTS: (u16, u16) = (50_001, 65_535);

/// Identifiers that NAT takes for pings.
const ECHO_IDS: (u16, u16) = (1, 65_535);

/// Which source ports a translation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// The packet's own.
    Keep,
    /// One of these, both included.
    Range(u16, u16),
}

impl Ports {
    /// The choice that a pool leaves to a packet. `is_echo`: it is an ICMP echo request.
    pub(crate) fn of(pool: &CompiledPool, protocol: Protocol, is_echo: bool) -> Self {
        if is_echo {
            return Self::Range(ECHO_IDS.0, ECHO_IDS.1);
        }
        if pool.static_port || !protocol.has_ports() {
            return Self::Keep;
        }
        match pool.ports {
            None => Self::Range(NAT_PORTS.0, NAT_PORTS.1),
            Some(PoolPorts::Single(port) | PoolPorts::Offset(port)) => Self::Range(port, port),
            Some(PoolPorts::Range(low, high)) => Self::Range(low.min(high), low.max(high)),
        }
    }

    /// A free port. Starts at a random one, goes up to the end, then down: every port is tried
    /// at most once.
    pub(crate) fn find(
        self,
        own: u16,
        random: &mut dyn FnMut() -> u32,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        match self {
            Self::Keep => is_free(own).then_some(own),
            Self::Range(low, high) => {
                let start = draw(low, high, random);
                (start..=high)
                    .chain((low..start).rev())
                    .find(|port| is_free(*port))
            }
        }
    }
}

/// A random number from `low` to `high`, both included.
fn draw(low: u16, high: u16, random: &mut dyn FnMut() -> u32) -> u16 {
    let span = u32::from(high.saturating_sub(low)).wrapping_add(1);
    let step = random().checked_rem(span).unwrap_or(0);
    low.saturating_add(u16::try_from(step).unwrap_or(0))
}

/// The port that `rdr` leads `port` to. `matched` is the rule's `port` of the destination.
pub(crate) fn redirected_port(
    pool: Option<PoolPorts>,
    matched: Option<PortMatch>,
    port: u16,
) -> u16 {
    let first = match matched {
        Some(PortMatch::Range(first, _) | PortMatch::Eq(first)) => first,
        Some(PortMatch::Inside(first, _)) => first.saturating_add(1),
        _ => 0,
    };
    let offset = port.wrapping_sub(first);
    match pool {
        None => port,
        Some(PoolPorts::Single(to)) => to,
        Some(PoolPorts::Offset(to)) => to.wrapping_add(offset),
        Some(PoolPorts::Range(low, high)) => {
            let span = u32::from(high.saturating_sub(low)).wrapping_add(1);
            let step = u32::from(offset).checked_rem(span).unwrap_or(0);
            low.saturating_add(u16::try_from(step).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_range_is_tried_once() {
        for seed in [0, 1, 4, 5, u32::MAX] {
            let mut tried = Vec::new();
            let found = Ports::Range(100, 104).find(7, &mut || seed, |port| {
                tried.push(port);
                false
            });
            assert_eq!(found, None);
            tried.sort_unstable();
            assert_eq!(tried, [100, 101, 102, 103, 104]);
        }
    }

    #[test]
    fn the_last_port_of_all_can_be_found() {
        let found = Ports::Range(1, 65_535).find(7, &mut || 3, |port| port == 65_535);
        assert_eq!(found, Some(65_535));
        assert_eq!(Ports::Keep.find(7, &mut || 3, |_| true), Some(7));
        assert_eq!(Ports::Keep.find(7, &mut || 3, |_| false), None);
    }

    #[test]
    fn redirections_move_ports_as_the_rule_says() {
        let range = Some(PortMatch::Range(8000, 8099));
        assert_eq!(redirected_port(None, range, 8010), 8010);
        assert_eq!(
            redirected_port(Some(PoolPorts::Single(80)), range, 8010),
            80
        );
        assert_eq!(
            redirected_port(Some(PoolPorts::Offset(9000)), range, 8010),
            9010
        );
        assert_eq!(
            redirected_port(Some(PoolPorts::Range(80, 84)), range, 8007),
            82
        );
    }
}
