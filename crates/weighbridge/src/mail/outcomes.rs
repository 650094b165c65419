//! Where reports of mail servers go.

use std::collections::VecDeque;

use mail::outcome::{Outcome, OutcomeSink};

/// Reports that are held at most: an hour's of a busy server.
pub const HELD_MAX: usize = 100_000;

/// The sink that all services share.
#[must_use]
pub fn sink() -> Box<dyn OutcomeSink + Send> {
    Box::new(Queue::new(HELD_MAX))
}

/// The newest reports, in memory.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    outcomes: VecDeque<Outcome>,
    lost: u64,
}

impl Queue {
    /// One that holds `limit` reports.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            outcomes: VecDeque::new(),
            lost: 0,
        }
    }

    /// The oldest report, which is taken out.
    pub fn take(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Reports that had to make room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl OutcomeSink for Queue {
    fn record(&mut self, outcome: Outcome) {
        if self.outcomes.len() >= self.limit {
            self.outcomes.pop_front();
            self.lost += 1;
        }
        self.outcomes.push_back(outcome);
    }
}

#[cfg(test)]
mod tests {
    use mail::connection::Peer;
    use mail::outcome::Verdict;
    use mail::time::Timestamp;

    use super::*;

    #[test]
    fn a_full_queue_loses_its_oldest_and_counts_it() {
        let mut queue = Queue::new(2);
        for second in 0..3 {
            queue.record(Outcome {
                at: Timestamp::from_secs(second),
                peer: Peer::address([192, 0, 2, 1].into()),
                verdict: Verdict::Accepted,
                stage: None,
                message: None,
                reporter: "text",
            });
        }
        assert_eq!(queue.lost(), 1);
        assert_eq!(
            queue.take().map(|first| first.at),
            Some(Timestamp::from_secs(1))
        );
    }
}
