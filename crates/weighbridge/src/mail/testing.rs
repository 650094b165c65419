//! What tests of the mail side share: who knows nobody and keeps nothing, and reports.

use mail::answer::{Answer, LookUp};
use mail::connection::Peer;
use mail::outcome::{Outcome, OutcomeSink, Verdict};
use mail::time::Timestamp;

/// Knows nobody and keeps nothing.
pub(super) struct Nobody;

impl LookUp for Nobody {
    fn look_up(&mut self, _: &Peer, _: Timestamp) -> Option<Answer> {
        None
    }
}

impl OutcomeSink for Nobody {
    fn record(&mut self, _: Outcome) {}
}

/// A message of `address`.
pub(super) fn outcome(address: &str, verdict: Verdict, at: Timestamp) -> Outcome {
    Outcome {
        at,
        peer: Peer::address(address.parse().expect("an address")),
        verdict,
        stage: None,
        message: None,
        reporter: "text",
    }
}

/// So many rejected messages of `address`.
pub(super) fn rejected(address: &str, times: usize, at: Timestamp) -> Vec<Outcome> {
    vec![outcome(address, Verdict::Rejected, at); times]
}
