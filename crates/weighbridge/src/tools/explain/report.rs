//! What was explained: for people and as JSON.

use std::fmt::Write as _;

use pf_conf::{Loaded, PrintOptions, print_rule};
use pf_engine::anchor::AnchorPath;
use pf_engine::decision::{Decision, DropReason, Exit, GeneratedExit, Verdict};
use pf_engine::engine::RuleList;
use pf_engine::env::{Env, FixedEnv, IfIndex};
use pf_engine::explain::{Outcome, Seen, Step};
use pf_engine::rule::{RouteKind, Rule};
use pf_engine::view::StateView;
use pf_engine::wire::Meta;
use serde_json::{Value, json};

use super::words::{self, Place};

/// A rule by its place.
#[derive(Clone, Copy)]
struct RuleName<'a> {
    anchor: &'a AnchorPath,
    list: RuleList,
    number: u32,
}

impl<'a> RuleName<'a> {
    const fn new(anchor: &'a AnchorPath, list: RuleList, number: u32) -> Self {
        Self {
            anchor,
            list,
            number,
        }
    }
}

/// ` of anchor …`, nothing for the main ruleset.
fn of_anchor(path: &AnchorPath) -> String {
    if path.is_main() {
        String::new()
    } else {
        format!(" of anchor {path}")
    }
}

/// An explained packet and what it was explained with.
pub(super) struct Report<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) env: &'a FixedEnv,
    pub(super) steps: &'a [Step],
    pub(super) decision: &'a Decision,
    pub(super) states: Vec<StateView<'a>>,
    /// The packet as it leaves.
    pub(super) bytes: &'a [u8],
    /// What was assumed.
    pub(super) notes: &'a [String],
}

impl Report<'_> {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for note in self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let mut at = Position::default();
        for step in self.steps {
            self.write_step(&mut text, step, &mut at);
        }
        let _ = writeln!(text, "\n{}", self.outcome());
        for line in self.consequences() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    fn write_step(&self, text: &mut String, step: &Step, at: &mut Position) {
        at.follow(step);
        match step {
            Step::Entered { packet, .. } => {
                let gap = if text.is_empty() { "" } else { "\n" };
                let place = words::direction(at.place.direction);
                let interface = &at.place.interface;
                let packet = words::packet(packet);
                let _ = writeln!(text, "{gap}{place} on {interface}: {packet}");
            }
            Step::StateFound { id } => {
                let _ = writeln!(text, "  state {} covers it: no rule is looked at", id.0);
            }
            Step::Tested {
                anchor,
                list,
                number,
                outcome,
            } => self.write_test(text, RuleName::new(anchor, *list, *number), *outcome, at),
            Step::Skipped {
                first,
                last,
                criterion,
                ..
            } => {
                let which = range(*first, *last);
                let criterion = words::criterion(*criterion);
                let _ = writeln!(text, "  {which:<5} passed over: the same {criterion}");
            }
            Step::Translated {
                anchor,
                list,
                number,
                packet,
            } => {
                let by = format!("{} @{number}{}", words::list_name(*list), of_anchor(anchor));
                let _ = writeln!(text, "  translated by {by}: {}", words::packet(packet));
            }
            Step::PassedByTranslation => {
                let _ = writeln!(
                    text,
                    "  passes by the translation rule, filter rules not asked"
                );
            }
            Step::Decided { anchor, number } => {
                let _ = writeln!(text, "  decides: {}", self.decisive(anchor, *number));
            }
            Step::FrameDecided {
                anchor,
                number,
                passed,
            } => {
                let what = if *passed { "pass" } else { "block" };
                let of = of_anchor(anchor);
                let _ = writeln!(
                    text,
                    "  ether @{number}{of} decides about the frame: {what}"
                );
            }
            Step::StateMade => {
                let _ = writeln!(text, "  makes a state");
            }
            Step::Routed {
                kind,
                interface,
                next_hop,
            } => {
                let kind = route_kind(*kind);
                let _ = writeln!(
                    text,
                    "  {kind}: out of {interface} to the neighbour {next_hop}"
                );
            }
        }
    }

    fn write_test(
        &self,
        text: &mut String,
        name: RuleName<'_>,
        outcome: Outcome,
        at: &mut Position,
    ) {
        let RuleName {
            anchor,
            list,
            number,
        } = name;
        if at.list.as_ref() != Some(&(anchor.clone(), list)) {
            at.list = Some((anchor.clone(), list));
            let of = of_anchor(anchor);
            let _ = writeln!(text, " {} rules{of}", words::list_name(list));
        }
        let number_text = format!("@{number}");
        let line = self.place(name);
        let printed = self.printed(name);
        let _ = writeln!(text, "  {number_text:<5} {line}{printed}");
        let result = match outcome {
            Outcome::Matched => "matches".to_owned(),
            Outcome::Failed(criterion) => {
                let rule = self.rule(name);
                let wanted = rule.map_or_else(String::new, |rule| {
                    words::wanted(rule, list, &at.place, criterion)
                });
                let actual = at.packet.as_ref().map_or_else(String::new, |packet| {
                    words::actual(packet, &at.place, criterion)
                });
                let criterion = words::criterion(criterion);
                format!("no: {criterion} is {actual}, the rule wants {wanted}")
            }
        };
        let _ = writeln!(text, "          {result}");
    }

    fn rule(&self, name: RuleName<'_>) -> Option<&Rule> {
        let main = &self.loaded.ruleset;
        let ruleset = if name.anchor.is_main() {
            main
        } else {
            main.anchors.get(name.anchor)?
        };
        let rules = ruleset.list(name.list);
        rules.get(usize::try_from(name.number).ok()?)
    }

    fn printed(&self, name: RuleName<'_>) -> String {
        let options = PrintOptions {
            dialect: self.loaded.ruleset.dialect,
            ..PrintOptions::default()
        };
        let rule = self.rule(name);
        rule.map_or_else(String::new, |rule| print_rule(rule, options))
    }

    /// `file:line: `.
    fn place(&self, name: RuleName<'_>) -> String {
        let place = self.origin(name);
        place.map_or_else(String::new, |place| {
            format!("{}:{}: ", place.file, place.line)
        })
    }

    fn origin(&self, name: RuleName<'_>) -> Option<pf_conf::Place> {
        let number = usize::try_from(name.number).ok()?;
        self.loaded.origins.place_in(name.anchor, name.list, number)
    }

    fn decisive(&self, anchor: &AnchorPath, number: Option<u32>) -> String {
        let Some(number) = number else {
            return "no rule matches, so it passes".to_owned();
        };
        let quick = self
            .rule(RuleName::new(anchor, RuleList::Filter, number))
            .is_some_and(|rule| rule.quick);
        let why = if quick {
            "quick"
        } else {
            "the last that matches"
        };
        format!("@{number}{} ({why})", of_anchor(anchor))
    }

    /// The filter rule that decided last: its anchor and its number there.
    fn last_decision(&self) -> Option<(&AnchorPath, u32)> {
        self.steps.iter().rev().find_map(|step| {
            if let Step::Decided { anchor, number } = step {
                Some(number.map(|number| (anchor, number)))
            } else {
                None
            }
        })?
    }

    fn outcome(&self) -> String {
        match &self.decision.verdict {
            Verdict::Pass(exit) => format!("passes, {}", self.exit(*exit)),
            Verdict::PassFragments(exit, pieces) => {
                format!("passes in {} fragments, {}", pieces.len(), self.exit(*exit))
            }
            Verdict::Held => "waits for the other fragments".to_owned(),
            Verdict::Drop(DropReason::Match) => {
                let number = self
                    .last_decision()
                    .map_or_else(String::new, |(anchor, number)| {
                        format!(" by @{number}{}", of_anchor(anchor))
                    });
                format!("blocked{number}")
            }
            Verdict::Drop(reason) => {
                format!("dropped ({}): {}", reason.name(), drop_words(*reason))
            }
        }
    }

    fn exit(&self, exit: Exit) -> String {
        match exit {
            Exit::Continue => "and goes on to the bridge, the routing or the box itself".to_owned(),
            Exit::Gateway {
                interface,
                next_hop,
            } => format!(
                "out of {} to the neighbour {next_hop}",
                self.name(interface)
            ),
            Exit::Socket(Some(address)) => format!("to the socket that listens at {address}"),
            Exit::Socket(None) => "to the socket of the box that it answers".to_owned(),
            Exit::Bridge { interface } => {
                format!("out of {} as it is", self.name(interface))
            }
            Exit::Wire { interface, .. } => {
                format!("onto the wire of its client at {}", self.name(interface))
            }
        }
    }

    fn name(&self, index: IfIndex) -> &str {
        self.env
            .interface(index)
            .map_or("?", |interface| &interface.name)
    }

    fn passes(&self) -> bool {
        matches!(
            self.decision.verdict,
            Verdict::Pass(_) | Verdict::PassFragments(..)
        )
    }

    /// The packet as it leaves, what was sent back, states.
    fn consequences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.passes() {
            lines.extend(packet_words(self.bytes).map(|packet| format!("as {packet}")));
        }
        for generated in &self.decision.generated {
            let what = match generated.exit {
                GeneratedExit::Back => "sends back",
                GeneratedExit::To(_) => "sends a copy",
                GeneratedExit::Onward { .. } => "sends on",
            };
            lines.extend(packet_words(&generated.bytes).map(|packet| format!("{what} {packet}")));
        }
        lines.extend(
            self.states
                .iter()
                .map(|state| format!("state: {}", state_words(state))),
        );
        if self.passes() && self.states.is_empty() {
            lines.push("no state: answers are judged by the rules on their own".to_owned());
        }
        lines
    }

    /// As JSON: the same facts with names.
    pub(super) fn json(&self) -> Value {
        let mut evaluations: Vec<Value> = Vec::new();
        let mut at = Position::default();
        for step in self.steps {
            at.follow(step);
            if let Step::Entered { packet, .. } = step {
                evaluations.push(json!({
                    "interface": at.place.interface,
                    "direction": words::direction(at.place.direction),
                    "packet": packet_json(packet),
                    "steps": [],
                }));
            } else if let Some(value) = self.step_json(step, &at)
                && let Some(steps) = evaluations
                    .last_mut()
                    .and_then(|e| e["steps"].as_array_mut())
            {
                steps.push(value);
            }
        }
        let generated: Vec<Option<String>> = self
            .decision
            .generated
            .iter()
            .map(|g| packet_words(&g.bytes))
            .collect();
        json!({
            "notes": self.notes,
            "evaluations": evaluations,
            "verdict": self.verdict_json(),
            "leaves_as": self.passes().then(|| packet_words(self.bytes)).flatten(),
            "sends": generated,
            "states": self.states.iter().map(state_words).collect::<Vec<_>>(),
        })
    }

    fn step_json(&self, step: &Step, at: &Position) -> Option<Value> {
        Some(match step {
            Step::StateFound { id } => json!({"step": "state", "id": id.0}),
            Step::Tested {
                anchor,
                list,
                number,
                outcome,
            } => self.test_json(RuleName::new(anchor, *list, *number), *outcome, at),
            Step::Skipped {
                list,
                first,
                last,
                criterion,
                ..
            } => json!({
                "step": "skipped", "list": words::list_name(*list),
                "first": first, "last": last, "criterion": words::criterion(*criterion),
            }),
            Step::Translated {
                list,
                number,
                packet,
                ..
            } => json!({
                "step": "translated", "list": words::list_name(*list), "rule": number,
                "packet": packet_json(packet),
            }),
            Step::PassedByTranslation => json!({"step": "passed-by-translation"}),
            Step::Decided { number, .. } => json!({"step": "decided", "rule": number}),
            Step::FrameDecided { number, passed, .. } => {
                json!({"step": "frame-decided", "ether": number, "passed": passed})
            }
            Step::StateMade => json!({"step": "state-made"}),
            Step::Routed {
                kind,
                interface,
                next_hop,
            } => json!({
                "step": "routed", "kind": route_kind(*kind),
                "interface": interface, "next_hop": next_hop.to_string(),
            }),
            Step::Entered { .. } => return None,
        })
    }

    fn test_json(&self, name: RuleName<'_>, outcome: Outcome, at: &Position) -> Value {
        let (list, number) = (name.list, name.number);
        let place = self.origin(name);
        let mut value = json!({
            "step": "rule", "list": words::list_name(list), "rule": number,
            "text": self.printed(name),
            "file": place.as_ref().map(|place| place.file.clone()),
            "line": place.as_ref().map(|place| place.line),
            "matched": outcome == Outcome::Matched,
        });
        if !name.anchor.is_main() {
            value["anchor"] = name.anchor.as_str().into();
        }
        if let (Outcome::Failed(criterion), Some(rule), Some(packet)) =
            (outcome, self.rule(name), &at.packet)
        {
            value["failed"] = json!({
                "criterion": words::criterion(criterion),
                "rule": words::wanted(rule, list, &at.place, criterion),
                "packet": words::actual(packet, &at.place, criterion),
            });
        }
        value
    }

    fn verdict_json(&self) -> Value {
        match &self.decision.verdict {
            Verdict::Pass(exit) | Verdict::PassFragments(exit, _) => {
                let (kind, interface, next_hop) = match *exit {
                    Exit::Continue => ("continue", None, None),
                    Exit::Gateway {
                        interface,
                        next_hop,
                    } => (
                        "gateway",
                        Some(self.name(interface)),
                        Some(next_hop.to_string()),
                    ),
                    Exit::Socket(address) => {
                        ("socket", None, address.map(|address| address.to_string()))
                    }
                    Exit::Bridge { interface } => ("bridge", Some(self.name(interface)), None),
                    Exit::Wire { interface, .. } => ("wire", Some(self.name(interface)), None),
                };
                json!({"action": "pass", "exit": kind, "interface": interface, "next_hop": next_hop})
            }
            Verdict::Drop(DropReason::Match) => {
                json!({"action": "block", "rule": self.last_decision().map(|(_, number)| number)})
            }
            Verdict::Drop(reason) => json!({"action": "drop", "reason": reason.name()}),
            Verdict::Held => json!({"action": "held"}),
        }
    }
}

/// Where the explanation stands.
struct Position {
    place: Place,
    /// The packet as rules see it now.
    packet: Option<Seen>,
    /// The list whose heading was written last.
    list: Option<(AnchorPath, RuleList)>,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            place: Place {
                interface: String::new(),
                direction: pf_engine::rule::Direction::In,
            },
            packet: None,
            list: None,
        }
    }
}

impl Position {
    fn follow(&mut self, step: &Step) {
        match step {
            Step::Entered {
                interface,
                direction,
                packet,
            } => {
                self.place = Place {
                    interface: interface.clone(),
                    direction: *direction,
                };
                self.packet = Some(packet.clone());
                self.list = None;
            }
            Step::Translated { packet, .. } => self.packet = Some(packet.clone()),
            Step::StateFound { .. }
            | Step::Tested { .. }
            | Step::Skipped { .. }
            | Step::PassedByTranslation
            | Step::Decided { .. }
            | Step::FrameDecided { .. }
            | Step::StateMade
            | Step::Routed { .. } => {}
        }
    }
}

fn range(first: u32, last: u32) -> String {
    if first == last {
        format!("@{first}")
    } else {
        format!("@{first}-@{last}")
    }
}

pub(in crate::tools) const fn route_kind(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::RouteTo => "route-to",
        RouteKind::ReplyTo => "reply-to",
        RouteKind::DupTo => "dup-to",
    }
}

const fn drop_words(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Match => "by a rule",
        DropReason::IpOption => "it has IP options and the rule no allow-opts",
        DropReason::MapFailed => "no address of the pool does, or no port is free",
        DropReason::NoRoute => "the rule routes to no usable interface or address",
        DropReason::TtlExceeded => "its hop limit is used up",
        DropReason::UpcallShare => "its sender has had his share",
        DropReason::TooBig => "it is too big for the exit and must not be cut",
        DropReason::StateLimit => "there are as many states as the rule allows",
        DropReason::SrcLimit => "there are as many source nodes as are allowed",
        DropReason::Memory => "there is no room for it: a limit of set limit, or memory",
        DropReason::StateInsert => "another state has its addresses and ports",
        DropReason::Synproxy => "the proxy makes the handshake in its place",
        DropReason::StateMismatch => "it does not fit the state that it belongs to",
        DropReason::BadOffset
        | DropReason::Fragment
        | DropReason::Short
        | DropReason::Normalize
        | DropReason::BadTimestamp
        | DropReason::Congestion
        | DropReason::ProtoCksum => "it is not fit to be looked at",
    }
}

/// A packet from its bytes.
pub(in crate::tools) fn packet_words(bytes: &[u8]) -> Option<String> {
    let meta = Meta::parse(bytes).ok()?;
    let (source_port, destination_port) = meta.ports().unwrap_or_default();
    Some(words::packet(&Seen {
        family: meta.family,
        protocol: meta.protocol,
        source: pf_engine::view::HostPort {
            address: meta.source,
            port: source_port,
        },
        destination: pf_engine::view::HostPort {
            address: meta.destination,
            port: destination_port,
        },
        flags: meta.tcp().map(|tcp| tcp.flags),
        icmp: meta.icmp().map(|icmp| (icmp.kind, icmp.code)),
        tos: meta.tos,
        systems: Vec::new(),
        tag: None,
        received_on: None,
        priority: 0,
    }))
}

/// A state: who opened it to whom, as the opener and as the far end see it.
fn state_words(state: &StateView<'_>) -> String {
    use pf_engine::rule::Direction;
    let pair = |ends: [pf_engine::view::HostPort; 2]| {
        let (from, to) = match state.direction {
            Direction::In => (ends[0], ends[1]),
            Direction::Out => (ends[1], ends[0]),
        };
        let host = |end| words::host_port(end, state.protocol);
        format!("{} > {}", host(from), host(to))
    };
    let (before, after) = match state.direction {
        Direction::In => (state.wire, state.stack),
        Direction::Out => (state.stack, state.wire),
    };
    let mut text = format!(
        "{} on {}, {} {}",
        words::direction(state.direction),
        state.interface,
        words::protocol(state.protocol),
        pair(before)
    );
    if before != after {
        text = text + ", translated " + &pair(after);
    }
    if let Some(rule) = state.rule {
        let _ = write!(text, ", rule @{rule}");
    }
    if let Some((kind, hop, interface)) = state.route {
        let _ = write!(text, ", {} {interface} {hop}", route_kind(kind));
    }
    text
}

fn packet_json(seen: &Seen) -> Value {
    json!({
        "family": seen.family.to_string(),
        "protocol": words::protocol(seen.protocol),
        "source": seen.source.address.to_string(),
        "source_port": seen.protocol.has_ports().then_some(seen.source.port),
        "destination": seen.destination.address.to_string(),
        "destination_port": seen.protocol.has_ports().then_some(seen.destination.port),
        "flags": seen.flags.map(words::flags),
        "icmp": seen.icmp,
        "tos": seen.tos,
        "tag": seen.tag,
    })
}
