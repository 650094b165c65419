//! How long a host has been up, by the clock in its TCP timestamps: p0f's arithmetic.

use std::time::Duration;

use crate::answer::Uptime;

/// Two packets must be so far apart for the clock's rate to be measured (p0f's `MIN_TWAIT`).
const LEAST_TIME: Duration = Duration::from_millis(25);
/// And no further (`MAX_TWAIT`).
const MOST_TIME: Duration = Duration::from_mins(10);
/// The clock must have moved by so many ticks.
const LEAST_TICKS: u32 = 5;
/// Within this time packets may come in the wrong order (`TSTAMP_GRACE`).
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// Rates that clocks have, in hertz (`MIN_TSCALE`, `MAX_TSCALE`).
const LEAST_RATE: f64 = 0.7;
const MOST_RATE: f64 = 1500.0;
/// [`MOST_RATE`] as a whole number.
pub(super) const MOST_TICKS_A_SECOND: u64 = 1500;

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
    if time < LEAST_TIME || time > MOST_TIME {
        return Measured::Nothing;
    }
    let ticks = now.wrapping_sub(before);
    let back = !ticks;
    let just_disordered = time < GRACE && u64::from(back / 1000) < MOST_TICKS_A_SECOND / 100;
    if ticks < LEAST_TICKS || just_disordered {
        return Measured::Nothing;
    }
    let millis = f64::from(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    let rate = if ticks > back {
        -f64::from(back) * 1000.0 / millis
    } else {
        f64::from(ticks) * 1000.0 / millis
    };
    if !(LEAST_RATE..=MOST_RATE).contains(&rate) {
        return Measured::NoClock;
    }
    Measured::Clock(uptime(now, rounded(rate)), rate)
}

fn uptime(clock: u32, rate: u32) -> Uptime {
    Uptime {
        minutes: clock / rate / 60,
        modulo_days: u32::MAX / (rate * 60 * 60 * 24),
    }
}

/// The rate that was meant, in hertz: from 1 to 1500.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rate is between 0.7 and 1500"
)]
fn rounded(rate: f64) -> u32 {
    match rate as u32 {
        0 => 1,
        rate @ 1..=10 => rate,
        rate @ 11..=50 => (rate + 3) / 5 * 5,
        rate @ 51..=100 => (rate + 7) / 10 * 10,
        rate @ 101..=500 => (rate + 33) / 50 * 50,
        rate => (rate + 67) / 100 * 100,
    }
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
            (249.0, 250),
            (1010.0, 1000),
        ] {
            assert_eq!(rounded(rate), meant, "{rate}");
        }
    }
}
