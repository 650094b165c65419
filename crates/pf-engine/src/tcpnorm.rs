//! `scrub (reassemble tcp)`: the TTL of a connection never sinks, its timestamps tell nothing of
//! the hosts' clocks, and a segment whose timestamps its sender cannot have sent is dropped
//! (pf.conf(5), TRAFFIC NORMALIZATION; RFC 7323, section 5).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rule::tcp_flags;
use crate::tcp::{after, at_or_after};
use crate::time::Instant;
use crate::wire::{Meta, TcpOption};

/// Fastest clock of timestamps: one tick a millisecond (RFC 7323, section 5.4) and a tenth more
/// for clocks that run fast (PF's `TS_MAXFREQ`).
const TICKS_PER_SECOND: u64 = 1100;
/// After so long a clock may have gone round: what was known of it says nothing (RFC 7323,
/// section 5.5; PF's `TS_MAX_IDLE`).
const CLOCK_ROUND: Duration = Duration::from_hours(24 * 24);
/// For so long what a connection began with can be compared with what is echoed (PF's `TS_MAX_CONN`).
const COMPARABLE: Duration = Duration::from_hours(12 * 24);

/// What is remembered of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpNorm {
    opener: End,
    called: End,
}

/// An end whose SYN had no timestamp has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// Highest TTL or hop limit seen.
    ttl: u8,
    /// What is added to its timestamps, if its SYN had one.
    modulator: Option<u32>,
    /// Its clock, once it has told it.
    clock: Option<Clock>,
    /// Whether its data come with timestamps, once it has sent some.
    stamps_data: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    /// The lowest and the highest value that it has sent.
    first: u32,
    last: u32,
    seen: Instant,
    /// The highest value of the other end's that it has echoed.
    echoed: Option<u32>,
}

/// What of one end outlives a restart: what the other end has been told is kept, what was seen is
/// learnt again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRecord {
    /// Highest TTL or hop limit seen.
    pub ttl: u8,
    /// What is added to its timestamps, if its SYN had one.
    pub modulator: Option<u32>,
}

/// What of a segment matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    flags: u8,
    ttl: u8,
    has_data: bool,
    stamps: Stamps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamps {
    None,
    One { value: u32, echo: u32 },
    Several,
}

/// How a segment goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Normal {
    pub(crate) ttl: u8,
    /// Value and echo.
    pub(crate) stamps: Option<(u32, u32)>,
}

/// Its timestamps are not what its sender can have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadTimestamp;

impl Look {
    pub(crate) fn at(meta: &Meta, bytes: &[u8]) -> Option<Self> {
        let tcp = meta.tcp()?;
        let stamp = |option| {
            let TcpOption::Timestamps { value, echo, .. } = option else {
                return None;
            };
            Some(Stamps::One { value, echo })
        };
        let mut stamps = tcp.options(bytes).filter_map(stamp);
        let stamps = match (stamps.next(), stamps.next()) {
            (Some(_), Some(_)) => Stamps::Several,
            (found, _) => found.unwrap_or(Stamps::None),
        };
        Some(Self {
            flags: tcp.flags,
            ttl: meta.ttl,
            has_data: meta.payload_len() > 0,
            stamps,
        })
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl TcpNorm {
    pub(crate) const fn records(&self) -> [EndRecord; 2] {
        [self.opener.record(), self.called.record()]
    }

    pub(crate) fn of_records([opener, called]: [EndRecord; 2]) -> Self {
        Self {
            opener: End::of_record(opener),
            called: End::of_record(called),
        }
    }

    /// Takes a segment; `forward` if the opener sent it. `difference` is how far a timestamp may
    /// be ahead of its time (`tcp.tsdiff`), `age` that of the connection.
    ///
    /// What is refused leaves everything as it was.
    pub(crate) fn take(
        &mut self,
        forward: bool,
        look: &Look,
        now: Instant,
        age: Duration,
        difference: Duration,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<Normal, BadTimestamp> {
        let (mut sender, receiver) = if forward {
            (self.opener, self.called)
        } else {
            (self.called, self.opener)
        };
        if look.has(tcp_flags::SYN) && look.stamps != Stamps::None && sender.modulator.is_none() {
            sender.modulator = Some(random());
        }
        sender.ttl = sender.ttl.max(look.ttl);
        let stamps = match look.stamps {
            Stamps::Several if sender.modulator.is_some() || receiver.modulator.is_some() => {
                return Err(BadTimestamp);
            }
            Stamps::Several => None,
            Stamps::None => {
                sender.check_absence(&receiver, look)?;
                None
            }
            Stamps::One { value, echo } => {
                let echo = echoed(echo, look, &receiver);
                if sender.modulator.is_some() {
                    if age < COMPARABLE {
                        sender.check(&receiver, value, echo, now, difference)?;
                    }
                    sender.note(value, echo, now);
                }
                Some(sender.modulated(value, echo, look, &receiver))
            }
        };
        if look.has_data && sender.stamps_data.is_none() {
            sender.stamps_data = Some(look.stamps != Stamps::None);
        }
        let place = if forward {
            &mut self.opener
        } else {
            &mut self.called
        };
        *place = sender;
        Ok(Normal {
            ttl: sender.ttl,
            stamps,
        })
    }
}

/// The echo in the count of the end that it echoes. Only with ACK it means something (RFC 7323,
/// section 3.2), and 0 is none.
fn echoed(echo: u32, look: &Look, receiver: &End) -> Option<u32> {
    let means = look.has(tcp_flags::ACK) && echo != 0;
    means.then(|| echo.wrapping_sub(receiver.modulator.unwrap_or(0)))
}

impl End {
    const fn record(&self) -> EndRecord {
        EndRecord {
            ttl: self.ttl,
            modulator: self.modulator,
        }
    }

    fn of_record(record: EndRecord) -> Self {
        Self {
            ttl: record.ttl,
            modulator: record.modulator,
            ..Self::default()
        }
    }

    /// A clock that both ends know: it has been echoed.
    const fn shared_clock(&self) -> Option<Clock> {
        match self.clock {
            Some(clock) if clock.echoed.is_some() => Some(clock),
            _ => None,
        }
    }

    /// Whoever sends data with timestamps goes on to (RFC 7323, section 3.2).
    fn check_absence(&self, receiver: &Self, look: &Look) -> Result<(), BadTimestamp> {
        let known = self.shared_clock().is_some() && receiver.shared_clock().is_some();
        let needed = look.has_data && !look.has(tcp_flags::RST) && self.stamps_data == Some(true);
        if known && needed {
            return Err(BadTimestamp);
        }
        Ok(())
    }

    /// The value is not older than what the other end has echoed already, nor further ahead than
    /// the clock can have gone; the echo is of what the other end has sent.
    fn check(
        &self,
        receiver: &Self,
        value: u32,
        echo: Option<u32>,
        now: Instant,
        difference: Duration,
    ) -> Result<(), BadTimestamp> {
        let (Some(own), Some(other)) = (self.shared_clock(), receiver.shared_clock()) else {
            return Ok(());
        };
        let idle = now.saturating_since(own.seen);
        if idle >= CLOCK_ROUND || now.saturating_since(other.seen) >= CLOCK_ROUND {
            return Ok(());
        }
        let latest = own
            .last
            .wrapping_add(ticks(idle.saturating_add(difference)));
        let oldest = other.echoed.unwrap_or(own.first);
        let fits = at_or_after(value, oldest)
            && !after(value, latest)
            && echo.is_none_or(|echo| at_or_after(echo, other.first) && !after(echo, other.last));
        fits.then_some(()).ok_or(BadTimestamp)
    }

    fn note(&mut self, value: u32, echo: Option<u32>, now: Instant) {
        let known = self
            .clock
            .filter(|clock| now.saturating_since(clock.seen) < CLOCK_ROUND);
        self.clock = Some(match known {
            None => Clock {
                first: value,
                last: value,
                seen: now,
                echoed: echo,
            },
            // Some hosts begin with 0 and draw their clock afterwards: until it has echoed the other's it is
            // what it says, as in PF.
            Some(clock) if clock.echoed.is_none() => Clock {
                first: match echo {
                    Some(_) if clock.first == 0 || after(clock.first, value) => value,
                    Some(_) | None => clock.first,
                },
                last: value,
                seen: now,
                echoed: echo,
            },
            Some(clock) => Clock {
                first: clock.first,
                last: latest(clock.last, value),
                seen: now,
                echoed: clock
                    .echoed
                    .map(|before| echo.map_or(before, |echo| latest(before, echo))),
            },
        });
    }

    fn modulated(&self, value: u32, echo: Option<u32>, look: &Look, receiver: &Self) -> (u32, u32) {
        let raw = match look.stamps {
            Stamps::One { echo, .. } => echo,
            Stamps::None | Stamps::Several => 0,
        };
        // Of an end without modulator the echo stays as it is. A SYN's value of 0 is none, and the other end
        // compares no later one with it.
        let is_none = value == 0 && look.has(tcp_flags::SYN);
        let own = self.modulator.filter(|_| !is_none).unwrap_or(0);
        let echo = echo.filter(|_| receiver.modulator.is_some()).unwrap_or(raw);
        (value.wrapping_add(own), echo)
    }
}

fn ticks(span: Duration) -> u32 {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let ticks = millis.saturating_mul(TICKS_PER_SECOND) / 1000;
    u32::try_from(ticks).unwrap_or(u32::MAX >> 1)
}

/// The later of two values.
const fn latest(a: u32, b: u32) -> u32 {
    if after(b, a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u8 = tcp_flags::ACK;
    const S: u8 = tcp_flags::SYN;
    const MODULATOR: u32 = 0x9000_0000;

    fn look(flags: u8, ttl: u8, data: bool, stamps: Stamps) -> Look {
        Look {
            flags,
            ttl,
            has_data: data,
            stamps,
        }
    }

    fn one(value: u32, echo: u32) -> Stamps {
        Stamps::One { value, echo }
    }

    fn take(
        norm: &mut TcpNorm,
        forward: bool,
        look: &Look,
        seconds: u64,
    ) -> Result<Normal, BadTimestamp> {
        norm.take(
            forward,
            look,
            Instant::from_secs(seconds),
            Duration::from_secs(seconds),
            Duration::from_secs(30),
            &mut || MODULATOR,
        )
    }

    /// Handshake and a segment of data from each side; clocks at 1000 and 5000.
    fn established() -> TcpNorm {
        let mut norm = TcpNorm::default();
        let syn = take(&mut norm, true, &look(S, 64, false, one(1000, 0)), 0).unwrap();
        let sent = 1000u32.wrapping_add(MODULATOR);
        assert_eq!(syn.stamps, Some((sent, 0)));
        let answer = look(S | A, 60, false, one(5000, sent));
        let answer = take(&mut norm, false, &answer, 0).unwrap();
        let told = 5000u32.wrapping_add(MODULATOR);
        assert_eq!(answer.stamps, Some((told, 1000)));
        let ack = look(A, 64, true, one(1001, told));
        let ack = take(&mut norm, true, &ack, 0).unwrap();
        assert_eq!(ack.stamps, Some((1001u32.wrapping_add(MODULATOR), 5000)));
        let reply = look(A, 60, true, one(5001, 1001u32.wrapping_add(MODULATOR)));
        take(&mut norm, false, &reply, 0).unwrap();
        norm
    }

    #[test]
    fn timestamps_are_modulated_and_echoes_go_back() {
        established();
    }

    #[test]
    fn the_ttl_never_sinks() {
        let mut norm = established();
        let echo = 5001u32.wrapping_add(MODULATOR);
        let low = look(A, 3, true, one(1002, echo));
        assert_eq!(take(&mut norm, true, &low, 1).unwrap().ttl, 64);
        let high = look(A, 70, true, one(1002, echo));
        assert_eq!(take(&mut norm, true, &high, 1).unwrap().ttl, 70);
    }

    #[test]
    fn a_clock_goes_neither_back_nor_ahead_of_its_time() {
        let echo = 5001u32.wrapping_add(MODULATOR);
        for (value, seconds, fits) in [
            (1001, 1, true),
            (1000, 1, false),
            (1001 + 1100 * 31, 1, true),
            (1001 + 1100 * 31 + 1, 1, false),
            (1001 + 1100 * 130, 100, true),
        ] {
            let mut norm = established();
            let before = norm;
            let taken = take(
                &mut norm,
                true,
                &look(A, 64, true, one(value, echo)),
                seconds,
            );
            assert_eq!(taken.is_ok(), fits, "{value} after {seconds} s");
            assert_eq!(norm != before, fits);
        }
    }

    #[test]
    fn an_echo_is_of_what_was_sent() {
        for (echo, fits) in [(5001, true), (5000, true), (4999, false), (5002, false)] {
            let mut norm = established();
            let echo = MODULATOR.wrapping_add(echo);
            let taken = take(&mut norm, true, &look(A, 64, true, one(1001, echo)), 1);
            assert_eq!(taken.is_ok(), fits, "{echo}");
        }
    }

    #[test]
    fn data_go_on_with_timestamps_and_have_one_of_them() {
        let mut norm = established();
        let bare = look(A, 64, true, Stamps::None);
        assert_eq!(take(&mut norm, true, &bare, 1), Err(BadTimestamp));
        let twice = look(A, 64, true, Stamps::Several);
        assert_eq!(take(&mut norm, true, &twice, 1), Err(BadTimestamp));
        let reset = look(tcp_flags::RST, 64, false, Stamps::None);
        assert!(take(&mut norm, true, &reset, 1).is_ok());
    }

    /// Windows does, where it is short of random numbers.
    #[test]
    fn a_clock_that_is_drawn_after_the_handshake_may_begin_anywhere() {
        for drawn in [7, 0x6000_0000, 0xb000_0000, u32::MAX] {
            let mut norm = TcpNorm::default();
            let modulated = |value: u32| value.wrapping_add(MODULATOR);
            let syn = take(&mut norm, true, &look(S, 64, false, one(0, 0)), 0).unwrap();
            assert_eq!(syn.stamps, Some((0, 0)), "0 is none");
            let answer = look(S | A, 60, false, one(5000, 0));
            let answer = take(&mut norm, false, &answer, 0).unwrap();
            assert_eq!(answer.stamps, Some((modulated(5000), 0)));
            let mut value = drawn;
            for told in [5000, 5001, 5002] {
                let data = look(A, 64, true, one(value, modulated(told)));
                let data = take(&mut norm, true, &data, 0).unwrap();
                assert_eq!(data.stamps, Some((modulated(value), told)), "{drawn:x}");
                let reply = look(A, 60, true, one(told + 1, modulated(value)));
                let reply = take(&mut norm, false, &reply, 0).unwrap();
                assert_eq!(reply.stamps, Some((modulated(told + 1), value)));
                value = value.wrapping_add(1);
            }
        }
    }

    #[test]
    fn a_connection_of_twelve_days_is_not_held_to_what_it_began_with() {
        let echo = 4999u32.wrapping_add(MODULATOR);
        let day = 24 * 60 * 60;
        for (seconds, fits) in [(12 * day - 1, false), (12 * day, true)] {
            let mut norm = established();
            let late = look(A, 64, true, one(1001, echo));
            assert_eq!(take(&mut norm, true, &late, seconds).is_ok(), fits);
        }
    }

    #[test]
    fn who_announced_none_is_left_alone() {
        let mut norm = TcpNorm::default();
        for (forward, flags) in [(true, S), (false, S | A), (true, A)] {
            let bare = look(flags, 64, false, Stamps::None);
            let normal = take(&mut norm, forward, &bare, 0).unwrap();
            assert_eq!(normal.stamps, None);
        }
        let stray = take(&mut norm, true, &look(A, 64, true, one(7, 9)), 0).unwrap();
        assert_eq!(stray.stamps, Some((7, 9)));
        let twice = take(&mut norm, true, &look(A, 64, true, Stamps::Several), 0).unwrap();
        assert_eq!(twice.stamps, None);
    }

    #[test]
    fn after_a_restart_modulation_goes_on_and_clocks_are_learnt_again() {
        let mut norm = TcpNorm::of_records(established().records());
        let late = look(A, 64, true, one(9_000_000, 5001u32.wrapping_add(MODULATOR)));
        let normal = take(&mut norm, true, &late, 1).unwrap();
        let sent = 9_000_000u32.wrapping_add(MODULATOR);
        assert_eq!(normal.stamps, Some((sent, 5001)));
    }
}
