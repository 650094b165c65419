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
/// Hosts in the table unless a setting says otherwise.
pub const THROTTLED_MAX: usize = 10_000;
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
    /// Hosts that may be in the table at the same time, at most [`ADDRESSES_MAX`]; with 0 hosts are
    /// weighed only.
    pub most: usize,
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
            most: THROTTLED_MAX,
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
            (false, Some(_)) => f.write_str(", throttled"),
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

impl Explanation {
    /// Whether so much, and such a share, was rejected.
    #[must_use]
    pub fn is_beyond(&self, least_rejected: f64, ratio: f64) -> bool {
        let total = self.accepted + self.rejected;
        !self.never && self.rejected >= least_rejected && self.rejected >= ratio * total
    }
}

/// What is kept of a host over a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The host.
    pub host: Prefix,
    /// Weight of its accepted messages at `at`.
    pub accepted: f64,
    /// Weight of its rejected messages then.
    pub rejected: f64,
    /// When its last message came.
    pub at: Timestamp,
    /// Until when it is in the table, if it is.
    pub until: Option<Timestamp>,
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
    /// Hosts that are not in the table, by the time of their last message, for eviction.
    by_time: BTreeSet<(Timestamp, Key)>,
    /// Those that are, by the time when they leave it.
    due: BTreeSet<(Timestamp, Key)>,
    without_room: u64,
}

/// A prefix in an order.
type Key = (IpAddr, u8);

impl Throttle {
    /// Nobody is followed yet.
    #[must_use]
    pub fn new(rules: ThrottleRules) -> Self {
        let most = rules.most.min(ADDRESSES_MAX);
        Self {
            rules: ThrottleRules { most, ..rules },
            hosts: BTreeMap::new(),
            by_time: BTreeSet::new(),
            due: BTreeSet::new(),
            without_room: 0,
        }
    }

    /// A message of `address` had this verdict. Deferred ones say nothing yet.
    pub fn record(&mut self, address: IpAddr, verdict: Verdict, now: Timestamp) -> Option<Change> {
        let (accepted, rejected) = match verdict {
            Verdict::Accepted => (1.0, 0.0),
            Verdict::Rejected => (0.0, 1.0),
            Verdict::Deferred => return None,
        };
        let host = host_of(address);
        let key = (host.address(), host.prefix_len());
        let mut record = self.take(key, now);
        record.accepted += accepted;
        record.rejected += rejected;
        // An accepted message keeps nobody in the table.
        let change = match verdict {
            Verdict::Rejected => self.judge(host, &mut record, now),
            Verdict::Accepted | Verdict::Deferred => None,
        };
        self.put(key, record);
        change
    }

    /// Puts the host into the table, or lets it stay longer, if it has earned it.
    fn judge(&mut self, host: Prefix, record: &mut Record, now: Timestamp) -> Option<Change> {
        let (least, ratio) = (self.rules.least_rejected, self.rules.ratio);
        let throttles = self.rules.most != 0;
        if !throttles || !self.explained(host, record, now).is_beyond(least, ratio) {
            return None;
        }
        let enters = record.until.is_none();
        if enters && self.due.len() >= self.rules.most {
            self.without_room = self.without_room.saturating_add(1);
            return None;
        }
        record.until = Some(now.saturating_add(self.rules.duration));
        enters.then_some(Change::Add(host))
    }

    /// Those whose time is over. To be called at [`Self::next_due`] or later.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Change> {
        let mut over = Vec::new();
        while let Some((until, key)) = self.due.first().copied()
            && until <= now
        {
            self.due.pop_first();
            if let Some(record) = self.hosts.get_mut(&key) {
                record.until = None;
                self.by_time.insert((record.at, key));
            }
            over.extend(Prefix::new(key.0, key.1).map(Change::Remove));
        }
        over
    }

    /// When the next host leaves the table.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// How often a host did not enter because the table was full.
    #[must_use]
    pub const fn without_room(&self) -> u64 {
        self.without_room
    }

    /// Who is in the table now, in the order in which they leave it.
    #[must_use]
    pub fn throttled(&self, now: Timestamp) -> Vec<Explanation> {
        let inside = self.due.iter().filter(|(until, _)| *until > now);
        let known = inside.filter_map(|(_, key)| {
            let record = self.hosts.get(key)?;
            Some(self.explained(Prefix::new(key.0, key.1)?, record, now))
        });
        known.collect()
    }

    /// Everybody that is followed, in the order of addresses.
    #[must_use]
    pub fn known(&self, now: Timestamp) -> Vec<Explanation> {
        let hosts = self.hosts.iter();
        let known = hosts.filter_map(|(key, record)| {
            Some(self.explained(Prefix::new(key.0, key.1)?, record, now))
        });
        known.collect()
    }

    /// What is known of `address`, if anything.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now: Timestamp) -> Option<Explanation> {
        let host = host_of(address);
        let record = self.hosts.get(&(host.address(), host.prefix_len()))?;
        Some(self.explained(host, record, now))
    }

    /// What is to be kept of `address`, if anything is known.
    #[must_use]
    pub fn kept(&self, address: IpAddr) -> Option<Kept> {
        let host = host_of(address);
        let record = self.hosts.get(&(host.address(), host.prefix_len()))?;
        Some(Kept {
            host,
            accepted: record.accepted,
            rejected: record.rejected,
            at: record.at,
            until: record.until,
        })
    }

    /// Takes back what was kept before a restart. A host whose time in the table is over by `now`,
    /// or that may not be there any more, comes back outside of it. No clock that was wrong then makes it
    /// stay for longer than the rules say.
    pub fn restore(&mut self, kept: &Kept, now: Timestamp) {
        if self.hosts.len() >= ADDRESSES_MAX || !is_weight(kept.accepted, kept.rejected) {
            return;
        }
        let until = kept.until.filter(|until| {
            *until > now && self.due.len() < self.rules.most && !self.is_never(&kept.host)
        });
        let at = kept.at.min(now);
        let record = Record {
            accepted: kept.accepted,
            rejected: kept.rejected,
            at,
            until: until.map(|until| until.min(now.saturating_add(self.rules.duration))),
        };
        let key = (kept.host.address(), kept.host.prefix_len());
        self.take(key, at);
        self.put(key, record);
    }

    fn explained(&self, host: Prefix, record: &Record, now: Timestamp) -> Explanation {
        let decayed = self.decayed(*record, now);
        Explanation {
            host,
            accepted: decayed.accepted,
            rejected: decayed.rejected,
            until: record.until.filter(|until| *until > now),
            never: self.is_never(&host),
        }
    }

    /// A host that lies in such a network, or has a part of it.
    fn is_never(&self, host: &Prefix) -> bool {
        let mut never = self.rules.never.iter();
        never.any(|never| never.contains(host.address()) || host.contains(never.address()))
    }

    /// The host's record as it is now, taken out; the least recent one goes to make room.
    fn take(&mut self, key: Key, now: Timestamp) -> Record {
        if let Some(record) = self.hosts.remove(&key) {
            match record.until {
                Some(until) => self.due.remove(&(until, key)),
                None => self.by_time.remove(&(record.at, key)),
            };
            return self.decayed(record, now);
        }
        self.make_room();
        Record {
            accepted: 0.0,
            rejected: 0.0,
            at: now,
            until: None,
        }
    }

    fn put(&mut self, key: Key, record: Record) {
        match record.until {
            Some(until) => self.due.insert((until, key)),
            None => self.by_time.insert((record.at, key)),
        };
        self.hosts.insert(key, record);
    }

    /// The address outside of the table that was heard of least recently goes.
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

fn is_weight(accepted: f64, rejected: f64) -> bool {
    [accepted, rejected]
        .iter()
        .all(|weight| weight.is_finite() && *weight >= 0.0)
}

/// What counts as one host.
#[must_use]
pub fn host_of(address: IpAddr) -> Prefix {
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
    fn who_is_in_leaves_in_its_time_after_the_last_rejected_message_whatever_is_accepted() {
        let mut throttle = Throttle::new(rules());
        rejected(&mut throttle, "192.0.2.66", 30);
        let due = throttle.next_due();
        assert_eq!(due, Some(at(29 + 3_600)));
        assert_eq!(
            throttle.record(SPAMMER.into(), Verdict::Accepted, at(60)),
            None
        );
        assert_eq!(throttle.next_due(), due);
        assert_eq!(throttle.expire(at(29 + 3_600)).len(), 1);
        // Nor does one bring it back.
        let late = at(29 + 3_601);
        assert_eq!(
            throttle.record(SPAMMER.into(), Verdict::Accepted, late),
            None
        );
        assert!(throttle.throttled(late).is_empty());
    }

    #[test]
    fn a_clock_that_was_wrong_throttles_nobody_for_years() {
        let mut before = Throttle::new(rules());
        let year = 365 * 24 * 3_600;
        for _ in 0..4 {
            before.record(SPAMMER.into(), Verdict::Rejected, at(year));
        }
        let kept = before.kept(SPAMMER.into()).expect("known");
        let mut after = Throttle::new(rules());
        after.restore(&kept, at(10));
        assert_eq!(after.next_due(), Some(at(10 + 3_600)));
        let later = after
            .explain(SPAMMER.into(), at(10 + 24 * 3_600))
            .expect("known");
        assert!(later.rejected < 1.0, "{later}");
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
    fn own_addresses_keep_their_ipv6_network_out() {
        let own = Prefix::host("2001:db8::1".parse().expect("an address"));
        let mut throttle = Throttle::new(ThrottleRules {
            never: vec![own],
            ..rules()
        });
        assert_eq!(rejected(&mut throttle, "2001:db8::2", 50), []);
    }

    #[test]
    fn the_table_has_a_bound_and_who_is_in_it_is_not_forgotten_for_others() {
        let mut throttle = Throttle::new(ThrottleRules { most: 1, ..rules() });
        assert_eq!(rejected(&mut throttle, "192.0.2.66", 4).len(), 1);
        assert_eq!(rejected(&mut throttle, "192.0.2.67", 4), []);
        assert_eq!(throttle.without_room(), 1);
        for number in 0..u32::try_from(ADDRESSES_MAX).expect("it fits") {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
            throttle.record(address.into(), Verdict::Accepted, at(60));
        }
        assert_eq!(throttle.hosts.len(), ADDRESSES_MAX);
        assert_eq!(throttle.throttled(at(60)).len(), 1);
        assert_eq!(throttle.explain([192, 0, 2, 67].into(), at(60)), None);
    }

    #[test]
    fn without_a_table_hosts_are_weighed_only() {
        let mut throttle = Throttle::new(ThrottleRules { most: 0, ..rules() });
        assert_eq!(rejected(&mut throttle, "192.0.2.66", 9), []);
        assert_eq!(throttle.without_room(), 0);
        let known = throttle.explain(SPAMMER.into(), at(9)).expect("known");
        assert!(known.is_beyond(3.0, 0.9));
    }

    #[test]
    fn what_was_kept_comes_back_and_leaves_in_its_time() {
        let mut before = Throttle::new(rules());
        rejected(&mut before, "192.0.2.66", 4);
        let kept = before.kept(SPAMMER.into()).expect("known");
        let mut after = Throttle::new(rules());
        after.restore(&kept, at(10));
        assert_eq!(
            after.explain(SPAMMER.into(), at(10)),
            before.explain(SPAMMER.into(), at(10))
        );
        assert_eq!(after.next_due(), kept.until);
        let host = Prefix::host(SPAMMER.into());
        assert_eq!(after.expire(at(3_700)), [Change::Remove(host)]);
        let mut late = Throttle::new(rules());
        late.restore(&kept, at(3_700));
        assert_eq!(late.next_due(), None);
        let wrong = Kept {
            rejected: f64::NAN,
            ..kept
        };
        late.restore(&wrong, at(0));
        assert!(late.throttled(at(0)).is_empty());
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
