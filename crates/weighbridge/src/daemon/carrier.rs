//! Carrier that is passed through a bridge of two ports, as a cable would: when one has lost its carrier
//! the other is taken down, so that who is there sees it at once. Pure: states and the time go in.
//!
//! Only one port of the two is ever held down, and the other one alone decides until when. So two
//! such bridges in a row wait for each other's outer ports, never for each other.

use std::time::Duration;

/// How long a port that was brought up may take to have a carrier: negotiation on copper takes up to
/// four seconds.
const GRACE: Duration = Duration::from_secs(5);

/// A port as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Set up (`IFF_UP`).
    pub(super) up: bool,
    /// Has a carrier.
    pub(super) carrier: bool,
}

/// Two ports of a bridge that go together.
#[derive(Clone, Debug)]
pub(super) struct Coupling {
    pub(super) ports: [String; 2],
    /// The port that is held down for the other's sake.
    held: Option<usize>,
    /// Until when a port that was brought up is waited for.
    grace: [Option<Duration>; 2],
    started: bool,
}

impl Coupling {
    pub(super) fn new(ports: [String; 2]) -> Self {
        Self {
            ports,
            held: None,
            grace: [None; 2],
            started: false,
        }
    }

    /// The ports to set up (true) or down, now that they stand so.
    pub(super) fn step(&mut self, seen: [Seen; 2], now: Duration) -> Vec<(usize, bool)> {
        if !std::mem::replace(&mut self.started, true) {
            return self.start(seen, now);
        }
        for (grace, port) in self.grace.iter_mut().zip(seen) {
            *grace = grace.filter(|end| now < *end && !port.carrier);
        }
        let lost = [self.lost(seen, 0), self.lost(seen, 1)];
        match (self.held, lost) {
            (Some(0), [_, false]) => self.release(0, now),
            (Some(1), [false, _]) => self.release(1, now),
            // Somebody has set it up again: while the other has no carrier it stays down.
            (Some(port), _) => down_again(seen, port),
            (None, [true, false]) => self.hold(1),
            (None, [false, true]) => self.hold(0),
            (None, [true, true] | [false, false]) => Vec::new(),
        }
    }

    /// A daemon before this one may have held a port, and died.
    fn start(&mut self, seen: [Seen; 2], now: Duration) -> Vec<(usize, bool)> {
        self.grace = [Some(now + GRACE); 2];
        let down = seen.iter().enumerate().filter(|(_, port)| !port.up);
        down.map(|(at, _)| (at, true)).collect()
    }

    fn lost(&self, seen: [Seen; 2], port: usize) -> bool {
        let works = seen.get(port).is_some_and(|seen| seen.up && seen.carrier);
        !works && self.grace.get(port).is_some_and(Option::is_none)
    }

    fn hold(&mut self, port: usize) -> Vec<(usize, bool)> {
        self.held = Some(port);
        vec![(port, false)]
    }

    fn release(&mut self, port: usize, now: Duration) -> Vec<(usize, bool)> {
        self.held = None;
        if let Some(grace) = self.grace.get_mut(port) {
            *grace = Some(now + GRACE);
        }
        vec![(port, true)]
    }

    /// The port that is held down, which is let go.
    pub(super) fn end(&mut self) -> Option<&String> {
        self.ports.get(self.held.take()?)
    }

    /// When [`Coupling::step`] has something to do without any change.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.grace.into_iter().flatten().min()
    }
}

fn down_again(seen: [Seen; 2], port: usize) -> Vec<(usize, bool)> {
    let is_up = seen.get(port).is_some_and(|seen| seen.up);
    is_up.then_some((port, false)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(500);

    /// Two boxes in a row: an end, a cable, a box, a cable, a box, a cable, an end.
    struct Row {
        cables: [bool; 3],
        boxes: [Coupling; 2],
        up: [[bool; 2]; 2],
        now: Duration,
        changes: usize,
    }

    impl Row {
        fn new() -> Self {
            let coupling = || Coupling::new(["em0".into(), "em1".into()]);
            Self {
                cables: [true; 3],
                boxes: [coupling(), coupling()],
                up: [[true; 2]; 2],
                now: Duration::ZERO,
                changes: 0,
            }
        }

        fn seen(&self, at: usize) -> [Seen; 2] {
            let [[a, b], [c, d]] = self.up;
            let [first, middle, last] = self.cables;
            let joined = middle && b && c;
            let carriers = [[a && first, joined], [joined, d && last]];
            let port = |port: usize| Seen {
                up: self.up[at][port],
                carrier: carriers[at][port],
            };
            [port(0), port(1)]
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                for at in 0..2 {
                    let seen = self.seen(at);
                    for (port, up) in self.boxes[at].step(seen, self.now) {
                        self.up[at][port] = up;
                        self.changes += 1;
                    }
                }
                self.now += STEP;
            }
        }

        /// Whether the machines at both ends have a carrier.
        fn ends(&self) -> [bool; 2] {
            [
                self.cables[0] && self.up[0][0],
                self.cables[2] && self.up[1][1],
            ]
        }
    }

    fn cables(bits: usize) -> [bool; 3] {
        [bits & 1 == 0, bits & 2 == 0, bits & 4 == 0]
    }

    #[test]
    fn a_lost_carrier_takes_the_other_port_down_and_brings_it_back() {
        let mut coupling = Coupling::new(["em0".into(), "em1".into()]);
        let (fine, cut) = (
            Seen {
                up: true,
                carrier: true,
            },
            Seen {
                up: true,
                carrier: false,
            },
        );
        let now = Duration::from_secs;
        assert_eq!(coupling.step([fine; 2], now(0)), []);
        assert_eq!(coupling.step([fine; 2], now(1)), []);
        assert_eq!(coupling.step([cut, fine], now(2)), [(1, false)]);
        let down = Seen::default();
        assert_eq!(coupling.step([cut, down], now(3)), []);
        assert_eq!(coupling.step([cut, fine], now(4)), [(1, false)]);
        assert_eq!(coupling.step([fine, down], now(5)), [(1, true)]);
        // It negotiates, which is no loss.
        assert_eq!(coupling.step([fine, cut], now(6)), []);
        assert_eq!(coupling.deadline(), Some(now(10)));
        assert_eq!(coupling.step([fine, cut], now(10)), [(0, false)]);
    }

    #[test]
    fn a_port_that_a_dead_daemon_held_is_brought_up() {
        let mut coupling = Coupling::new(["em0".into(), "em1".into()]);
        let cut = Seen {
            up: true,
            carrier: false,
        };
        assert_eq!(
            coupling.step([cut, Seen::default()], Duration::ZERO),
            [(1, true)]
        );
    }

    #[test]
    fn two_boxes_in_a_row_come_to_rest_and_the_ends_see_a_cut_wherever_it_is() {
        for history in 0..8_usize.pow(4) {
            let mut row = Row::new();
            row.run(Duration::from_secs(6));
            for at in 0..4 {
                row.cables = cables(history / 8_usize.pow(at) % 8);
                row.run(if at % 2 == 0 { STEP } else { 14 * STEP });
            }
            row.run(Duration::from_secs(30));
            row.changes = 0;
            row.run(Duration::from_secs(30));
            assert_eq!(row.changes, 0, "history {history:o} does not come to rest");
            let whole = row.cables == [true; 3];
            assert_eq!(row.ends(), [whole; 2], "history {history:o}: {:?}", row.up);
        }
    }
}
