//! Tells which limit was hit, once a minute for each.

use std::time::Duration;

use pf_engine::engine::Engine;
use pf_engine::ruleset::Limit;
use pf_engine::time::Instant;
use tracing::warn;

/// From one warning about a limit to the next.
const INTERVAL: Duration = Duration::from_mins(1);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct LimitWatch {
    hits: [u64; Limit::ALL.len()],
    told: [Option<Instant>; Limit::ALL.len()],
}

impl LimitWatch {
    /// Warns of the limits that were hit since the last time, unless that was told a minute ago.
    pub(super) fn check(&mut self, engine: &Engine, now: Instant) {
        for (limit, hits) in self.due(engine.limit_hits(), now) {
            let value = engine.limit(limit);
            let name = limit.name();
            warn!(
                "the limit of {name} ({value}) was hit {hits} times; `set limit {name}` raises it, \
                 `weighbridge limits` shows all"
            );
        }
    }

    fn due(&mut self, hits: [u64; Limit::ALL.len()], now: Instant) -> Vec<(Limit, u64)> {
        let mut due = Vec::new();
        let counts = self.hits.iter_mut().zip(hits).zip(&mut self.told);
        for (limit, ((before, hits), told)) in Limit::ALL.into_iter().zip(counts) {
            let recent = told.is_some_and(|told| now.saturating_since(told) < INTERVAL);
            if hits == *before || recent {
                continue;
            }
            due.push((limit, hits.saturating_sub(*before)));
            (*before, *told) = (hits, Some(now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_once_a_minute_with_all_hits_since() {
        let mut watch = LimitWatch::default();
        let mut hits = [0; Limit::ALL.len()];
        let at = Instant::from_secs;
        assert_eq!(watch.due(hits, at(0)), []);
        hits[Limit::States as usize] = 3;
        assert_eq!(watch.due(hits, at(1)), [(Limit::States, 3)]);
        hits[Limit::States as usize] = 10;
        hits[Limit::SrcNodes as usize] = 1;
        assert_eq!(watch.due(hits, at(30)), [(Limit::SrcNodes, 1)]);
        assert_eq!(watch.due(hits, at(61)), [(Limit::States, 7)]);
        assert_eq!(watch.due(hits, at(200)), []);
    }
}
