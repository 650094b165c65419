//! Who may have how much of the packet loop while more comes up than it takes.
//!
//! Shares are those that all can have at once: each source has what it wants, up to a rate that is
//! lowered while the loop does not keep up and raised while somebody is held back and it does. So a
//! flood from one source leaves the others what they want, and many floods have the same each. Where
//! that does not help, because the sources are many (or forged), interfaces are bounded in the same
//! way.

use std::num::NonZeroU32;
use std::time::Duration;

use datapath::UpcallShares;
use pf_engine::time::Instant;

/// Packets that the loop takes without a pause before it is said not to keep up: twice as many as
/// it takes until the flow cache is filled although packets wait, for that may be all it needs.
const FIRST_RUN: u32 = 8_192;
/// The same while there are shares: as many as the TAP's queue holds. One that was full takes as
/// long.
const RUN: u32 = 1_000;
/// How often shares are looked at: a few runs, as fast as the loop is.
const PERIOD: Duration = Duration::from_millis(100);
/// Periods in which nobody was held back before nobody is bounded any more.
const QUIET_PERIODS: u32 = 20;
/// Packets a second that each source has whatever happens: 25 connections of four packets.
const SOURCE_MIN: u32 = 100;
/// The same of an interface: ten sources' worth.
const INTERFACE_MIN: u32 = 1_000;
/// An interface's share is not raised any more when it is so many times what the loop took: then
/// it is the sources' that hold somebody back.
const ENOUGH: u32 = 4;
/// The most that a share is raised to.
const SHARE_MAX: u32 = 10_000_000;

/// What is known of the loop's load.
#[derive(Debug, Default)]
pub(super) struct Shares {
    run: Run,
    /// Packets a second that came in and that the last run took, if one has ended since shares
    /// were looked at last.
    pressure: Option<u32>,
    /// A turn has left nothing behind since then.
    keeps_up: bool,
    bounds: Option<Bounds>,
    /// How often the flow cache was emptied.
    emptied: u64,
}

/// Turns that left packets behind.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    began: Option<Instant>,
    packets: u32,
    /// Those that came in.
    entered: u32,
}

/// Shares in force.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    source: u32,
    interface: Option<u32>,
    /// What the loop took when it began not to keep up.
    capacity: u32,
    /// When they are looked at again.
    due: Instant,
    held_back: u64,
    quiet: u32,
}

/// What the loop had to do since shares were looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Packets were left behind all the time.
    TooMuch,
    /// They still are, since a short time ago.
    Unclear,
    Little,
}

/// Packets that one turn of the loop took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub(super) packets: u32,
    /// Those that came in.
    pub(super) entered: u32,
    /// Whether it left some behind.
    pub(super) left: bool,
}

impl Shares {
    /// A turn that began at `now`.
    pub(super) fn note(&mut self, now: Instant, turn: Turn) {
        if !turn.left {
            self.run = Run::default();
            self.keeps_up = true;
            return;
        }
        let began = *self.run.began.get_or_insert(now);
        let enough = if self.bounds.is_some() {
            RUN
        } else {
            FIRST_RUN
        };
        if self.run.packets >= enough {
            let elapsed = now.saturating_since(began);
            self.pressure = Some(per_second(self.run.entered, elapsed));
            self.run = Run {
                began: Some(now),
                ..Run::default()
            };
        }
        self.run.packets = self.run.packets.saturating_add(turn.packets);
        self.run.entered = self.run.entered.saturating_add(turn.entered);
    }

    /// How often the flow cache has been emptied by now. What comes up behind that is what it had: as long as
    /// nobody is bounded, it is no more than anybody's share until it may have been put in again.
    pub(super) fn note_emptied(&mut self, emptied: u64) {
        if emptied != self.emptied && self.bounds.is_none() {
            self.run = Run::default();
            self.pressure = None;
        }
        self.emptied = emptied;
    }

    /// When [`Shares::adjust`] has something to do, if no packet comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.bounds.map(|bounds| bounds.due)
    }

    /// The shares from now on, if they are others; `held_back` tells how many packets have been
    /// refused so far.
    pub(super) fn adjust(
        &mut self,
        now: Instant,
        held_back: impl FnOnce() -> u64,
    ) -> Option<UpcallShares> {
        let Some(bounds) = self.bounds else {
            let capacity = self.pressure.take()?;
            let bounds = Bounds::beginning(now, capacity.max(SOURCE_MIN), held_back());
            self.bounds = Some(bounds);
            return Some(bounds.shares());
        };
        if now < bounds.due {
            return None;
        }
        let load = match (self.pressure.take(), std::mem::take(&mut self.keeps_up)) {
            (Some(_), _) => Load::TooMuch,
            (None, true) => Load::Little,
            (None, false) => Load::Unclear,
        };
        self.bounds = bounds.next(now, load, held_back());
        let shares = self.bounds.as_ref().map(Bounds::shares);
        Some(shares.unwrap_or(UpcallShares::NONE)).filter(|new| *new != bounds.shares())
    }
}

impl Bounds {
    fn beginning(now: Instant, capacity: u32, held_back: u64) -> Self {
        Self {
            source: (capacity - capacity / 4).max(SOURCE_MIN),
            interface: None,
            capacity,
            due: now.saturating_add(PERIOD),
            held_back,
            quiet: 0,
        }
    }

    /// Nothing once nobody needs to be bounded.
    fn next(mut self, now: Instant, load: Load, held_back: u64) -> Option<Self> {
        let holds_back = held_back != self.held_back;
        self.quiet = if load == Load::TooMuch || holds_back {
            0
        } else {
            self.quiet.saturating_add(1)
        };
        if self.quiet >= QUIET_PERIODS {
            return None;
        }
        match load {
            Load::TooMuch => self.lower(holds_back),
            Load::Little if holds_back => self.raise(),
            Load::Little | Load::Unclear => {}
        }
        self.held_back = held_back;
        self.due = now.saturating_add(PERIOD);
        Some(self)
    }

    /// By half as long as it holds nobody back, then by an eighth.
    fn lower(&mut self, holds_back: bool) {
        let divisor = if holds_back { 8 } else { 2 };
        let lowered = |rate: u32| rate.saturating_sub(rate / divisor);
        if self.interface.is_none() && self.source > SOURCE_MIN {
            self.source = lowered(self.source).max(SOURCE_MIN);
        } else {
            let interface = self.interface.unwrap_or(self.capacity);
            self.interface = Some(lowered(interface).max(INTERFACE_MIN));
        }
    }

    fn raise(&mut self) {
        match &mut self.interface {
            Some(interface) if *interface < self.capacity.saturating_mul(ENOUGH) => {
                *interface = raised(*interface);
            }
            Some(_) | None => self.source = raised(self.source).min(SHARE_MAX),
        }
    }

    fn shares(&self) -> UpcallShares {
        UpcallShares {
            source: NonZeroU32::new(self.source),
            interface: self.interface.and_then(NonZeroU32::new),
        }
    }
}

/// By a sixteenth: more slowly than it is lowered, so that most of the time the loop keeps up.
const fn raised(rate: u32) -> u32 {
    rate.saturating_add(rate / 16).saturating_add(1)
}

fn per_second(packets: u32, elapsed: Duration) -> u32 {
    let micros = elapsed.as_micros().max(1);
    let rate = u128::from(packets).saturating_mul(1_000_000) / micros;
    u32::try_from(rate).unwrap_or(u32::MAX).min(SHARE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Turn = Turn {
        packets: 250,
        entered: 200,
        left: true,
    };

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn rate(shares: UpcallShares) -> u32 {
        shares.source.map_or(0, NonZeroU32::get)
    }

    /// Turns of a first run.
    const TURNS: u64 = 33;
    /// When it has ended, in milliseconds.
    const END: u64 = TURNS * 10;

    /// A loop of which each turn takes 10 ms and leaves packets behind.
    fn pressed() -> Shares {
        let mut shares = Shares::default();
        for turn in 0..=TURNS {
            assert_eq!(shares.adjust(at(turn * 10), || 0), None);
            shares.note(at(turn * 10), BUSY);
        }
        shares
    }

    #[test]
    fn who_keeps_up_bounds_nobody() {
        let mut shares = Shares::default();
        for turn in 0..100 {
            let left = turn % 20 != 19;
            shares.note(at(turn), Turn { left, ..BUSY });
            assert_eq!(shares.adjust(at(turn), || 0), None);
        }
        assert_eq!(shares.deadline(), None);
    }

    #[test]
    fn what_comes_up_because_the_cache_was_emptied_bounds_nobody() {
        let mut shares = Shares::default();
        for turn in 0..10 * TURNS {
            shares.note_emptied(turn / 30);
            shares.note(at(turn * 10), BUSY);
            assert_eq!(shares.adjust(at(turn * 10), || 0), None);
        }
        let emptied = shares.emptied;
        for turn in 10 * TURNS..=11 * TURNS {
            shares.note_emptied(emptied);
            shares.note(at(turn * 10), BUSY);
        }
        assert!(shares.adjust(at(11 * END), || 0).is_some());
    }

    #[test]
    fn a_loop_that_does_not_keep_up_begins_with_most_of_what_it_takes() {
        let mut shares = pressed();
        let first = shares.adjust(at(END), || 7).expect("bounded");
        assert_eq!(rate(first), 15_000, "200 packets came in each 10 ms");
        assert_eq!(first.interface, None);
        assert_eq!(shares.deadline(), Some(at(END + 100)));
        assert_eq!(shares.adjust(at(END + 50), || 7), None, "not yet");
    }

    #[test]
    fn shares_are_lowered_until_the_loop_keeps_up_and_raised_while_somebody_is_held_back() {
        let mut shares = pressed();
        let first = rate(shares.adjust(at(END), || 0).expect("bounded"));
        shares.pressure = Some(1);
        let second = rate(shares.adjust(at(END + 100), || 10).expect("others"));
        assert_eq!(second, first - first / 8);
        shares.keeps_up = true;
        let third = rate(shares.adjust(at(END + 200), || 20).expect("others"));
        assert!(third > second && third < first);
        assert_eq!(shares.adjust(at(END + 300), || 30), None, "not sure");
        shares.keeps_up = true;
        assert_eq!(shares.adjust(at(END + 400), || 30), None, "as it is");
    }

    #[test]
    fn a_share_that_holds_nobody_back_is_halved() {
        let mut shares = pressed();
        let first = rate(shares.adjust(at(END), || 0).expect("bounded"));
        shares.pressure = Some(1);
        let second = rate(shares.adjust(at(END + 100), || 0).expect("others"));
        assert_eq!(second, first / 2);
    }

    #[test]
    fn interfaces_are_bounded_when_sources_are_too_many() {
        let mut shares = pressed();
        let mut last = shares.adjust(at(END), || 0).expect("bounded");
        for period in 1..80 {
            shares.pressure = Some(1);
            let now = at(END + period * 100);
            last = shares.adjust(now, || period).unwrap_or(last);
        }
        assert_eq!(rate(last), SOURCE_MIN);
        assert_eq!(last.interface.map(NonZeroU32::get), Some(INTERFACE_MIN));
        shares.keeps_up = true;
        let relaxed = shares.adjust(at(END + 8000), || 1000).expect("others");
        assert!(relaxed.interface > last.interface && relaxed.source == last.source);
    }

    #[test]
    fn when_nobody_was_held_back_for_a_while_nobody_is_bounded_any_more() {
        let mut shares = pressed();
        assert!(shares.adjust(at(END), || 5).is_some());
        let mut over = None;
        for period in 1..=u64::from(QUIET_PERIODS) {
            assert_eq!(over, None);
            over = shares.adjust(at(END + period * 100), || 5);
        }
        assert_eq!(over, Some(UpcallShares::NONE));
        assert_eq!(shares.deadline(), None);
    }
}
