//! What a capture came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pf_engine::decision::{DropReason, Verdict};
use serde_json::{Value, json};

/// Counts of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Frames in the capture.
    pub(super) packets: u64,
    /// Frames that carry no IP packet.
    pub(super) not_ip: u64,
    /// IP packets, by the last verdict that each met.
    passed: u64,
    blocked: u64,
    dropped: BTreeMap<DropReason, u64>,
    held: u64,
    /// Packets that the filter has sent.
    pub(super) sent: u64,
    /// Packets for the log.
    pub(super) logged: u64,
    /// Packets of which the capture holds only the beginning.
    pub(super) cut: u64,
    /// Packets whose time was before that of an earlier one.
    pub(super) backwards: u64,
    /// Packets that the filter sent on and that had met too many interfaces.
    pub(super) not_followed: u64,
}

impl Totals {
    /// Counts the last verdict of a packet.
    pub(super) fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Pass(_) | Verdict::PassFragments(..) => self.passed += 1,
            Verdict::Drop(DropReason::Match) => self.blocked += 1,
            Verdict::Drop(reason) => *self.dropped.entry(*reason).or_default() += 1,
            Verdict::Held => self.held += 1,
        }
    }

    /// For people.
    pub(super) fn text(&self, states: u64) -> String {
        let mut text = format!(
            "{} packets: {} passed, {} blocked, {} dropped{}, {} held, {} not IP\n\
             {states} states made, {} packets sent by the filter, {} logged\n",
            self.packets,
            self.passed,
            self.blocked,
            self.dropped.values().sum::<u64>(),
            self.reasons(),
            self.held,
            self.not_ip,
            self.sent,
            self.logged,
        );
        let remarks = [
            (
                self.cut,
                "cut off in the capture, zeros in place of the rest",
            ),
            (
                self.backwards,
                "older than one before them, time stood still",
            ),
            (
                self.not_followed,
                "sent by the filter and not followed further",
            ),
        ];
        for (count, remark) in remarks.iter().filter(|(count, _)| *count > 0) {
            let _ = writeln!(text, "{remark}: {count}");
        }
        text
    }

    fn reasons(&self) -> String {
        let reasons = self.dropped.iter();
        let reasons: Vec<String> = reasons.map(|(r, n)| format!("{} {n}", r.name())).collect();
        if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        }
    }

    /// As JSON.
    pub(super) fn json(&self, states: u64) -> Value {
        let dropped: BTreeMap<&str, u64> =
            self.dropped.iter().map(|(r, n)| (r.name(), *n)).collect();
        json!({"totals": {
            "packets": self.packets,
            "passed": self.passed,
            "blocked": self.blocked,
            "dropped": dropped,
            "held": self.held,
            "not_ip": self.not_ip,
            "states": states,
            "sent": self.sent,
            "logged": self.logged,
            "cut": self.cut,
            "backwards": self.backwards,
            "not_followed": self.not_followed,
        }})
    }
}
