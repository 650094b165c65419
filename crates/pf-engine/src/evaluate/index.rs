//! Where a long list goes on when an address or a port does not match.
//!
//! A run is a stretch of rules that ask for the same in all criteria before one of these. When that
//! one fails, PF looks at each next rule of the run that asks for something else (skip steps); here
//! those that a look-up rules out are counted as looked at, all at once, and passed over.

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::{Family, Prefix};
use crate::evaluate::{CompiledAddress, CompiledRule, Content, Ground, SKIP_STEPS, Subject};
use crate::explain::Criterion;
use crate::installed::Rules;
use crate::installed::runs::RunId;
use crate::replay::Touch;
use crate::rule::PortMatch;

/// Criteria by which runs are indexed.
const INDEXED: [Criterion; 4] = [
    Criterion::SourceAddress,
    Criterion::DestinationAddress,
    Criterion::SourcePort,
    Criterion::DestinationPort,
];

/// Groups of a run for which an index costs less than to look at each.
const GROUPS_MIN: usize = 16;

/// The runs that a rule is in, by [`INDEXED`].
pub(crate) type Runs = [Option<Arc<Run>>; INDEXED.len()];

/// A stretch of rules, in groups that ask for the same in the run's criterion as well.
#[derive(Debug)]
pub(crate) struct Run {
    id: RunId,
    /// The rule that each group begins with, ascending.
    groups: Vec<usize>,
    /// Where the list goes on behind the last group.
    end: usize,
    /// Groups for which there is no key.
    others: Vec<u32>,
    /// Groups by what they ask for, ascending.
    keys: Vec<(Key, u32)>,
    /// Lengths of the prefixes among the keys, each once.
    lengths: Vec<(Family, u8)>,
}

/// The only value of a criterion that a group can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Network(Prefix),
    Port(u16),
}

impl Key {
    fn of(rule: &CompiledRule, criterion: Criterion) -> Option<Self> {
        let endpoint = if is_of_source(criterion) {
            &rule.source
        } else {
            &rule.destination
        };
        if is_address(criterion) {
            return match endpoint.address {
                CompiledAddress::Prefix(prefix) if !endpoint.negated => {
                    Some(Self::Network(prefix.masked()))
                }
                CompiledAddress::Any
                | CompiledAddress::Prefix(_)
                | CompiledAddress::Range(..)
                | CompiledAddress::Dynamic(_)
                | CompiledAddress::Table(_)
                | CompiledAddress::NoRoute
                | CompiledAddress::UrpfFailed => None,
            };
        }
        match endpoint.port {
            Some(PortMatch::Eq(port)) => Some(Self::Port(port)),
            _ => None,
        }
    }
}

fn is_address(criterion: Criterion) -> bool {
    matches!(
        criterion,
        Criterion::SourceAddress | Criterion::DestinationAddress
    )
}

fn is_of_source(criterion: Criterion) -> bool {
    matches!(criterion, Criterion::SourceAddress | Criterion::SourcePort)
}

/// Indexes the runs of a whole list whose skip steps are set.
pub(crate) fn index(rules: &mut [CompiledRule], counts: &mut Rules) {
    for (place, criterion) in INDEXED.into_iter().enumerate() {
        let mut at = 0;
        while at < rules.len() {
            let end = end_of_run(rules, at, criterion);
            if let Some(run) = Run::new(rules, at..end, criterion, counts) {
                let run = Arc::new(run);
                for rule in rules.iter_mut().take(end).skip(at) {
                    if let Some(slot) = rule.runs.get_mut(place) {
                        *slot = Some(Arc::clone(&run));
                    }
                }
            }
            at = end;
        }
    }
}

/// The first rule behind `at` that asks for something else in a criterion before this one. A rule
/// with `once` is a run of its own: it may be looked at and may not.
fn end_of_run(rules: &[CompiledRule], at: usize, criterion: Criterion) -> usize {
    let steps = rules.get(at).map_or([at; SKIP_STEPS], |rule| rule.skip);
    let before = steps.into_iter().take(criterion as usize);
    let end = before.min().unwrap_or(at).max(at.saturating_add(1));
    let stretch = rules.get(at..end).unwrap_or_default();
    match stretch.iter().position(|rule| rule.once) {
        Some(0) => at.saturating_add(1),
        Some(ahead) => at.saturating_add(ahead),
        None => end,
    }
}

impl Run {
    /// Nothing for a stretch that is looked at as fast without.
    fn new(
        rules: &[CompiledRule],
        stretch: std::ops::Range<usize>,
        criterion: Criterion,
        counts: &mut Rules,
    ) -> Option<Self> {
        if stretch.len() < GROUPS_MIN {
            return None;
        }
        let next = |at: usize| rules.get(at)?.skip.get(criterion as usize).copied();
        let step = |at: &usize| next(*at).filter(|next| *next < stretch.end);
        let groups: Vec<usize> = std::iter::successors(Some(stretch.start), step).collect();
        let first_rules: Vec<_> = groups.iter().filter_map(|at| rules.get(*at)).collect();
        let mut others = Vec::new();
        let mut keys = Vec::new();
        for (number, rule) in (0u32..).zip(&first_rules) {
            match Key::of(rule, criterion) {
                Some(key) => keys.push((key, number)),
                None => others.push(number),
            }
        }
        if keys.len() < GROUPS_MIN {
            return None;
        }
        keys.sort_unstable();
        let end = next(*groups.last()?)?;
        let ids: Vec<_> = first_rules.iter().map(|rule| rule.id).collect();
        let id = counts.open_run(&ids);
        let lengths = lengths(&keys);
        Some(Self {
            id,
            groups,
            end,
            others,
            keys,
            lengths,
        })
    }

    /// The first group from `from` on that may match.
    fn candidate(&self, from: u32, sought: impl Iterator<Item = Key>) -> Option<u32> {
        let known = sought.filter_map(|key| {
            let at = self.keys.partition_point(|entry| *entry < (key, from));
            let (found, group) = self.keys.get(at)?;
            (*found == key).then_some(*group)
        });
        let at = self.others.partition_point(|group| *group < from);
        known.chain(self.others.get(at).copied()).min()
    }

    /// What the keys of groups would be that match `address`.
    fn networks(&self, address: IpAddr) -> impl Iterator<Item = Key> + '_ {
        let of_family = move |length: &&(Family, u8)| length.0 == Family::of(address);
        let lengths = self.lengths.iter().filter(of_family);
        lengths.filter_map(move |(_, len)| {
            Prefix::new(address, *len).map(|prefix| Key::Network(prefix.masked()))
        })
    }
}

fn lengths(keys: &[(Key, u32)]) -> Vec<(Family, u8)> {
    let networks = keys.iter().filter_map(|(key, _)| match key {
        Key::Network(prefix) => Some((Family::of(prefix.address()), prefix.prefix_len())),
        Key::Port(_) => None,
    });
    let mut lengths: Vec<_> = networks.collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// The next rule to look at when `rule` has failed and its skip steps lead to `next`. Those that
/// are passed over are counted.
pub(crate) fn pass_over(
    rule: &CompiledRule,
    failed: Criterion,
    next: usize,
    subject: &Subject<'_>,
    ground: &mut Ground<'_>,
) -> usize {
    let place = INDEXED.iter().position(|criterion| *criterion == failed);
    let run = place.and_then(|place| rule.runs.get(place)?.as_deref());
    let Some((run, from)) = run.and_then(|run| Some((run, run.groups.binary_search(&next).ok()?)))
    else {
        return next;
    };
    let Ok(from) = u32::try_from(from) else {
        return next;
    };
    let end = if is_of_source(failed) {
        subject.tuple.source
    } else {
        subject.tuple.destination
    };
    let found = if is_address(failed) {
        run.candidate(from, run.networks(end.address))
    } else {
        run.candidate(from, port(subject, end.port))
    };
    let next = found.and_then(|group| run.groups.get(group as usize).copied());
    ground.rules.count_evaluations(run.id, from, found, 1);
    ground.record.touch(Touch::Run(run.id, from, found));
    next.unwrap_or(run.end)
}

/// Of what has no ports that are known, no group with a port matches.
fn port(subject: &Subject<'_>, port: u16) -> impl Iterator<Item = Key> {
    let known = subject.content == Content::Whole && subject.tuple.protocol.has_ports();
    known.then_some(Key::Port(port)).into_iter()
}
