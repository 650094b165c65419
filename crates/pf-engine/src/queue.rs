//! Queues: what `altq` and `queue` of pf.conf(5) define, and the numbers by which packets are told
//! which of them they belong to. The kernel is the scheduler; the engine only chooses.

use std::collections::BTreeMap;

/// Where something was written, as `file:line`. No part of what it means: all are equal, so that
/// a comment above a queue does not make it another.
#[derive(Clone, Debug, Default)]
pub struct Written(pub String);

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The queues that leave by one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueTree {
    /// Name of the interface.
    pub interface: String,
    /// `altq on …`; nothing where the queues are those of OpenBSD since 5.5.
    pub altq: Option<Altq>,
    /// The queues, each behind its parent.
    pub queues: Vec<Queue>,
    /// Where it was written.
    pub place: Written,
}

impl QueueTree {
    /// Whether there is a queue of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.queues.iter().any(|queue| queue.name == name)
    }

    /// The name of the queue that ALTQ puts above all others.
    #[must_use]
    pub fn root_name(&self) -> String {
        format!("root_{}", self.interface)
    }

    /// Place of the parent that `queue`, which is not in the tree yet, will have.
    #[must_use]
    pub fn parent_of(&self, queue: &Queue) -> Option<usize> {
        let is_parent = |candidate: &Queue| match (&candidate.options, &queue.options) {
            (QueueOptions::Altq(options), _) => options.children.contains(&queue.name),
            (QueueOptions::Flow(_), QueueOptions::Flow(own)) => {
                own.parent.as_ref() == Some(&candidate.name)
            }
            (QueueOptions::Flow(_), QueueOptions::Altq(_)) => false,
        };
        self.queues.iter().position(is_parent)
    }

    /// How many queues are above queue number `at`.
    #[must_use]
    pub fn level(&self, at: usize) -> usize {
        self.above(at).count()
    }

    /// Whether other queues are below queue number `at`.
    #[must_use]
    pub fn has_children(&self, at: usize) -> bool {
        self.queues.iter().any(|queue| queue.parent == Some(at))
    }

    /// The parents of queue number `at`, the nearest first.
    fn above(&self, at: usize) -> impl Iterator<Item = usize> {
        let parent = |at: usize| self.queues.get(at)?.parent.filter(|parent| *parent < at);
        std::iter::successors(parent(at), move |at| parent(*at))
    }

    /// Bits in a second that are queue number `at`'s own.
    #[must_use]
    pub fn rate(&self, at: usize) -> u64 {
        let Some(queue) = self.queues.get(at) else {
            return 0;
        };
        let bandwidth = match &queue.options {
            QueueOptions::Altq(options) => options.bandwidth.unwrap_or(Bandwidth::WHOLE),
            QueueOptions::Flow(options) => options
                .bandwidth
                .map_or(Bandwidth::WHOLE, |curve| curve.rate),
        };
        match bandwidth {
            Bandwidth::Bits(bits) => bits,
            Bandwidth::Percent(_) => bandwidth.of(self.parent_rate(at)),
        }
    }

    /// Bits in a second of what queue number `at` shares with others; 0 where nobody knows.
    #[must_use]
    pub fn parent_rate(&self, at: usize) -> u64 {
        match self.above(at).next() {
            Some(parent) => self.rate(parent),
            None => self.altq.as_ref().map_or(0, |altq| altq.bandwidth),
        }
    }

    /// Whether queue number `at` has been given more than it can get (ALTQ only).
    #[must_use]
    pub fn is_above_its_parent(&self, at: usize) -> bool {
        let shares = |altq: &Altq| altq.scheduler.discipline.shares_bandwidth();
        self.altq.as_ref().is_some_and(shares) && self.rate(at) > self.parent_rate(at)
    }
}

/// A discipline of ALTQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// Class based queueing.
    Cbq,
    /// Priorities without more.
    Priq,
    /// Hierarchical fair service curves.
    Hfsc,
    /// Fair shares of flows.
    Fairq,
    /// Controlled delay (RFC 8289).
    Codel,
}

impl Discipline {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cbq, Self::Priq, Self::Hfsc, Self::Fairq, Self::Codel];

    /// As pf.conf has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cbq => "cbq",
            Self::Priq => "priq",
            Self::Hfsc => "hfsc",
            Self::Fairq => "fairq",
            Self::Codel => "codel",
        }
    }

    /// Whether its queues share the bandwidth by their own.
    #[must_use]
    pub const fn shares_bandwidth(self) -> bool {
        matches!(self, Self::Cbq | Self::Hfsc | Self::Fairq)
    }
}

/// `altq on interface …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altq {
    /// The discipline with its options.
    pub scheduler: Scheduler,
    /// Bits in a second of the whole interface.
    pub bandwidth: u64,
    /// Packets held at most; 50 if it is not given.
    pub qlimit: Option<u32>,
    /// Bytes of the token bucket.
    pub tbrsize: Option<u32>,
    /// The queues below it.
    pub children: Vec<String>,
}

/// A discipline with what stands in its parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// Which.
    pub discipline: Discipline,
    /// Words without a value, in the order of printing.
    pub flags: Vec<&'static str>,
    /// Milliseconds of `target`.
    pub target: Option<u32>,
    /// Milliseconds of `interval`.
    pub interval: Option<u32>,
    /// `buckets`.
    pub buckets: Option<u32>,
    /// `hogs`.
    pub hogs: Option<Bandwidth>,
    /// `realtime`.
    pub realtime: Option<Curve>,
    /// `linkshare`.
    pub linkshare: Option<Curve>,
    /// `upperlimit`.
    pub upperlimit: Option<Curve>,
}

impl Scheduler {
    /// Without options.
    #[must_use]
    pub const fn new(discipline: Discipline) -> Self {
        Self {
            discipline,
            flags: Vec::new(),
            target: None,
            interval: None,
            buckets: None,
            hogs: None,
            realtime: None,
            linkshare: None,
            upperlimit: None,
        }
    }

    /// Whether a word stands there.
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }
}

/// Bits in a second, or a share of the parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bandwidth {
    /// Hundredths.
    Percent(u32),
    /// Bits in a second.
    Bits(u64),
}

impl Bandwidth {
    /// What a queue has that says nothing.
    pub const WHOLE: Self = Self::Percent(100);

    /// Bits in a second where the parent has `parent`.
    #[must_use]
    pub const fn of(self, parent: u64) -> u64 {
        match self {
            // As PF does: the hundredth first.
            Self::Percent(percent) => parent / 100 * percent as u64,
            Self::Bits(bits) => bits,
        }
    }

    /// Nothing for a percentage.
    #[must_use]
    pub const fn absolute(self) -> Option<u64> {
        match self {
            Self::Percent(_) => None,
            Self::Bits(bits) => Some(bits),
        }
    }
}

/// One rate, or one for the first milliseconds and another after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve {
    /// The first, and its milliseconds.
    pub first: Option<(Bandwidth, u32)>,
    /// The rate.
    pub rate: Bandwidth,
}

/// A queue on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Place of its parent in the tree; nothing below the interface.
    pub parent: Option<usize>,
    /// Whether it has what no rule gave a queue.
    pub default: bool,
    /// Whether the interface was named (printing).
    pub bound: bool,
    /// Its options.
    pub options: QueueOptions,
    /// Where it was written.
    pub place: Written,
}

/// The options of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueOptions {
    /// Of ALTQ.
    Altq(AltqQueue),
    /// Of OpenBSD since 5.5.
    Flow(FlowQueue),
}

/// `queue` of ALTQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AltqQueue {
    /// `bandwidth`.
    pub bandwidth: Option<Bandwidth>,
    /// `priority`, 1 if it is not given.
    pub priority: Option<u32>,
    /// Packets held at most; 50 if it is not given.
    pub qlimit: Option<u32>,
    /// The options of the discipline.
    pub scheduler: Option<Scheduler>,
    /// The queues below it.
    pub children: Vec<String>,
}

/// `queue` of OpenBSD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowQueue {
    /// The parent's name.
    pub parent: Option<String>,
    /// `bandwidth`.
    pub bandwidth: Option<Curve>,
    /// `min`.
    pub min: Option<Curve>,
    /// `max`.
    pub max: Option<Curve>,
    /// `flows`.
    pub flows: Option<u32>,
    /// Bytes of `quantum`.
    pub quantum: Option<u32>,
    /// `default`.
    pub default: bool,
    /// `qlimit`.
    pub qlimit: Option<u32>,
}

/// Packets that a queue holds where nothing else is said (`DEFAULT_QLIMIT` of altq.h and of
/// `OpenBSD`'s hfsc.h).
pub const DEFAULT_QLIMIT: u32 = 50;

/// Priority of a queue where nothing else is said (`DEFAULT_PRIORITY` of altq.h).
pub const DEFAULT_PRIORITY: u32 = 1;

impl Queue {
    /// Packets held at most.
    #[must_use]
    pub fn qlimit(&self) -> u32 {
        let given = match &self.options {
            QueueOptions::Altq(options) => options.qlimit,
            QueueOptions::Flow(options) => options.qlimit,
        };
        given.filter(|limit| *limit != 0).unwrap_or(DEFAULT_QLIMIT)
    }
}

/// `queue`, `set queue` of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueChoice {
    /// The queue of packets.
    pub normal: String,
    /// That of packets which should not wait: `lowdelay`, and empty ACKs.
    pub urgent: Option<String>,
}

/// Number of a queue's name. The same on all interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u16);

/// Names of queues that can be told apart: class numbers of the kernel's traffic control have 16
/// bits, and the uppermost are used for other purposes.
pub const QUEUE_NAMES_MAX: u16 = 0xfff0;

/// The numbers of names. They are never given to another name, so that packets of a state find
/// their queue whatever was loaded meanwhile.
#[derive(Clone, Debug, Default)]
pub struct QueueNumbers {
    names: Vec<String>,
    numbers: BTreeMap<String, QueueId>,
}

impl QueueNumbers {
    /// The number of `name`, given now if it has none; nothing when all are used up.
    pub fn intern(&mut self, name: &str) -> Option<QueueId> {
        if let Some(known) = self.numbers.get(name) {
            return Some(*known);
        }
        let next = u16::try_from(self.names.len() + 1).ok()?;
        if next > QUEUE_NAMES_MAX {
            return None;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), QueueId(next));
        Some(QueueId(next))
    }

    /// The number of a name that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<QueueId> {
        self.numbers.get(name).copied()
    }

    /// The name behind a number.
    #[must_use]
    pub fn name(&self, id: QueueId) -> Option<&str> {
        let at = usize::from(id.0).checked_sub(1)?;
        self.names.get(at).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_until_they_are_used_up() {
        let mut numbers = QueueNumbers::default();
        assert_eq!(numbers.intern("std"), Some(QueueId(1)));
        assert_eq!(numbers.intern("web"), Some(QueueId(2)));
        assert_eq!(numbers.intern("std"), Some(QueueId(1)));
        assert_eq!(numbers.name(QueueId(2)), Some("web"));
        assert_eq!(numbers.name(QueueId(0)), None);
        for at in 2..QUEUE_NAMES_MAX {
            assert!(numbers.intern(&format!("q{at}")).is_some());
        }
        assert_eq!(numbers.intern("one too many"), None);
        assert_eq!(numbers.get("web"), Some(QueueId(2)));
    }

    #[test]
    fn a_share_is_taken_of_the_parents_rate() {
        assert_eq!(Bandwidth::Percent(40).of(10_000_000), 4_000_000);
        assert_eq!(Bandwidth::Bits(512).of(10_000_000), 512);
        assert_eq!(Bandwidth::WHOLE.of(1_000), 1_000);
    }
}
