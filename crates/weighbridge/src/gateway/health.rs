//! One probed target: answered or not, over time, with hysteresis.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use pf_engine::time::Instant;

/// A target that fails again within this time of its return is flapping: each time it then has to
/// work for twice as many probes before it counts again.
pub const FLAP_PERIOD: Duration = Duration::from_mins(1);
/// How often the number of probes is doubled at most: to 160 with the default of 5.
pub const FLAP_DOUBLINGS_MAX: u32 = 5;

/// When a target counts as down, and as up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Probes in a row without an answer that take it down.
    pub down_after: u32,
    /// Good answers in a row that bring it up.
    pub up_after: u32,
    /// Lost probes in percent of the window above which it is down.
    pub loss: Option<u8>,
    /// Mean time to the answer, over the window, above which it is down.
    pub latency: Option<Duration>,
    /// Probes that loss and latency are told of.
    pub window: usize,
}

/// Why a target went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// So many probes in a row had no answer.
    Silent(u32),
    /// Lost probes, in percent.
    Loss(u8),
    /// The mean time to the answer.
    Latency(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(probes) => write!(f, "{probes} probes in a row without an answer"),
            Self::Loss(percent) => write!(f, "{percent} % of the probes are lost"),
            Self::Latency(mean) => write!(f, "answers take {mean:.1?}"),
        }
    }
}

/// A target turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It works again.
    Up,
    /// It does not work any more.
    Down(Cause),
}

/// What is known of a target. It counts as up until probes show otherwise.
#[derive(Clone, Debug)]
pub struct Health {
    up: bool,
    /// The last outcomes, oldest first: time to the answer, nothing for a lost probe.
    recent: VecDeque<Option<Duration>>,
    /// How many of them are since the last change: only those are held against it.
    since_change: usize,
    bad_in_row: u32,
    good_in_row: u32,
    poor_in_row: u32,
    /// Probes since it last failed as it does to go down. A few that are lost on a line which
    /// works do not begin it anew, or a lossy line that has flapped would never come back.
    steady: u32,
    came_up: Option<Instant>,
    doublings: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            up: true,
            recent: VecDeque::new(),
            since_change: 0,
            bad_in_row: 0,
            good_in_row: 0,
            poor_in_row: 0,
            steady: 0,
            came_up: None,
            doublings: 0,
        }
    }
}

impl Health {
    /// Whether it counts as working.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Mean time to the answer of the probes in the window; nothing if none was answered.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        mean(self.recent.iter().copied())
    }

    /// Lost probes in the window, in percent; nothing before the first outcome.
    #[must_use]
    pub fn loss(&self) -> Option<u8> {
        percent_lost(self.recent.iter().copied())
    }

    /// Probes for which it has to work before it counts again: more than asked for when it is
    /// flapping. The last `up_after` of them have to be answered in a row.
    #[must_use]
    pub const fn needed(&self, thresholds: &Thresholds) -> u32 {
        thresholds.up_after.saturating_mul(1 << self.doublings)
    }

    /// How many of [`Health::needed`] are still to come; none when it counts as working.
    #[must_use]
    pub fn to_go(&self, thresholds: &Thresholds) -> u32 {
        if self.up {
            return 0;
        }
        let steady = self.needed(thresholds).saturating_sub(self.steady);
        steady.max(thresholds.up_after.saturating_sub(self.good_in_row))
    }

    /// Takes the outcome of a probe: the time to the answer, or that there was none.
    pub fn note(
        &mut self,
        now: Instant,
        outcome: Option<Duration>,
        thresholds: &Thresholds,
    ) -> Option<Change> {
        self.remember(outcome, thresholds.window);
        if self.up {
            let cause = self.cause(thresholds)?;
            self.go_down(now);
            return Some(Change::Down(cause));
        }
        self.follow_return(outcome, thresholds);
        if self.to_go(thresholds) > 0 {
            return None;
        }
        self.go_up(now);
        Some(Change::Up)
    }

    fn remember(&mut self, outcome: Option<Duration>, window: usize) {
        while self.recent.len() >= window.max(1) {
            self.recent.pop_front();
        }
        self.recent.push_back(outcome);
        self.since_change = self.since_change.saturating_add(1).min(self.recent.len());
        self.bad_in_row = match outcome {
            Some(_) => 0,
            None => self.bad_in_row.saturating_add(1),
        };
    }

    /// An answer that is too late for `latency` is not a good one.
    fn follow_return(&mut self, outcome: Option<Duration>, thresholds: &Thresholds) {
        let is_good = outcome.is_some_and(|rtt| thresholds.latency.is_none_or(|max| rtt <= max));
        if is_good {
            self.good_in_row = self.good_in_row.saturating_add(1);
            self.poor_in_row = 0;
        } else {
            self.good_in_row = 0;
            self.poor_in_row = self.poor_in_row.saturating_add(1);
        }
        self.steady = if self.poor_in_row >= thresholds.down_after {
            0
        } else {
            self.steady.saturating_add(1)
        };
    }

    fn cause(&self, thresholds: &Thresholds) -> Option<Cause> {
        if self.bad_in_row >= thresholds.down_after {
            return Some(Cause::Silent(self.bad_in_row));
        }
        if self.since_change < thresholds.window {
            return None;
        }
        let loss = self.loss().filter(|loss| {
            let max = thresholds.loss;
            max.is_some_and(|max| *loss > max)
        });
        let latency = self.rtt().filter(|rtt| {
            let max = thresholds.latency;
            max.is_some_and(|max| *rtt > max)
        });
        loss.map(Cause::Loss).or(latency.map(Cause::Latency))
    }

    fn go_down(&mut self, now: Instant) {
        let is_flapping = self
            .came_up
            .is_some_and(|at| now.saturating_since(at) < FLAP_PERIOD);
        self.doublings = if is_flapping {
            self.doublings.saturating_add(1).min(FLAP_DOUBLINGS_MAX)
        } else {
            0
        };
        self.turn(false);
    }

    fn go_up(&mut self, now: Instant) {
        self.came_up = Some(now);
        self.turn(true);
    }

    fn turn(&mut self, up: bool) {
        self.up = up;
        self.since_change = 0;
        self.bad_in_row = 0;
        self.good_in_row = 0;
        self.poor_in_row = 0;
        self.steady = 0;
    }
}

fn mean(outcomes: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    let answered = outcomes.flatten();
    let (sum, count) = answered.fold((Duration::ZERO, 0u32), |(sum, count), rtt| {
        (sum.saturating_add(rtt), count.saturating_add(1))
    });
    sum.checked_div(count)
}

fn percent_lost(outcomes: impl Iterator<Item = Option<Duration>>) -> Option<u8> {
    let (lost, all) = outcomes.fold((0usize, 0usize), |(lost, all), outcome| {
        (lost + usize::from(outcome.is_none()), all + 1)
    });
    let percent = (lost * 100).checked_div(all)?;
    u8::try_from(percent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        down_after: 3,
        up_after: 5,
        loss: Some(30),
        latency: Some(Duration::from_millis(200)),
        window: 20,
    };
    const GOOD: Option<Duration> = Some(Duration::from_millis(20));
    const SLOW: Option<Duration> = Some(Duration::from_millis(300));

    struct Line {
        health: Health,
        now: Instant,
    }

    impl Line {
        fn new() -> Self {
            Self {
                health: Health::default(),
                now: Instant::from_secs(100),
            }
        }

        fn wait(&mut self, seconds: u64) {
            self.now = self.now.saturating_add(Duration::from_secs(seconds));
        }

        /// The changes, with the number of the probe, from 1.
        fn probe(&mut self, outcomes: &[Option<Duration>]) -> Vec<(usize, Change)> {
            let mut changes = Vec::new();
            for (at, outcome) in outcomes.iter().enumerate() {
                self.now = self.now.saturating_add(Duration::from_millis(500));
                let change = self.health.note(self.now, *outcome, &THRESHOLDS);
                changes.extend(change.map(|change| (at + 1, change)));
            }
            changes
        }
    }

    #[test]
    fn it_goes_down_after_n_lost_probes_and_up_after_m_good_answers() {
        let mut line = Line::new();
        assert_eq!(line.probe(&[GOOD, None, None, GOOD, None, None]), []);
        let down = Change::Down(Cause::Silent(3));
        assert_eq!(line.probe(&[None]), [(1, down)]);
        let almost = [GOOD, GOOD, GOOD, GOOD, None, GOOD, GOOD, GOOD, GOOD];
        assert_eq!(line.probe(&almost), [], "one loss begins anew");
        assert_eq!(line.probe(&[GOOD]), [(1, Change::Up)]);
    }

    #[test]
    fn loss_and_latency_are_judged_over_a_whole_window_since_the_last_change() {
        let mut line = Line::new();
        let mut lossy = [GOOD; 20];
        for at in [0, 3, 6, 9, 12, 15] {
            lossy[at] = None;
        }
        assert_eq!(line.probe(&lossy), [], "30 % is allowed");
        lossy[17] = None;
        let changes = line.probe(&lossy);
        assert_eq!(changes, [(18, Change::Down(Cause::Loss(35)))]);
        assert_eq!(
            line.probe(&[GOOD; 5]),
            [(3, Change::Up)],
            "two were good already"
        );

        let mut line = Line::new();
        let mean = Cause::Latency(Duration::from_millis(300));
        assert_eq!(line.probe(&[SLOW; 20]), [(20, Change::Down(mean))]);
        assert_eq!(
            line.probe(&[SLOW; 20]),
            [],
            "slow answers are not good ones"
        );
        assert_eq!(line.probe(&[GOOD; 5]), [(5, Change::Up)]);
    }

    #[test]
    fn a_line_that_flaps_has_to_answer_longer_each_time_and_a_quiet_one_is_forgiven() {
        let mut line = Line::new();
        line.probe(&[None; 3]);
        for needed in [5, 10, 20, 40, 80, 160, 160] {
            assert_eq!(line.health.needed(&THRESHOLDS), needed);
            let answers = vec![GOOD; needed as usize];
            assert_eq!(line.probe(&answers), [(answers.len(), Change::Up)]);
            line.wait(10);
            line.probe(&[None; 3]);
        }
        line.probe(&[GOOD; 160]);
        line.wait(61);
        line.probe(&[None; 3]);
        assert_eq!(line.health.needed(&THRESHOLDS), 5);
    }

    #[test]
    fn a_lossy_line_that_has_flapped_comes_back_once_it_works() {
        let mut line = Line::new();
        for _ in 0..6 {
            line.probe(&[None; 3]);
            let needed = line.health.needed(&THRESHOLDS) as usize;
            line.probe(&vec![GOOD; needed]);
            assert!(line.health.is_up());
        }
        line.probe(&[None; 3]);
        assert_eq!(line.health.needed(&THRESHOLDS), 160);
        let one_in_ten_lost: Vec<_> = (0..159).map(|at| GOOD.filter(|_| at % 10 != 0)).collect();
        assert_eq!(line.probe(&one_in_ten_lost), []);
        assert_eq!(line.health.to_go(&THRESHOLDS), 1);
        assert_eq!(line.probe(&[GOOD]), [(1, Change::Up)]);

        line.probe(&[None; 3]);
        line.probe(&[GOOD; 150]);
        line.probe(&[None; 3]);
        assert_eq!(line.health.to_go(&THRESHOLDS), 160, "it has failed again");
        line.probe(&[SLOW; 150]);
        assert_eq!(line.health.to_go(&THRESHOLDS), 160, "slow is not working");
    }

    #[test]
    fn figures_are_of_the_window() {
        let mut line = Line::new();
        assert_eq!((line.health.rtt(), line.health.loss()), (None, None));
        line.probe(&[SLOW; 30]);
        line.probe(&[GOOD, None, GOOD, None]);
        line.probe(&[GOOD; 16]);
        assert_eq!(line.health.rtt(), GOOD);
        assert_eq!(line.health.loss(), Some(10));
    }
}
