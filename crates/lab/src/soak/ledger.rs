//! What was tried and what came of it, and which disturbance may have broken what.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::rules::Way;
use crate::clock;

/// Wrong verdicts that are kept with their words; further ones are counted.
const WRONG_MAX: usize = 200;
/// What a crash may lose: states of the last ten seconds (docs/compat.md), and one for the clock.
const LOST_BY_CRASH: Duration = Duration::from_secs(11);
/// How long a neighbour that did not answer, because nobody let it, stays unreachable for who asks for it
/// meanwhile: three questions, a second each (RFC 4861, section 10).
const NEIGHBOR_UNREACHABLE: Duration = Duration::from_secs(3);
/// How long a client repeats its SYN, and how long cookies may take to begin with a flood.
const REPEATED_SYN: Duration = Duration::from_secs(8);
/// How long the box may be without a daemon in the last minute of an attempt, all in all: TCP repeats
/// what was lost after up to twice the time that it was lost for, and who waits for it has thirty
/// seconds.
const OUTAGES_MAX: Duration = Duration::from_secs(10);
const OUTAGES_LAST: Duration = Duration::from_mins(1);
/// How long before an attempt something may have been done that explains how it ended.
const LOOKED_BACK: Duration = Duration::from_secs(15);
/// How long after a gateway has come back something may still end that went by it.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How often something was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// It came out as it must.
    pub right: u64,
    /// It did not, and a disturbance at that time may do that.
    pub excused: u64,
    /// It did not.
    pub wrong: u64,
}

/// Something that must not have been.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wrong {
    /// Seconds since the start, when it was noticed.
    pub at: f64,
    /// Seconds since the start, when the attempt began.
    pub since: f64,
    /// What was tried.
    pub what: String,
    /// What came of it.
    pub outcome: String,
}

/// Proof of a wrong verdict, which nothing excuses; other failures are of connections that may
/// have been broken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Proof(String);

/// Unless `holds`, what `words` say is proven.
pub(super) fn prove(holds: bool, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    if holds {
        return Ok(());
    }
    Err(Proof(words()).into())
}

/// What may break a connection that the rules pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// `kill -9` of the daemon, until the next one runs.
    Crash,
    /// SIGUSR2, until the next daemon runs: it breaks nothing.
    HandOver,
    /// The second modem is dead.
    Gateway,
    /// A flood begins. A SYN that was lost before and is repeated when cookies answer gets one
    /// although it has a state, as in PF: that state knows nothing of the cookie.
    Flood,
}

#[derive(Clone, Copy, Debug)]
struct Disturbance {
    cause: Cause,
    from: Instant,
    until: Option<Instant>,
}

impl Disturbance {
    /// How long the box was without a daemon by it between two moments.
    fn outage(&self, from: Instant, to: Instant) -> Duration {
        match self.cause {
            Cause::Crash | Cause::HandOver => {
                let until = self.until.unwrap_or(to).min(to);
                until.saturating_duration_since(self.from.max(from))
            }
            Cause::Gateway | Cause::Flood => Duration::ZERO,
        }
    }

    /// Whether it may have broken what began then, went that way, and failed now, because nobody could be
    /// reached or in another way.
    fn excuses(&self, began: Instant, way: Option<Way>, now: Instant, unreachable: bool) -> bool {
        let until = self.until.unwrap_or(now);
        let longer = if unreachable {
            NEIGHBOR_UNREACHABLE
        } else {
            Duration::ZERO
        };
        match self.cause {
            // What is older has a state that was written down.
            Cause::Crash => began + LOST_BY_CRASH >= self.from && began <= until + longer,
            Cause::HandOver => false,
            Cause::Gateway => way.is_some_and(Way::needs_second_line) && began <= until + AFTERMATH,
            Cause::Flood => began + REPEATED_SYN >= self.from && began <= until,
        }
    }
}

/// Whether the client's kernel found nobody to send it to.
fn is_unreachable(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::HostUnreachable)
}

#[derive(Debug, Default)]
struct Book {
    tallies: BTreeMap<&'static str, Tally>,
    events: BTreeMap<&'static str, u64>,
    wrong: Vec<Wrong>,
    disturbances: Vec<Disturbance>,
}

/// One soak's book, written by all its threads.
#[derive(Debug)]
pub(super) struct Ledger {
    start: Instant,
    stopped: AtomicBool,
    book: Mutex<Book>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            start: clock::now(),
            stopped: AtomicBool::new(false),
            book: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Every thread ends what it is at, and then itself.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits, in small steps, unless the soak ends before.
    pub(super) fn pause(&self, duration: Duration) {
        clock::wait_until(duration, || self.is_stopped());
    }

    /// Something was done, whatever comes of it.
    pub(super) fn count(&self, event: &'static str) {
        self.count_many(event, 1);
    }

    pub(super) fn count_many(&self, event: &'static str, times: u64) {
        *self.book().events.entry(event).or_default() += times;
    }

    /// What the rules pass (on its way) or do with certainty was tried, from `began` until now.
    pub(super) fn judge(
        &self,
        what: &'static str,
        way: Option<Way>,
        began: Instant,
        result: anyhow::Result<()>,
    ) {
        let Err(error) = result else {
            self.book().tallies.entry(what).or_default().right += 1;
            return;
        };
        let now = clock::now();
        let mut book = self.book();
        let proven = error.chain().any(<dyn Error>::is::<Proof>);
        let since = now.checked_sub(OUTAGES_LAST).unwrap_or(began).max(began);
        let outages = book.disturbances.iter().map(|d| d.outage(since, now));
        let too_long = outages.sum::<Duration>() > OUTAGES_MAX;
        let unreachable = is_unreachable(&error);
        let mut disturbances = book.disturbances.iter();
        let broken = disturbances.any(|d| d.excuses(began, way, now, unreachable));
        if !proven && (broken || too_long) {
            book.tallies.entry(what).or_default().excused += 1;
        } else {
            let disturbances = self.disturbances(&book, began);
            self.add_wrong(&mut book, what, began, format!("{error:#}{disturbances}"));
        }
    }

    /// What was done to it since some time before it began, for whoever reads why it failed.
    fn disturbances(&self, book: &Book, began: Instant) -> String {
        let since = began.checked_sub(LOOKED_BACK).unwrap_or(began);
        let of_then = |d: &&Disturbance| d.until.is_none_or(|until| until >= since);
        let told = book.disturbances.iter().filter(of_then).map(|d| {
            let seconds = |at| format!("{:.1} s", self.seconds(at));
            let until = d.until.map_or_else(|| "now".to_owned(), seconds);
            format!("\n  {:?} from {} to {until}", d.cause, seconds(d.from))
        });
        told.collect()
    }

    /// What no disturbance excuses.
    pub(super) fn wrong(&self, what: &'static str, began: Instant, outcome: String) {
        self.add_wrong(&mut self.book(), what, began, outcome);
    }

    fn add_wrong(&self, book: &mut Book, what: &'static str, began: Instant, outcome: String) {
        book.tallies.entry(what).or_default().wrong += 1;
        if book.wrong.len() < WRONG_MAX {
            book.wrong.push(Wrong {
                at: self.seconds(clock::now()),
                since: self.seconds(began),
                what: what.to_owned(),
                outcome,
            });
        }
    }

    /// From now on `cause` may break what it breaks.
    pub(super) fn disturb(&self, cause: Cause) {
        self.book().disturbances.push(Disturbance {
            cause,
            from: clock::now(),
            until: None,
        });
    }

    /// Until now.
    pub(super) fn settle(&self, cause: Cause) {
        let mut book = self.book();
        let open = book.disturbances.iter_mut().rev();
        if let Some(last) = open
            .filter(|d| d.cause == cause)
            .find(|d| d.until.is_none())
        {
            last.until = Some(clock::now());
        }
    }

    pub(super) fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        self.book().tallies.clone()
    }

    pub(super) fn events(&self) -> BTreeMap<&'static str, u64> {
        self.book().events.clone()
    }

    pub(super) fn wrongs(&self) -> Vec<Wrong> {
        self.book().wrong.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ledger: &Ledger, way: Way, began: Instant) -> Tally {
        let before = ledger.tallies().get("try").copied().unwrap_or_default();
        ledger.judge("try", Some(way), began, Err(anyhow::anyhow!("no answer")));
        let after = ledger.tallies()["try"];
        Tally {
            right: after.right - before.right,
            excused: after.excused - before.excused,
            wrong: after.wrong - before.wrong,
        }
    }

    const EXCUSED: Tally = Tally {
        right: 0,
        excused: 1,
        wrong: 0,
    };
    const WRONG: Tally = Tally {
        right: 0,
        excused: 0,
        wrong: 1,
    };

    #[test]
    fn a_machine_that_restarts_daemons_for_long_excuses_what_was_tried_meanwhile() {
        let now = clock::now() + Duration::from_mins(1);
        let at = |seconds| now + Duration::from_secs(seconds);
        let outage = |cause, from, until| Disturbance {
            cause,
            from: at(from),
            until: Some(at(until)),
        };
        let over = outage(Cause::HandOver, 10, 16);
        assert_eq!(over.outage(at(0), at(40)), Duration::from_secs(6));
        assert_eq!(over.outage(at(12), at(14)), Duration::from_secs(2));
        assert_eq!(over.outage(at(17), at(40)), Duration::ZERO);
        let dead = outage(Cause::Gateway, 10, 16);
        assert_eq!(dead.outage(at(0), at(40)), Duration::ZERO);
    }

    #[test]
    fn a_crash_excuses_what_was_young_and_nothing_that_was_written_down() {
        let ledger = Ledger::new();
        let began = clock::now();
        assert_eq!(outcome(&ledger, Way::T1, began), WRONG);
        ledger.disturb(Cause::Crash);
        assert_eq!(outcome(&ledger, Way::T1, began), EXCUSED);
        ledger.settle(Cause::Crash);
        assert_eq!(outcome(&ledger, Way::T1, began), EXCUSED);
        let old = began.checked_sub(Duration::from_secs(12)).unwrap();
        assert_eq!(outcome(&ledger, Way::T1, old), WRONG);
        clock::pause(Duration::from_millis(1));
        assert_eq!(outcome(&ledger, Way::T1, clock::now()), WRONG);
        assert_eq!(ledger.wrongs().len(), 3);
    }

    #[test]
    fn who_could_not_answer_during_a_crash_is_unreachable_for_a_while() {
        let ledger = Ledger::new();
        ledger.disturb(Cause::Crash);
        ledger.settle(Cause::Crash);
        clock::pause(Duration::from_millis(1));
        let unreachable = anyhow::Error::from(io::Error::from(io::ErrorKind::HostUnreachable));
        let failed = Err(unreachable.context("h34"));
        ledger.judge("try", Some(Way::T1), clock::now(), failed);
        assert_eq!(ledger.tallies()["try"], EXCUSED);
    }

    #[test]
    fn proof_is_excused_by_nothing() {
        let ledger = Ledger::new();
        ledger.disturb(Cause::Crash);
        let proof = prove(false, || "the wrong way".to_owned()).map_err(|e| e.context("h99"));
        ledger.judge("try", None, clock::now(), proof);
        assert_eq!(ledger.tallies()["try"], WRONG);
        let told = &ledger.wrongs()[0].outcome;
        assert_eq!(told, "h99: the wrong way\n  Crash from 0.0 s to now");
    }

    #[test]
    fn a_flood_excuses_what_was_just_connecting_when_it_began() {
        let ledger = Ledger::new();
        let began = clock::now();
        clock::pause(Duration::from_millis(1));
        ledger.disturb(Cause::Flood);
        ledger.settle(Cause::Flood);
        assert_eq!(outcome(&ledger, Way::T1, began), EXCUSED);
        let old = began.checked_sub(Duration::from_secs(9)).unwrap();
        assert_eq!(outcome(&ledger, Way::T1, old), WRONG);
        clock::pause(Duration::from_millis(1));
        assert_eq!(outcome(&ledger, Way::T1, clock::now()), WRONG);
    }

    #[test]
    fn a_dead_gateway_excuses_those_alone_who_may_go_by_it() {
        let ledger = Ledger::new();
        let began = clock::now();
        ledger.disturb(Cause::Gateway);
        assert_eq!(outcome(&ledger, Way::SecondLine, began), EXCUSED);
        assert_eq!(outcome(&ledger, Way::Pool, began), EXCUSED);
        assert_eq!(outcome(&ledger, Way::FirstLine, began), WRONG);
    }
}
