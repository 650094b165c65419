//! Criteria of rules that lie outside of the packet's headers, and what rules do to packets that
//! they pass beside translating and routing them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::osfp::pfos::SystemMatch;
use crate::queue::QueueId;
use crate::rule::{InterfaceMatch, tcp_flags};
use crate::wire::Meta;

/// Largest priority (`PF_PRIO_MAX`; three bits of an IEEE 802.1Q tag).
pub const PRIORITY_MAX: u8 = 7;

/// Bit of the type of service that asks for low delay (RFC 1349, section 4).
pub(crate) const LOW_DELAY: u8 = 0x10;

/// What a rule asks beside the packet's headers.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct Criteria {
    /// `[!] received-on`: the interface by which the packet came into the box.
    pub received_on: Option<InterfaceMatch>,
    /// `user`: who owns the local socket.
    pub user: Option<OwnerMatch>,
    /// `group`: the same.
    pub group: Option<OwnerMatch>,
    /// `prio`: priority by which the packet came.
    pub priority: Option<u8>,
    /// `probability`.
    pub probability: Option<Probability>,
    /// `os`: what the SYN says of the system that sent it.
    pub system: Option<SystemMatch>,
}

impl Criteria {
    /// Nothing is asked.
    pub const NONE: Self = Self {
        received_on: None,
        user: None,
        group: None,
        priority: None,
        probability: None,
        system: None,
    };
}

/// What a rule does to packets that it passes, and to those of their states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Treatment {
    /// `set prio`: of packets, and of those that should not wait (`lowdelay`, empty ACKs).
    pub priority: Option<(u8, u8)>,
    /// `rtable`: the routing table that packets go by which come in.
    pub routing_table: Option<u8>,
    /// `divert-to`, `divert-reply`.
    pub divert: Option<Divert>,
    /// `queue`: of packets, and of those that should not wait. Kept over a restart by name.
    #[serde(skip)]
    pub queue: Option<(QueueId, QueueId)>,
}

impl Treatment {
    /// Nothing is done.
    pub const NONE: Self = Self {
        priority: None,
        routing_table: None,
        divert: None,
        queue: None,
    };

    /// What a later rule says wins, as far as it says something.
    #[must_use]
    pub fn overridden_by(self, later: Self) -> Self {
        Self {
            priority: later.priority.or(self.priority),
            routing_table: later.routing_table.or(self.routing_table),
            divert: later.divert.or(self.divert),
            queue: later.queue.or(self.queue),
        }
    }

    /// The priority of a packet (pf.conf(5), `set prio`).
    #[must_use]
    pub fn priority_of(self, meta: &Meta) -> Option<u8> {
        let (normal, urgent) = self.priority?;
        Some(if is_urgent(meta) { urgent } else { normal })
    }

    /// The queue of a packet (pf.conf(5), `queue`).
    #[must_use]
    pub fn queue_of(self, meta: &Meta) -> Option<QueueId> {
        let (normal, urgent) = self.queue?;
        Some(if is_urgent(meta) { urgent } else { normal })
    }

    /// Whether packets of one flow are treated differently.
    #[must_use]
    pub fn tells_packets_apart(self) -> bool {
        self.priority
            .is_some_and(|(normal, urgent)| normal != urgent)
            || self.queue.is_some_and(|(normal, urgent)| normal != urgent)
    }

    /// Whether something stays on the packet from `in` to `out`.
    pub(crate) const fn is_carried(self) -> bool {
        self.priority.is_some() || self.queue.is_some()
    }
}

/// pf.conf(5), `set prio`: "packets which have a TOS of lowdelay and TCP ACKs with no data
/// payload".
fn is_urgent(meta: &Meta) -> bool {
    let empty_ack = meta
        .tcp()
        .is_some_and(|tcp| tcp.flags & tcp_flags::ACK != 0 && meta.payload_len() == 0);
    empty_ack || meta.tos & LOW_DELAY != 0
}

/// `divert-…`: packets that come in go to a socket of this box, whatever their destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Divert {
    /// `divert-to address port n`: packets of the opener.
    To(SocketAddr),
    /// `divert-reply`: answers to a socket that is bound to an address of another host.
    Reply,
}

/// `user` or `group` with its operator; numbers are those of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerMatch {
    /// `= unknown`: no socket of this box, as for forwarded packets.
    Unknown,
    /// `!= unknown`.
    Known,
    /// `= n`.
    Eq(u32),
    /// `!= n`; an unknown owner is not `n` either.
    Ne(u32),
    /// `< n`.
    Lt(u32),
    /// `<= n`.
    Le(u32),
    /// `> n`.
    Gt(u32),
    /// `>= n`.
    Ge(u32),
    /// `a >< b`: between, both excluded.
    Inside(u32, u32),
    /// `a <> b`: `< a` or `> b`.
    Outside(u32, u32),
}

impl OwnerMatch {
    /// Whether `owner`, unknown if there is none, satisfies the operator. Of an unknown owner
    /// only `=` and `!=` can be asked.
    #[must_use]
    pub const fn matches(self, owner: Option<u32>) -> bool {
        let Some(id) = owner else {
            return matches!(self, Self::Unknown | Self::Ne(_));
        };
        match self {
            Self::Unknown => false,
            Self::Known => true,
            Self::Eq(n) => id == n,
            Self::Ne(n) => id != n,
            Self::Lt(n) => id < n,
            Self::Le(n) => id <= n,
            Self::Gt(n) => id > n,
            Self::Ge(n) => id >= n,
            Self::Inside(a, b) => id > a && id < b,
            Self::Outside(a, b) => id < a || id > b,
        }
    }
}

/// `probability`: how many of 2^32 packets a rule takes, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probability(u32);

impl Probability {
    /// A share from 0.0 to 1.0; nothing for any other number.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product lies between 0 and the largest u32"
    )]
    pub fn of_share(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        let of_all = (share * f64::from(u32::MAX)).round() as u32;
        Some(Self(of_all.max(1)))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) * 100.0 / (f64::from(u32::MAX) + 1.0)
    }

    /// Whether a packet that draws `random` is among them. The largest share, 100 %, takes all.
    #[must_use]
    pub const fn takes(self, random: u32) -> bool {
        self.0 == u32::MAX || random < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_unknown_owner_only_equality_can_be_asked() {
        assert!(OwnerMatch::Unknown.matches(None));
        assert!(OwnerMatch::Ne(1000).matches(None));
        for asked in [
            OwnerMatch::Known,
            OwnerMatch::Eq(1000),
            OwnerMatch::Lt(1000),
            OwnerMatch::Ge(0),
            OwnerMatch::Outside(5, 9),
        ] {
            assert!(!asked.matches(None), "{asked:?}");
        }
    }

    #[test]
    fn owners_are_compared_as_ports_are() {
        let matching = |asked: OwnerMatch| {
            let ids = [0, 4, 5, 6, 9, 10];
            ids.into_iter()
                .filter(|id| asked.matches(Some(*id)))
                .collect::<Vec<u32>>()
        };
        assert_eq!(matching(OwnerMatch::Eq(5)), [5]);
        assert_eq!(matching(OwnerMatch::Ne(5)), [0, 4, 6, 9, 10]);
        assert_eq!(matching(OwnerMatch::Lt(5)), [0, 4]);
        assert_eq!(matching(OwnerMatch::Le(5)), [0, 4, 5]);
        assert_eq!(matching(OwnerMatch::Gt(5)), [6, 9, 10]);
        assert_eq!(matching(OwnerMatch::Ge(5)), [5, 6, 9, 10]);
        assert_eq!(matching(OwnerMatch::Inside(4, 9)), [5, 6]);
        assert_eq!(matching(OwnerMatch::Outside(4, 9)), [0, 10]);
        assert_eq!(matching(OwnerMatch::Known), [0, 4, 5, 6, 9, 10]);
        assert_eq!(matching(OwnerMatch::Unknown), [] as [u32; 0]);
    }

    #[test]
    fn a_probability_takes_its_share_of_the_numbers() {
        let half = Probability::of_share(0.5).expect("a share");
        assert!(half.takes(0) && half.takes(0x7fff_ffff) && !half.takes(0x8000_0001));
        let all = Probability::of_share(1.0).expect("a share");
        assert!(all.takes(u32::MAX));
        let least = Probability::of_share(0.0).expect("a share");
        assert!(least.takes(0) && !least.takes(1));
        assert_eq!(Probability::of_share(1.1), None);
        assert_eq!(Probability::of_share(f64::NAN), None);
        assert_eq!(format!("{:.6}", half.percent()), "50.000000");
    }
}
