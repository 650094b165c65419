//! Who sends so much that is rejected that a PF table shall slow it down.
//!
//! Each address has two weights, of accepted and of rejected messages, which halve in a stated
//! time: old sins are forgotten. An address enters the table when enough of enough was rejected,
//! stays for a stated time, and leaves when that is over unless it has gone on. Own networks and
//! allowed ones never enter. IPv6 hosts are counted by their /64: one host owns all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use pf_engine::addr::{Family, Prefix};

use crate::outcome::Verdict;
use crate::time::Timestamp;

/// Addresses that are followed at the same time; then the one heard of least recently goes.
pub const ADDRESSES_MAX: usize = 100_000;
/// Length of the prefix that counts as one host, for IPv6 (RFC 4291, section 2.5.1).
const HOST_BITS_V6: u8 = 64;
/// A weight below it is forgotten.
const LEAST_WEIGHT: f64 = 0.01;

/// When somebody is throttled.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleRules {
    /// Weight of rejected messages from which on it may happen.
    pub least_rejected: f64,
    /// Share of rejected messages from which on it happens, 0 to 1.
    pub ratio: f64,
    /// Time in which weights halve.
    pub half_life: Duration,
    /// How long an address stays in the table.
    pub duration: Duration,
    /// Networks that never enter: our own, and those that are trusted.
    pub never: Vec<Prefix>,
}

impl Default for ThrottleRules {
    fn default() -> Self {
        Self {
            least_rejected: 20.0,
            ratio: 0.95,
            half_life: Duration::from_hours(6),
            duration: Duration::from_hours(1),
            never: Vec::new(),
        }
    }
}

/// What the table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The network enters.
    Add(Prefix),
    /// It leaves.
    Remove(Prefix),
}

/// Why an address is where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What counts as one host.
    pub host: Prefix,
    /// Weight of its accepted messages now.
    pub accepted: f64,
    /// Weight of its rejected messages now.
    pub rejected: f64,
    /// Until when it is in the table, if it is.
    pub until: Option<Timestamp>,
    /// Whether it can enter at all.
    pub never: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, rejected) = (self.accepted, self.rejected);
        let share = if accepted + rejected > 0.0 {
            rejected / (accepted + rejected) * 100.0
        } else {
            0.0
        };
        write!(
            f,
            "{}: {rejected:.1} rejected, {accepted:.1} accepted ({share:.1}%)",
            text(&self.host)
        )?;
        match (self.never, self.until) {
            (true, _) => f.write_str(", never throttled"),
            (false, Some(until)) => write!(f, ", throttled until {}", until.as_secs()),
            (false, None) => f.write_str(", not throttled"),
        }
    }
}

/// A network as pf.conf writes it: a host without its length.
#[must_use]
pub fn text(prefix: &Prefix) -> String {
    if prefix.is_host() {
        prefix.address().to_string()
    } else {
        format!("{}/{}", prefix.address(), prefix.prefix_len())
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    accepted: f64,
    rejected: f64,
    at: Timestamp,
    until: Option<Timestamp>,
}

/// Follows addresses.
#[derive(Clone, Debug)]
pub struct Throttle {
    rules: ThrottleRules,
    hosts: BTreeMap<Key, Record>,
    /// Hosts by the time of their last message, for eviction.
    by_time: BTreeSet<(Timestamp, Key)>,
}

/// A prefix in an order.
type Key = (IpAddr, u8);

impl Throttle {
    /// Nobody is followed yet.
    #[must_use]
    pub const fn new(rules: ThrottleRules) -> Self {
        Self {
            rules,
            hosts: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// A message of `address` had this verdict. Deferred ones say nothing yet.
    pub fn record(&mut self, address: IpAddr, verdict: Verdict, now: Timestamp) -> Option<Change> {
        let host = host(address);
        let key = (host.address(), host.prefix_len());
        let mut record = self.take(key, now);
        match verdict {
            Verdict::Accepted => record.accepted += 1.0,
            Verdict::Rejected => record.rejected += 1.0,
            Verdict::Deferred => {}
        }
        let entered = self.enters(address, &record).then(|| {
            let was_in = record.until.is_some();
            record.until = Some(now.saturating_add(self.rules.duration));
            !was_in
        });
        self.put(key, record);
        (entered == Some(true)).then_some(Change::Add(host))
    }

    /// Those whose time is over. To be called now and then.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Change> {
        let mut over = Vec::new();
        for (key, record) in &mut self.hosts {
            if record.until.is_some_and(|until| until <= now) {
                record.until = None;
                over.extend(Prefix::new(key.0, key.1).map(Change::Remove));
            }
        }
        over
    }

    /// Who is in the table now.
    #[must_use]
    pub fn throttled(&self, now: Timestamp) -> Vec<Explanation> {
        let inside = |record: &Record| record.until.is_some_and(|until| until > now);
        let hosts = self.hosts.iter().filter(|(_, record)| inside(record));
        hosts
            .filter_map(|(key, record)| self.explained(*key, record, now))
            .collect()
    }

    /// What is known of `address`, if anything.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now: Timestamp) -> Option<Explanation> {
        let host = host(address);
        let key = (host.address(), host.prefix_len());
        self.explained(key, self.hosts.get(&key)?, now)
    }

    fn explained(&self, key: Key, record: &Record, now: Timestamp) -> Option<Explanation> {
        let decayed = self.decayed(*record, now);
        Some(Explanation {
            host: Prefix::new(key.0, key.1)?,
            accepted: decayed.accepted,
            rejected: decayed.rejected,
            until: record.until.filter(|until| *until > now),
            never: self.is_never(key.0),
        })
    }

    fn enters(&self, address: IpAddr, record: &Record) -> bool {
        let total = record.accepted + record.rejected;
        record.rejected >= self.rules.least_rejected
            && record.rejected >= self.rules.ratio * total
            && !self.is_never(address.to_canonical())
    }

    fn is_never(&self, address: IpAddr) -> bool {
        self.rules.never.iter().any(|never| never.contains(address))
    }

    /// The host's record as it is now, taken out; the least recent one goes to make room.
    fn take(&mut self, key: Key, now: Timestamp) -> Record {
        let new = Record {
            accepted: 0.0,
            rejected: 0.0,
            at: now,
            until: None,
        };
        if let Some(record) = self.hosts.remove(&key) {
            self.by_time.remove(&(record.at, key));
            return self.decayed(record, now);
        }
        self.make_room();
        new
    }

    fn put(&mut self, key: Key, record: Record) {
        self.by_time.insert((record.at, key));
        self.hosts.insert(key, record);
    }

    /// The address heard of least recently goes. One that is in the table stays there until PF's
    /// own expiry or a flush takes it: what is forgotten here is only why.
    fn make_room(&mut self) {
        if self.hosts.len() >= ADDRESSES_MAX
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.hosts.remove(&key);
        }
    }

    fn decayed(&self, record: Record, now: Timestamp) -> Record {
        let age = now.saturating_since(record.at).as_secs_f64();
        let half_life = self.rules.half_life.as_secs_f64().max(1.0);
        let factor = 0.5_f64.powf(age / half_life);
        let weight = |value: f64| {
            let weight = value * factor;
            if weight < LEAST_WEIGHT { 0.0 } else { weight }
        };
        Record {
            accepted: weight(record.accepted),
            rejected: weight(record.rejected),
            at: now.max(record.at),
            until: record.until,
        }
    }
}

/// What counts as one host.
fn host(address: IpAddr) -> Prefix {
    let address = address.to_canonical();
    let bits = match Family::of(address) {
        Family::Inet => Family::Inet.bits(),
        Family::Inet6 => HOST_BITS_V6,
    };
    Prefix::new(address, bits).map_or_else(|| Prefix::host(address), |prefix| prefix.masked())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAMMER: [u8; 4] = [192, 0, 2, 66];

    fn rules() -> ThrottleRules {
        ThrottleRules {
            least_rejected: 3.0,
            ratio: 0.9,
            ..ThrottleRules::default()
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    fn rejected(throttle: &mut Throttle, address: &str, times: u64) -> Vec<Change> {
        let address = address.parse().expect("an address");
        let record = |second| throttle.record(address, Verdict::Rejected, at(second));
        (0..times).filter_map(record).collect()
    }

    #[test]
    fn who_has_enough_rejected_enters_once_and_leaves_after_its_time() {
        let mut throttle = Throttle::new(rules());
        let host = Prefix::host(SPAMMER.into());
        assert_eq!(rejected(&mut throttle, "192.0.2.66", 2), []);
        assert_eq!(
            rejected(&mut throttle, "192.0.2.66", 2),
            [Change::Add(host)]
        );
        assert_eq!(rejected(&mut throttle, "::ffff:192.0.2.66", 2), []);
        assert_eq!(throttle.throttled(at(9)).len(), 1);
        assert_eq!(throttle.expire(at(10)), []);
        assert_eq!(throttle.expire(at(3_700)), [Change::Remove(host)]);
        assert_eq!(throttle.expire(at(3_700)), []);
    }

    #[test]
    fn who_has_mail_accepted_too_does_not_enter() {
        let mut throttle = Throttle::new(rules());
        for _ in 0..3 {
            throttle.record(SPAMMER.into(), Verdict::Accepted, at(0));
        }
        assert_eq!(rejected(&mut throttle, "192.0.2.66", 20), []);
        let why = throttle.explain(SPAMMER.into(), at(20)).expect("known");
        assert!(
            why.to_string()
                .starts_with("192.0.2.66: 20.0 rejected, 3.0 accepted")
        );
    }

    #[test]
    fn own_and_allowed_networks_never_enter() {
        let never = Prefix::new([192, 0, 2, 0].into(), 24).expect("a network");
        let mut throttle = Throttle::new(ThrottleRules {
            never: vec![never],
            ..rules()
        });
        assert_eq!(rejected(&mut throttle, "192.0.2.66", 50), []);
        let why = throttle.explain(SPAMMER.into(), at(50)).expect("known");
        assert!(why.never && why.to_string().ends_with("never throttled"));
    }

    #[test]
    fn old_sins_are_forgotten() {
        let mut throttle = Throttle::new(rules());
        rejected(&mut throttle, "192.0.2.66", 2);
        let later = 24 * 3_600;
        let change = throttle.record(SPAMMER.into(), Verdict::Rejected, at(later));
        assert_eq!(change, None);
        let why = throttle.explain(SPAMMER.into(), at(later)).expect("known");
        assert!((1.0..1.2).contains(&why.rejected), "{why}");
    }

    #[test]
    fn hosts_of_one_ipv6_network_are_one() {
        let mut throttle = Throttle::new(rules());
        rejected(&mut throttle, "2001:db8::1", 2);
        let network = Prefix::new("2001:db8::".parse().expect("an address"), 64);
        assert_eq!(
            rejected(&mut throttle, "2001:db8::2", 2),
            [Change::Add(network.expect("a network"))]
        );
    }

    #[test]
    fn a_flood_of_addresses_pushes_the_oldest_out() {
        let mut throttle = Throttle::new(rules());
        for number in 0..=u32::try_from(ADDRESSES_MAX).expect("it fits") {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
            throttle.record(address.into(), Verdict::Rejected, at(u64::from(number)));
        }
        assert_eq!(throttle.hosts.len(), ADDRESSES_MAX);
        assert_eq!(throttle.by_time.len(), ADDRESSES_MAX);
        assert_eq!(throttle.explain([10, 0, 0, 0].into(), at(0)), None);
    }
}
