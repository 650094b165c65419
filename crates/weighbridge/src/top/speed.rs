//! How fast something is: the difference of two samples over the time between them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What a second has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Speed {
    /// Packets.
    pub packets: f64,
    /// Bytes.
    pub bytes: f64,
    /// The most bytes of any second so far.
    pub peak: f64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    packets: u64,
    bytes: u64,
    at: Duration,
    speed: Option<Speed>,
}

/// What the last sample has counted, by key.
#[derive(Debug)]
pub struct Cache<K> {
    limit: usize,
    known: BTreeMap<K, Known>,
}

impl<K: Ord> Cache<K> {
    /// A cache of no more than `limit` things; what there is beyond has no speed.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            known: BTreeMap::new(),
        }
    }

    /// The speed of what has now counted so much. Nothing when it is seen for the first time.
    /// Counters that have been zeroed begin again.
    pub fn speed(&mut self, key: K, packets: u64, bytes: u64, now: Duration) -> Option<Speed> {
        let before = self.known.get(&key).copied();
        if before.is_none() && self.known.len() >= self.limit {
            return None;
        }
        let speed = before.and_then(|before| {
            let seconds = now.saturating_sub(before.at).as_secs_f64();
            if seconds <= 0.0 {
                return before.speed;
            }
            let bytes_each = per_second(before.bytes, bytes, seconds)?;
            let peak = before.speed.map_or(0.0, |speed| speed.peak);
            Some(Speed {
                packets: per_second(before.packets, packets, seconds)?,
                bytes: bytes_each,
                peak: peak.max(bytes_each),
            })
        });
        let known = Known {
            packets,
            bytes,
            at: now,
            speed,
        };
        self.known.insert(key, known);
        speed
    }

    /// Forgets what the sample of `now` has not shown.
    pub fn end(&mut self, now: Duration) {
        self.known.retain(|_, known| known.at == now);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and shown with four digits"
)]
fn per_second(before: u64, now: u64, seconds: f64) -> Option<f64> {
    Some(now.checked_sub(before)? as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn speed_is_the_difference_over_the_time_and_the_peak_stays() {
        let mut cache = Cache::new(9);
        assert_eq!(cache.speed(1, 10, 1000, at(0)), None);
        cache.end(at(0));
        let fast = cache.speed(1, 20, 3000, at(2)).expect("two samples");
        assert_eq!((fast.packets, fast.bytes, fast.peak), (5.0, 1000.0, 1000.0));
        cache.end(at(2));
        let slow = cache.speed(1, 20, 3000, at(4)).expect("two samples");
        assert_eq!((slow.bytes, slow.peak), (0.0, 1000.0));
        // Zeroed, or another one with the same number.
        assert_eq!(cache.speed(1, 1, 50, at(6)), None);
        // The same moment again changes nothing.
        assert_eq!(cache.speed(1, 1, 50, at(6)), None);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_no_more_is_kept_than_the_limit() {
        let mut cache = Cache::new(2);
        for key in 0..3 {
            let _ = cache.speed(key, 0, 0, at(0));
        }
        cache.end(at(0));
        assert!(cache.speed(0, 0, 0, at(1)).is_some());
        cache.end(at(1));
        assert_eq!(cache.speed(1, 0, 0, at(2)), None, "it was gone once");
        assert_eq!(cache.speed(2, 0, 0, at(2)), None, "beyond the limit");
        cache.clear();
        assert_eq!(cache.speed(0, 0, 0, at(3)), None);
    }
}
