//! How long a host has been up, by the clock in its TCP timestamps, told as p0f 3.09b tells it.
//!
//! The clock's rate follows from two timestamps and the time between them. Kernels tick at few
//! rates, so the measured one is taken to the next of these; the uptime is the newer timestamp
//! divided by it, up to where 32 bits wrap around.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::answer::Uptime;

/// Time between two packets from which a rate can be told.
const TIME: RangeInclusive<Duration> = Duration::from_millis(25)..=Duration::from_mins(10);
/// Fewer ticks than these tell no rate.
const LEAST_TICKS: u32 = 5;
/// Rates that clocks have, in hertz.
const RATES: RangeInclusive<f64> = 0.7..=1500.0;
/// The end of [`RATES`] as a whole number.
pub(super) const MOST_TICKS_A_SECOND: u64 = 1500;
/// Packets that come within this time may have overtaken each other.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// Rates up to each first number are multiples of the second, in hertz.
const STEPS: [(u32, u32); 4] = [(10, 1), (50, 5), (100, 10), (500, 50)];
/// The same for all higher ones.
const LAST_STEP: u32 = 100;
const SECONDS_A_DAY: u32 = 86_400;

/// What two timestamps of a host tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measured {
    /// Too near or too far apart: others may tell more.
    Nothing,
    /// No clock runs at this rate.
    NoClock,
    /// The uptime, and the clock's rate in hertz as it was measured.
    Clock(Uptime, f64),
}

/// From the timestamp `before`, to `now` which came `time` later.
pub(super) fn measure(before: u32, now: u32, time: Duration) -> Measured {
    let forth = now.wrapping_sub(before);
    if !TIME.contains(&time) || forth < LEAST_TICKS || overtook(before, now, time) {
        return Measured::Nothing;
    }
    // A clock that is half its range ahead has gone back: there is no such rate.
    let ticks = if forth > u32::MAX / 2 { 0 } else { forth };
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let rate = f64::from(ticks) * 1000.0 / f64::from(millis);
    if RATES.contains(&rate) {
        Measured::Clock(uptime(now, meant(rate)), rate)
    } else {
        Measured::NoClock
    }
}

/// Whether `now` is older by no more ticks than the fastest clock makes while packets can overtake
/// each other.
fn overtook(before: u32, now: u32, time: Duration) -> bool {
    time < GRACE && u64::from(before.wrapping_sub(now)) <= most_ticks(GRACE)
}

/// Ticks of the fastest clock in `time`.
pub(super) fn most_ticks(time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_mul(MOST_TICKS_A_SECOND) / 1000
}

fn uptime(clock: u32, rate: u32) -> Uptime {
    Uptime {
        minutes: clock / rate / 60,
        modulo_days: u32::MAX / (rate * SECONDS_A_DAY),
    }
}

/// The rate that was meant, in hertz, from 1 to 1500. p0f was seen to take the next higher multiple
/// of a step from a third of the step on: 117 Hz is 150, 116 Hz is 100.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rate is between 0.7 and 1500"
)]
fn meant(rate: f64) -> u32 {
    let rate = (rate as u32).max(1);
    let steps = STEPS.iter().find(|(most, _)| rate <= *most);
    let step = steps.map_or(LAST_STEP, |(_, step)| *step);
    if step == 1 {
        return rate;
    }
    let two_thirds = (2 * step + 1) / 3;
    (rate + two_thirds) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(before: u32, now: u32, millis: u64) -> Measured {
        measure(before, now, Duration::from_millis(millis))
    }

    #[test]
    fn a_clock_of_250_hertz_is_recognised_and_counted() {
        let day = 24 * 60 * 60 * 250;
        let Measured::Clock(uptime, rate) = measured(3 * day, 3 * day + 249, 1000) else {
            panic!("a clock");
        };
        assert_eq!(uptime.minutes, 3 * 24 * 60);
        assert_eq!(uptime.modulo_days, 198);
        assert!((rate - 249.0).abs() < 0.001);
    }

    #[test]
    fn packets_too_near_or_too_far_apart_tell_nothing() {
        assert_eq!(measured(0, 100, 24), Measured::Nothing);
        assert_eq!(measured(0, 4, 1000), Measured::Nothing);
        assert_eq!(measured(0, 1_000_000, 600_001), Measured::Nothing);
        assert_eq!(measured(1000, 990, 50), Measured::Nothing);
    }

    #[test]
    fn random_numbers_are_no_clock() {
        assert_eq!(measured(7, 0x7000_0000, 1000), Measured::NoClock);
        assert_eq!(measured(0x7000_0000, 7, 1000), Measured::NoClock);
        assert_eq!(measured(0, 5, 10_000), Measured::NoClock);
    }

    #[test]
    fn rates_are_rounded_to_those_that_systems_have() {
        for (rate, meant) in [
            (0.8, 1),
            (9.9, 9),
            (99.0, 100),
            (101.0, 100),
            (116.0, 100),
            (117.0, 150),
            (249.0, 250),
            (1010.0, 1000),
        ] {
            assert_eq!(super::meant(rate), meant, "{rate}");
        }
    }
}
