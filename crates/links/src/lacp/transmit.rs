//! When to send: the periodic machine, the transmit machine and its limit (802.1AX-2008 5.4.13,
//! 5.4.16).

use std::time::Duration;

use super::pdu::State;
use super::{FAST_PERIOD, MAX_LACPDUS_PER_SECOND, MAX_MARKERS_PER_SECOND, SLOW_PERIOD};

/// The time over which frames are counted.
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct Transmit {
    /// Something changed that the partner must hear (`NTT`).
    pub(crate) wanted: bool,
    /// When the next one is due anyway.
    due: Option<Duration>,
    period: Option<Duration>,
    lacpdus: Limit<MAX_LACPDUS_PER_SECOND>,
    markers: Limit<MAX_MARKERS_PER_SECOND>,
    /// Until when a LACPDU that is wanted must wait.
    held: Option<Duration>,
}

impl Transmit {
    /// The link is down.
    pub(crate) fn stop(&mut self) {
        self.wanted = false;
        self.due = None;
        self.period = None;
        self.held = None;
    }

    /// The periodic machine. A partner that comes to want more is told at once.
    pub(crate) fn run_periodic(&mut self, actor: State, partner: State, now: Duration) {
        let period = if !actor.with(partner).has(State::ACTIVITY) {
            None
        } else if partner.has(State::TIMEOUT) {
            Some(FAST_PERIOD)
        } else {
            Some(SLOW_PERIOD)
        };
        if period != self.period {
            self.wanted |= period == Some(FAST_PERIOD);
            self.period = period;
            self.due = period.map(|period| now + period);
        }
        self.wanted |= self.due.is_some_and(|due| now >= due);
    }

    /// Whether a LACPDU is to be sent now; then it counts as sent. The second answer is whether
    /// one had to be put off.
    pub(crate) fn take(&mut self, now: Duration) -> (bool, bool) {
        if !self.wanted {
            return (false, false);
        }
        if let Err(until) = self.lacpdus.take(now) {
            let newly = self.held.replace(until).is_none();
            return (false, newly);
        }
        self.wanted = false;
        self.held = None;
        self.due = self.period.map(|period| now + period);
        (true, false)
    }

    /// Whether a marker may be answered now.
    pub(crate) fn take_marker(&mut self, now: Duration) -> bool {
        self.markers.take(now).is_ok()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.held.or(self.due)
    }
}

/// So many in a second at most.
#[derive(Clone, Debug)]
struct Limit<const N: usize> {
    sent: [Option<Duration>; N],
    next: usize,
}

impl<const N: usize> Default for Limit<N> {
    fn default() -> Self {
        Self {
            sent: [None; N],
            next: 0,
        }
    }
}

impl<const N: usize> Limit<N> {
    /// Counts one; else the time from which one is allowed.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let Some(oldest) = self.sent.get_mut(self.next) else {
            return Ok(());
        };
        if let Some(end) = oldest.map(|sent| sent + WINDOW)
            && now < end
        {
            return Err(end);
        }
        *oldest = Some(now);
        self.next = (self.next + 1) % N;
        Ok(())
    }
}
