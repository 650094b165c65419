//! State limiters and source limiters: how many states rules may make together, how fast, and
//! from how many sources (pf.conf(5) of OpenBSD).
//!
//! A rate of N in S seconds is a bucket of N tokens that takes S seconds to fill up. A new state
//! takes one; a rule whose limiter has none left does not match, or blocks.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use crate::addr::{Family, Prefix};
use crate::decision::StateId;
use crate::rule::Rate;
use crate::time::Instant;

/// `state limiter …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLimiter {
    /// Name, for people; rules use the number.
    pub name: String,
    /// Number, from 1.
    pub id: u8,
    /// States at once.
    pub limit: u32,
    /// New states in a time.
    pub rate: Option<Rate>,
}

/// `source limiter …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLimiter {
    /// Name, for people; rules use the number.
    pub name: String,
    /// Number, from 1.
    pub id: u8,
    /// Sources that are known at once.
    pub entries: u32,
    /// States of one source at once.
    pub limit: u32,
    /// New states of one source in a time.
    pub rate: Option<Rate>,
    /// Bits of an IPv4 address that make a source.
    pub inet_mask: u8,
    /// Bits of an IPv6 address that make a source.
    pub inet6_mask: u8,
    /// A table for sources with many states.
    pub table: Option<LimiterTable>,
}

/// `table <name> above N below M`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimiterTable {
    /// The table.
    pub name: String,
    /// A source with more states than this is put into it.
    pub above: u32,
    /// It is taken out when it has no more than this.
    pub below: u32,
}

/// The limiters of a ruleset, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimiterSet {
    /// `state limiter`s.
    pub states: Vec<StateLimiter>,
    /// `source limiter`s.
    pub sources: Vec<SourceLimiter>,
}

/// What a limiter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterCounters {
    /// States at the moment.
    pub states: u32,
    /// States it let be made.
    pub admitted: u64,
    /// Times that there were too many states.
    pub hard_limited: u64,
    /// Times that they came too fast.
    pub rate_limited: u64,
}

/// A state limiter in force.
#[derive(Clone, Copy, Debug)]
pub struct StateLimiterView<'a> {
    /// What was written.
    pub definition: &'a StateLimiter,
    /// What it has counted.
    pub counters: LimiterCounters,
}

/// A source limiter in force.
#[derive(Clone, Debug)]
pub struct SourceLimiterView<'a> {
    /// What was written.
    pub definition: &'a SourceLimiter,
    /// What it has counted, over all sources.
    pub counters: LimiterCounters,
    /// Times that there were too many sources.
    pub address_limited: u64,
    /// Its sources, in order.
    pub sources: Vec<(Prefix, LimiterCounters)>,
}

/// What a state counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LimiterRef {
    State(u8),
    Source(u8, Prefix),
}

/// Why a limiter does not let a state be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// What is to be done to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    Add(String, Prefix),
    Remove(String, Prefix),
}

/// Tokens: known by the moment when the bucket will be full.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Whether there is a token.
    fn has_token(self, rate: Rate, now: Instant) -> bool {
        let missing = self.full_at.saturating_since(now);
        missing.saturating_add(token(rate)) <= Duration::from_secs(u64::from(rate.seconds))
    }

    fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now).saturating_add(token(rate));
    }
}

/// How long it takes until a token is there again.
fn token(rate: Rate) -> Duration {
    let seconds = Duration::from_secs(u64::from(rate.seconds));
    seconds.checked_div(rate.count).unwrap_or(Duration::MAX)
}

/// States that are counted against a limit and a rate.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    counters: LimiterCounters,
    bucket: Bucket,
}

impl Gauge {
    fn check(&mut self, limit: u32, rate: Option<Rate>, now: Instant) -> Result<(), Exhausted> {
        if self.counters.states >= limit {
            self.counters.hard_limited = self.counters.hard_limited.wrapping_add(1);
            return Err(Exhausted);
        }
        if rate.is_some_and(|rate| !self.bucket.has_token(rate, now)) {
            self.counters.rate_limited = self.counters.rate_limited.wrapping_add(1);
            return Err(Exhausted);
        }
        Ok(())
    }

    fn admit(&mut self, rate: Option<Rate>, now: Instant) {
        self.counters.states = self.counters.states.saturating_add(1);
        self.counters.admitted = self.counters.admitted.wrapping_add(1);
        if let Some(rate) = rate {
            self.bucket.take(rate, now);
        }
    }

    const fn release(&mut self) {
        self.counters.states = self.counters.states.saturating_sub(1);
    }
}

#[derive(Debug)]
struct StateGate {
    /// Nothing once no ruleset in force defines it; it stays while states count for it.
    definition: Option<StateLimiter>,
    gauge: Gauge,
}

#[derive(Debug)]
struct SourceGate {
    definition: Option<SourceLimiter>,
    total: LimiterCounters,
    address_limited: u64,
    sources: BTreeMap<Prefix, SourceEntry>,
    /// Sources without states whose bucket is not full yet, by when it will be.
    idle: BTreeSet<(Instant, Prefix)>,
}

#[derive(Clone, Copy, Debug)]
struct SourceEntry {
    gauge: Gauge,
    /// It was put into the limiter's table.
    listed: bool,
    /// The first state that may count for it: older ones counted for one that was forgotten.
    first: StateId,
}

impl SourceEntry {
    fn new(first: StateId) -> Self {
        Self {
            gauge: Gauge::default(),
            listed: false,
            first,
        }
    }
}

/// All limiters.
#[derive(Debug, Default)]
pub(crate) struct Limiters {
    states: BTreeMap<u8, StateGate>,
    sources: BTreeMap<u8, SourceGate>,
}

impl Limiters {
    /// Puts the limiters of new rulesets into force, in place of those before or beside them. Those
    /// that had the same number before keep what they have counted.
    pub(crate) fn install(&mut self, sets: Vec<LimiterSet>, replaces: bool) {
        if replaces {
            for gate in self.states.values_mut() {
                gate.definition = None;
            }
            for gate in self.sources.values_mut() {
                gate.definition = None;
            }
        }
        for set in sets {
            self.define(set);
        }
        self.states.retain(|_, gate| gate.is_needed());
        self.sources.retain(|_, gate| gate.is_needed());
    }

    fn define(&mut self, set: LimiterSet) {
        for definition in set.states {
            let gate = self.states.entry(definition.id).or_insert(StateGate {
                definition: None,
                gauge: Gauge::default(),
            });
            gate.definition = Some(definition);
        }
        for definition in set.sources {
            let gate = self.sources.entry(definition.id).or_insert(SourceGate {
                definition: None,
                total: LimiterCounters::default(),
                address_limited: 0,
                sources: BTreeMap::new(),
                idle: BTreeSet::new(),
            });
            gate.definition = Some(definition);
        }
    }

    /// Whether sources of any limiter are put into a table of that name.
    pub(crate) fn fill_table(&self, name: &str) -> bool {
        let definitions = self.sources.values();
        let mut definitions = definitions.filter_map(|gate| gate.definition.as_ref());
        definitions.any(|limiter| {
            limiter
                .table
                .as_ref()
                .is_some_and(|table| table.name == name)
        })
    }

    /// Whether `id` lets one more state be made.
    pub(crate) fn check_states(&mut self, id: u8, now: Instant) -> Result<(), Exhausted> {
        let Some(gate) = self.states.get_mut(&id) else {
            return Ok(());
        };
        let Some(definition) = &gate.definition else {
            return Ok(());
        };
        gate.gauge.check(definition.limit, definition.rate, now)
    }

    /// Whether `id` lets `source` make one more state.
    pub(crate) fn check_source(
        &mut self,
        id: u8,
        source: IpAddr,
        now: Instant,
    ) -> Result<(), Exhausted> {
        let Some(gate) = self.sources.get_mut(&id) else {
            return Ok(());
        };
        gate.check(source, now)
    }

    /// The source that an address belongs to.
    pub(crate) fn source_of(&self, id: u8, source: IpAddr) -> Option<LimiterRef> {
        let definition = self.sources.get(&id)?.definition.as_ref()?;
        Some(LimiterRef::Source(id, definition.prefix_of(source)?))
    }

    /// A state was made, the youngest.
    pub(crate) fn admit(
        &mut self,
        (reference, of): (LimiterRef, StateId),
        now: Instant,
    ) -> Option<Listing> {
        match reference {
            LimiterRef::State(id) => {
                let gate = self.states.get_mut(&id)?;
                let rate = gate.definition.as_ref().and_then(|d| d.rate);
                gate.gauge.admit(rate, now);
                None
            }
            LimiterRef::Source(id, prefix) => self.sources.get_mut(&id)?.admit((prefix, of), now),
        }
    }

    /// A state of before a restart counts again, the youngest now: it takes no token.
    pub(crate) fn resume(&mut self, reference: LimiterRef, of: StateId) {
        match reference {
            LimiterRef::State(id) => {
                if let Some(gate) = self.states.get_mut(&id) {
                    gate.gauge.counters.states = gate.gauge.counters.states.saturating_add(1);
                }
            }
            LimiterRef::Source(id, prefix) => {
                if let Some(gate) = self.sources.get_mut(&id) {
                    gate.resume(prefix, of);
                }
            }
        }
    }

    /// Whether the state `of`, which has counted for a limiter, still does: not if the source was
    /// forgotten.
    pub(crate) fn counts(&self, reference: LimiterRef, of: StateId) -> bool {
        let LimiterRef::Source(id, prefix) = reference else {
            return true;
        };
        let gate = self.sources.get(&id);
        let entry = gate.and_then(|gate| gate.sources.get(&prefix));
        entry.is_some_and(|entry| entry.first <= of)
    }

    /// A state is gone.
    pub(crate) fn release(
        &mut self,
        (reference, of): (LimiterRef, StateId),
        now: Instant,
    ) -> Option<Listing> {
        match reference {
            LimiterRef::State(id) => {
                let gate = self.states.get_mut(&id)?;
                gate.gauge.release();
                if !gate.is_needed() {
                    self.states.remove(&id);
                }
                None
            }
            LimiterRef::Source(id, prefix) => {
                let gate = self.sources.get_mut(&id)?;
                let listing = gate.release((prefix, of), now);
                if !gate.is_needed() {
                    self.sources.remove(&id);
                }
                listing
            }
        }
    }

    /// Forgets sources that have neither states nor missing tokens, at most `most`. How many.
    pub(crate) fn expire(&mut self, now: Instant, most: usize) -> usize {
        let mut left = most;
        for gate in self.sources.values_mut() {
            while let Some((full_at, prefix)) = gate.idle.first().copied() {
                if full_at > now || left == 0 {
                    break;
                }
                left = left.saturating_sub(1);
                gate.idle.remove(&(full_at, prefix));
                gate.sources.remove(&prefix);
            }
        }
        most.saturating_sub(left)
    }

    /// Whether any source waits for its end.
    pub(crate) fn has_idle(&self) -> bool {
        self.sources.values().any(|gate| !gate.idle.is_empty())
    }

    /// The next sources of a limiter behind `behind`, at most `max`, each with its first state.
    pub(crate) fn sources_behind(
        &self,
        id: u8,
        behind: Option<Prefix>,
        max: usize,
    ) -> Vec<(Prefix, StateId)> {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let gate = self.sources.get(&id).into_iter();
        let sources = gate.flat_map(|gate| gate.sources.range((from, Bound::Unbounded)));
        let known = sources.map(|(prefix, entry)| (*prefix, entry.first));
        known.take(max).collect()
    }

    /// Forgets a source; its states no longer count.
    pub(crate) fn forget(&mut self, id: u8, source: Prefix) -> Option<Listing> {
        self.sources.get_mut(&id)?.forget(source)
    }

    pub(crate) fn state_views(&self) -> impl Iterator<Item = StateLimiterView<'_>> {
        self.states.values().filter_map(|gate| {
            Some(StateLimiterView {
                definition: gate.definition.as_ref()?,
                counters: gate.gauge.counters,
            })
        })
    }

    pub(crate) fn source_views(&self) -> impl Iterator<Item = SourceLimiterView<'_>> {
        self.sources.values().filter_map(|gate| {
            let sources = gate.sources.iter();
            Some(SourceLimiterView {
                definition: gate.definition.as_ref()?,
                counters: gate.total,
                address_limited: gate.address_limited,
                sources: sources
                    .map(|(prefix, entry)| (*prefix, entry.gauge.counters))
                    .collect(),
            })
        })
    }
}

impl StateGate {
    const fn is_needed(&self) -> bool {
        self.definition.is_some() || self.gauge.counters.states > 0
    }
}

impl SourceLimiter {
    fn prefix_of(&self, source: IpAddr) -> Option<Prefix> {
        let len = match Family::of(source) {
            Family::Inet => self.inet_mask,
            Family::Inet6 => self.inet6_mask,
        };
        Prefix::new(source, len).map(|prefix| prefix.masked())
    }
}

impl SourceGate {
    const fn is_needed(&self) -> bool {
        self.definition.is_some() || self.total.states > 0
    }

    fn check(&mut self, source: IpAddr, now: Instant) -> Result<(), Exhausted> {
        let Some(definition) = &self.definition else {
            return Ok(());
        };
        let Some(prefix) = definition.prefix_of(source) else {
            return Ok(());
        };
        let known = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        let Some(entry) = self.sources.get_mut(&prefix) else {
            if known >= definition.entries {
                self.address_limited = self.address_limited.wrapping_add(1);
                return Err(Exhausted);
            }
            return if definition.limit == 0 {
                self.total.hard_limited = self.total.hard_limited.wrapping_add(1);
                Err(Exhausted)
            } else {
                Ok(())
            };
        };
        let before = entry.gauge.counters;
        let checked = entry.gauge.check(definition.limit, definition.rate, now);
        let after = entry.gauge.counters;
        let total = &mut self.total;
        total.hard_limited = total
            .hard_limited
            .wrapping_add(after.hard_limited.wrapping_sub(before.hard_limited));
        total.rate_limited = total
            .rate_limited
            .wrapping_add(after.rate_limited.wrapping_sub(before.rate_limited));
        checked
    }

    fn admit(&mut self, (prefix, of): (Prefix, StateId), now: Instant) -> Option<Listing> {
        let rate = self.definition.as_ref().and_then(|d| d.rate);
        let entry = self.sources.entry(prefix);
        let entry = entry.or_insert_with(|| SourceEntry::new(of));
        self.idle.remove(&(entry.gauge.bucket.full_at, prefix));
        entry.gauge.admit(rate, now);
        self.total.states = self.total.states.saturating_add(1);
        self.total.admitted = self.total.admitted.wrapping_add(1);
        let table = self.definition.as_ref()?.table.as_ref()?;
        let is_due = !entry.listed && entry.gauge.counters.states > table.above;
        entry.listed |= is_due;
        is_due.then(|| Listing::Add(table.name.clone(), prefix))
    }

    fn resume(&mut self, prefix: Prefix, of: StateId) {
        let entry = self.sources.entry(prefix);
        let entry = entry.or_insert_with(|| SourceEntry::new(of));
        let states = &mut entry.gauge.counters.states;
        *states = states.saturating_add(1);
        let table = self.definition.as_ref().and_then(|d| d.table.as_ref());
        entry.listed |= table.is_some_and(|table| *states > table.above);
        self.total.states = self.total.states.saturating_add(1);
    }

    fn release(&mut self, (prefix, of): (Prefix, StateId), now: Instant) -> Option<Listing> {
        let entry = self.sources.get_mut(&prefix);
        let entry = entry.filter(|entry| entry.first <= of)?;
        entry.gauge.release();
        self.total.states = self.total.states.saturating_sub(1);
        let states = entry.gauge.counters.states;
        let table = self.definition.as_ref().and_then(|d| d.table.as_ref());
        let table = table.filter(|table| entry.listed && states <= table.below);
        let listing = table.map(|table| Listing::Remove(table.name.clone(), prefix));
        entry.listed &= listing.is_none();
        let full_at = entry.gauge.bucket.full_at;
        if states == 0 && full_at > now {
            self.idle.insert((full_at, prefix));
        } else if states == 0 {
            self.sources.remove(&prefix);
        }
        listing
    }

    fn forget(&mut self, prefix: Prefix) -> Option<Listing> {
        let entry = self.sources.remove(&prefix)?;
        self.idle.remove(&(entry.gauge.bucket.full_at, prefix));
        let states = entry.gauge.counters.states;
        self.total.states = self.total.states.saturating_sub(states);
        let table = self.definition.as_ref()?.table.as_ref()?;
        entry
            .listed
            .then(|| Listing::Remove(table.name.clone(), prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StateId = StateId(1);

    fn limiters(rate: Option<Rate>, table: Option<LimiterTable>) -> Limiters {
        let mut limiters = Limiters::default();
        let set = LimiterSet {
            states: vec![StateLimiter {
                name: "s".to_owned(),
                id: 1,
                limit: 2,
                rate,
            }],
            sources: vec![SourceLimiter {
                name: "t".to_owned(),
                id: 1,
                entries: 2,
                limit: 2,
                rate,
                inet_mask: 24,
                inet6_mask: 64,
                table,
            }],
        };
        limiters.install(vec![set], true);
        limiters
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_a_bucket_of_tokens() {
        let rate = Rate {
            count: 2,
            seconds: 10,
        };
        let mut bucket = Bucket::default();
        let at = Instant::from_secs;
        assert!(bucket.has_token(rate, at(0)));
        bucket.take(rate, at(0));
        bucket.take(rate, at(0));
        assert!(!bucket.has_token(rate, at(4)));
        assert!(bucket.has_token(rate, at(5)));
        bucket.take(rate, at(5));
        assert!(!bucket.has_token(rate, at(9)));
        assert!(bucket.has_token(rate, at(100)));
    }

    #[test]
    fn a_state_limiter_lets_as_many_states_be_as_it_says() {
        let mut limiters = limiters(None, None);
        let now = Instant::default();
        let one = LimiterRef::State(1);
        for _ in 0..2 {
            assert_eq!(limiters.check_states(1, now), Ok(()));
            limiters.admit((one, ONE), now);
        }
        assert_eq!(limiters.check_states(1, now), Err(Exhausted));
        limiters.release((one, ONE), now);
        assert_eq!(limiters.check_states(1, now), Ok(()));
        let counters = limiters.state_views().next().unwrap().counters;
        let wanted = LimiterCounters {
            states: 1,
            admitted: 2,
            hard_limited: 1,
            rate_limited: 0,
        };
        assert_eq!(counters, wanted);
    }

    #[test]
    fn a_source_is_a_network_and_there_may_be_so_many() {
        let mut limiters = limiters(None, None);
        let now = Instant::default();
        for source in ["192.0.2.1", "198.51.100.1"] {
            assert_eq!(limiters.check_source(1, ip(source), now), Ok(()));
            let source = limiters.source_of(1, ip(source)).unwrap();
            limiters.admit((source, ONE), now);
        }
        assert_eq!(limiters.check_source(1, ip("192.0.2.77"), now), Ok(()));
        assert_eq!(
            limiters.check_source(1, ip("203.0.113.1"), now),
            Err(Exhausted)
        );
        assert_eq!(limiters.source_views().next().unwrap().address_limited, 1);
        let first = limiters.source_of(1, ip("192.0.2.9")).unwrap();
        limiters.release((first, ONE), now);
        assert_eq!(limiters.check_source(1, ip("203.0.113.1"), now), Ok(()));
    }

    #[test]
    fn a_source_with_missing_tokens_is_remembered_until_it_has_them_again() {
        let rate = Some(Rate {
            count: 1,
            seconds: 10,
        });
        let mut limiters = limiters(rate, None);
        let now = Instant::from_secs(100);
        let source = limiters.source_of(1, ip("192.0.2.1")).unwrap();
        limiters.admit((source, ONE), now);
        limiters.release((source, ONE), now);
        let later = Instant::from_secs(109);
        limiters.expire(later, 9);
        assert_eq!(
            limiters.check_source(1, ip("192.0.2.1"), later),
            Err(Exhausted)
        );
        assert!(limiters.has_idle());
        assert_eq!(limiters.expire(Instant::from_secs(110), 9), 1);
        assert!(!limiters.has_idle());
    }

    #[test]
    fn a_busy_source_is_listed_and_taken_off_again() {
        let table = LimiterTable {
            name: "busy".to_owned(),
            above: 1,
            below: 0,
        };
        let mut limiters = limiters(None, Some(table));
        let now = Instant::default();
        let source = limiters.source_of(1, ip("192.0.2.1")).unwrap();
        let prefix: Prefix = Prefix::new(ip("192.0.2.0"), 24).unwrap();
        assert_eq!(limiters.admit((source, ONE), now), None);
        let add = Listing::Add("busy".to_owned(), prefix);
        assert_eq!(limiters.admit((source, ONE), now), Some(add));
        assert_eq!(limiters.release((source, ONE), now), None);
        let remove = Listing::Remove("busy".to_owned(), prefix);
        assert_eq!(limiters.release((source, ONE), now), Some(remove));
    }

    #[test]
    fn a_limiter_that_is_gone_waits_for_its_states() {
        let mut limiters = limiters(None, None);
        let now = Instant::default();
        limiters.admit((LimiterRef::State(1), ONE), now);
        limiters.install(Vec::new(), true);
        assert_eq!(limiters.states.len(), 1);
        assert_eq!(limiters.check_states(1, now), Ok(()));
        limiters.release((LimiterRef::State(1), ONE), now);
        assert_eq!(limiters.states.len(), 0);
    }
}
