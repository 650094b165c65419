//! What is measured, of whom, and in which order.

use std::fmt;

use super::contestants::Contestant;
use super::measure::{MILLION_TIME, MILLION_TIMES, rules};

/// Comparisons that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scene {
    /// Small packets of few flows and of many.
    Packets,
    /// Small packets of a million flows, and what they cost in memory.
    Million,
    /// TCP, new connections and latency, from sockets to sockets.
    Sockets,
    /// The same with NAT and `route-to`.
    Nat,
    /// Packets of known flows under few rules and under many.
    Rules,
    /// First packets of flows under few rules and under many.
    First,
    /// A flood that is blocked.
    Blocked,
}

/// How many rules there are where their number is not what is measured.
pub(crate) const RULES: u32 = 100;
const MANY_RULES: u32 = 10_000;

impl Scene {
    pub(crate) const ALL: [Self; 7] = [
        Self::Packets,
        Self::Million,
        Self::Sockets,
        Self::Nat,
        Self::Rules,
        Self::First,
        Self::Blocked,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Million => "million",
            Self::Sockets => "sockets",
            Self::Nat => "nat",
            Self::Rules => "rules",
            Self::First => "first",
            Self::Blocked => "blocked",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Packets => "64-byte UDP",
            Self::Million => "64-byte UDP, 1,000,000 flows",
            Self::Sockets => "TCP, new connections, latency",
            Self::Nat => "TCP and new connections with NAT and route-to",
            Self::Rules => "64-byte UDP of 10,000 known flows, by the number of rules",
            Self::First => "First packet of a flow, by the number of rules",
            Self::Blocked => "64-byte UDP of 10,000 flows that a rule blocks",
        }
    }

    const fn contestants(self) -> &'static [Contestant] {
        use Contestant as C;
        match self {
            Self::Packets => &[
                C::Bridge,
                C::Nftables,
                C::Tcx,
                C::TcxCounting,
                C::Daemon,
                C::Cache,
                C::XdpRedirect,
                C::XdpCounting,
                C::Xdp,
            ],
            Self::Million => &[
                C::Bridge,
                C::Nftables,
                C::Tcx,
                C::TcxCounting,
                C::Cache,
                C::XdpRedirect,
                C::XdpCounting,
                C::Xdp,
            ],
            Self::Sockets => &[C::Bridge, C::Nftables, C::Tcx, C::Daemon, C::Cache],
            Self::Nat => &[C::Bridge, C::NatNftables, C::NatDaemon, C::NatCache],
            Self::Rules | Self::First => &[C::Nftables, C::Cache],
            Self::Blocked => &[C::Nftables, C::Daemon, C::Cache, C::Xdp],
        }
    }

    const fn rules(self) -> &'static [u32] {
        match self {
            Self::Rules => &[1, MANY_RULES],
            Self::First => &[1, RULES, MANY_RULES],
            Self::Packets | Self::Million | Self::Sockets | Self::Nat | Self::Blocked => &[RULES],
        }
    }

    /// What takes longest to set up is set up once.
    pub(crate) const fn rounds(self) -> u32 {
        match self {
            Self::Million => 1,
            Self::Packets
            | Self::Sockets
            | Self::Nat
            | Self::Rules
            | Self::First
            | Self::Blocked => u32::MAX,
        }
    }

    /// Measurements of one contestant that take the given time.
    const fn timed(self) -> f64 {
        match self {
            Self::Packets => 2.0,
            Self::Sockets | Self::Nat => 3.5,
            Self::Million | Self::Rules | Self::Blocked => 1.0,
            Self::First => 0.0,
        }
    }
}

/// One contestant in one scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) scene: Scene,
    pub(crate) who: Contestant,
    pub(crate) rules: u32,
}

impl Job {
    /// How long it will take, in seconds, with so many for each measurement.
    pub(crate) fn seconds(self, time: f64) -> f64 {
        let makes_states = self.who.fast_path().is_some();
        let overhead = match self.scene {
            Scene::Million if makes_states => 120.0,
            Scene::Million => 4.0,
            Scene::Packets => 2.0,
            Scene::Sockets | Scene::Nat | Scene::Rules | Scene::First | Scene::Blocked => 1.2,
        };
        let time = match self.scene {
            Scene::Million => f64::from(MILLION_TIMES) * time.max(MILLION_TIME.as_secs_f64()),
            Scene::Packets
            | Scene::Sockets
            | Scene::Nat
            | Scene::Rules
            | Scene::First
            | Scene::Blocked => time,
        };
        overhead + self.scene.timed() * time
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scene.name(), self.who.name())?;
        if self.scene.rules().len() > 1 {
            write!(f, ", {}", rules(self.rules))?;
        }
        Ok(())
    }
}

/// All jobs of which the name contains one of the words, if there are any words.
pub(crate) fn selected(only: &[String]) -> Vec<Job> {
    let jobs = Scene::ALL.into_iter().flat_map(|scene| {
        let of = move |&rules| {
            let all = scene.contestants().iter();
            all.map(move |&who| Job { scene, who, rules })
        };
        scene.rules().iter().flat_map(of)
    });
    let wanted = |job: &Job| {
        let name = job.to_string();
        only.is_empty() || only.iter().any(|word| name.contains(word))
    };
    jobs.filter(wanted).collect()
}

/// Chance that is the same for the same seed (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit.max(1)
    }

    /// Scene by scene, each in another order of its contestants: those who are compared are
    /// measured soon after one another, and none always after the same.
    pub(crate) fn shuffle(&mut self, jobs: &[Job]) -> Vec<Job> {
        let mut jobs = jobs.to_vec();
        for scene in jobs.chunk_by_mut(|a, b| a.scene == b.scene) {
            for last in (1..scene.len()).rev() {
                scene.swap(last, self.below(last + 1));
            }
        }
        jobs
    }
}
