//! What a packet met: for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use pf_engine::anchor::AnchorPath;
use pf_engine::decision::{Decision, DropReason, GeneratedExit, StateId, Verdict};
use pf_engine::explain::Step;
use pf_engine::rule::Direction;
use serde_json::{Value, json};

use crate::pflog::text::time_of_day;
use crate::tools::explain::{packet_words, route_kind, words};

/// A number and a time: which packet of the capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    /// From 1.
    pub(super) number: u64,
    /// Since 1970.
    pub(super) time: Duration,
}

impl Which {
    fn text(self) -> String {
        format!("{} {}", self.number, time_of_day(self.time))
    }

    fn json(self) -> Value {
        let (seconds, micros) = (self.time.as_secs(), self.time.subsec_micros());
        json!({"packet": self.number, "time": format!("{seconds}.{micros:06}")})
    }
}

/// A packet in words; that it is none is said too.
pub(super) fn packet(bytes: &[u8]) -> String {
    let length = bytes.len();
    packet_words(bytes).unwrap_or_else(|| format!("[malformed], length {length}"))
}

/// One packet at one interface in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meeting {
    interface: String,
    direction: Direction,
    packet: String,
    verdict: &'static str,
    reason: Option<&'static str>,
    rule: Option<u32>,
    anchor: AnchorPath,
    state: Option<StateId>,
    makes_state: bool,
    by_translation: bool,
    /// The rule for frames that blocks.
    frame: Option<(AnchorPath, u32)>,
    route: Option<String>,
    /// As what it goes on, if that is something else.
    goes_on_as: Option<String>,
}

impl Meeting {
    pub(super) fn new(interface: String, direction: Direction, packet: String) -> Self {
        Self {
            interface,
            direction,
            packet,
            verdict: "pass",
            reason: None,
            rule: None,
            anchor: AnchorPath::main(),
            state: None,
            makes_state: false,
            by_translation: false,
            frame: None,
            route: None,
            goes_on_as: None,
        }
    }

    fn follow(&mut self, step: &Step, rule_of: impl Fn(StateId) -> Option<u32>) {
        match step {
            Step::StateFound { id } => {
                self.state = Some(*id);
                self.rule = rule_of(*id);
            }
            Step::Decided { anchor, number } => {
                self.rule = *number;
                self.anchor = anchor.clone();
            }
            Step::Translated { packet, .. } => self.goes_on_as = Some(words::packet(packet)),
            Step::PassedByTranslation => self.by_translation = true,
            Step::StateMade => self.makes_state = true,
            Step::Routed {
                kind,
                interface,
                next_hop,
            } => self.route = Some(format!("{} {interface} {next_hop}", route_kind(*kind))),
            Step::FrameDecided {
                anchor,
                number,
                passed,
            } => {
                self.frame = (!passed).then(|| (anchor.clone(), *number));
            }
            Step::Entered { .. } | Step::Tested { .. } | Step::Skipped { .. } => {}
        }
    }

    fn end(&mut self, decision: &Decision, came_as: &str, leaves_as: &str) {
        self.verdict = verdict(&decision.verdict);
        match &decision.verdict {
            Verdict::Drop(reason) => {
                self.reason = Some(reason.name());
                self.goes_on_as = None;
            }
            Verdict::Held => self.goes_on_as = None,
            Verdict::Pass(_) | Verdict::PassFragments(..) => {
                self.goes_on_as = (came_as != leaves_as).then(|| leaves_as.to_owned());
            }
        }
        if let Verdict::PassFragments(_, pieces) = &decision.verdict {
            self.goes_on_as = Some(format!("{} fragments", pieces.len()));
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} on {} {}: {}",
            words::direction(self.direction),
            self.interface,
            self.packet,
            self.verdict
        );
        // Writing to a string cannot fail.
        if let Some(reason) = self.reason.filter(|_| self.verdict == "drop") {
            let _ = write!(text, " ({reason})");
        }
        if let (Some(rule), None, None) = (self.rule, self.state, &self.frame) {
            let _ = write!(text, " @{rule}");
        }
        if let Some((anchor, number)) = &self.frame {
            let _ = write!(text, " by ether @{number}");
            if !anchor.is_main() {
                let _ = write!(text, " of anchor {anchor}");
            }
        }
        if !self.anchor.is_main() {
            let _ = write!(text, " of anchor {}", self.anchor);
        }
        if self.by_translation {
            text.push_str(" by the translation rule");
        }
        if let Some(state) = self.state {
            let _ = write!(text, ", state {}", state.0);
            if let Some(rule) = self.rule {
                let _ = write!(text, " of @{rule}");
            }
        }
        if self.makes_state {
            text.push_str(", makes a state");
        }
        for more in [
            self.route.clone(),
            self.goes_on_as
                .as_ref()
                .map(|packet| format!("as {packet}")),
        ] {
            text.extend(more.map(|more| format!(", {more}")));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "interface": self.interface,
            "direction": words::direction(self.direction),
            "packet": self.packet,
            "verdict": self.verdict,
            "reason": self.reason,
            "rule": self.rule,
            "anchor": (!self.anchor.is_main()).then(|| self.anchor.to_string()),
            "state": self.state.map(|state| state.0),
            "ether": self.frame.as_ref().map(|(_, number)| number),
            "makes_state": self.makes_state,
            "by_translation": self.by_translation,
            "route": self.route,
            "goes_on_as": self.goes_on_as,
        })
    }
}

const fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass(_) | Verdict::PassFragments(..) => "pass",
        Verdict::Drop(DropReason::Match) => "block",
        Verdict::Drop(_) => "drop",
        Verdict::Held => "held",
    }
}

/// The meetings of one call of the engine: more than one with `route-to`. `came` is used when the
/// engine did not get as far as its rules.
pub(super) fn meetings(
    steps: &[Step],
    decision: &Decision,
    mut came: Meeting,
    leaves_as: &str,
    rule_of: impl Fn(StateId) -> Option<u32>,
) -> Vec<Meeting> {
    let came_as = came.packet.clone();
    let mut meetings: Vec<Meeting> = Vec::new();
    for step in steps {
        if let Step::Entered {
            interface,
            direction,
            packet,
        } = step
        {
            let packet = words::packet(packet);
            meetings.push(Meeting::new(interface.clone(), *direction, packet));
        } else if let Some(meeting) = meetings.last_mut() {
            meeting.follow(step, &rule_of);
        } else {
            came.follow(step, &rule_of);
        }
    }
    if meetings.is_empty() {
        meetings.push(came);
    }
    if let Some(last) = meetings.last_mut() {
        last.end(decision, &came_as, leaves_as);
    }
    meetings
}

/// Packets that the filter has sent: how, and which.
pub(super) fn sent(decision: &Decision) -> impl Iterator<Item = (&'static str, String)> {
    decision.generated.iter().map(|generated| {
        let how = match generated.exit {
            GeneratedExit::Back => "sends back",
            GeneratedExit::To(_) => "sends a copy",
            GeneratedExit::Onward { .. } => "sends on",
        };
        (how, packet(&generated.bytes))
    })
}

/// Lines about one packet.
pub(super) fn text(which: Which, meetings: &[Meeting], sent: &[(&str, String)]) -> String {
    let which = which.text();
    let mut text = String::new();
    for meeting in meetings {
        let _ = writeln!(text, "{which} {}", meeting.text());
    }
    for (how, packet) in sent {
        let _ = writeln!(text, "{which} {how} {packet}");
    }
    text
}

/// The same as one object in one line.
pub(super) fn json(
    which: Which,
    length: usize,
    meetings: &[Meeting],
    sent: &[(&str, String)],
) -> String {
    let mut value = which.json();
    value["length"] = json!(length);
    value["evaluations"] = meetings.iter().map(Meeting::json).collect();
    value["sent"] = sent
        .iter()
        .map(|(how, packet)| json!({"how": how, "packet": packet}))
        .collect();
    format!("{value}\n")
}

/// About a frame that is not filtered.
pub(super) fn other(which: Which, what: &str, is_json: bool) -> String {
    if is_json {
        let mut value = which.json();
        value["not_ip"] = json!(what);
        format!("{value}\n")
    } else {
        format!("{} {what}: not IP, not filtered\n", which.text())
    }
}
