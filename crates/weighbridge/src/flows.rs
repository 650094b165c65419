//! `weighbridge flows`: what the flow cache does.

use std::process::ExitCode;

use clap::Args;
use pf_engine::engine::Engine;
use serde::{Deserialize, Serialize};

use crate::config::SocketArgument;
use crate::control::protocol::{Outcome, Request};
use crate::control::question::{Question, answer};
use crate::output::{Output, with_process_output};
use crate::text::laid_out;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show what the flow cache does: how many packets the kernel has passed or dropped by decisions of
before, and how many the daemon has decided.

The cache is on where the kernel takes it, unless weighbridge.toml says `fast-path = \"off\"`.

A flow is in it if its state is plain (no dup-to, log (all), queue, limit of rates, scrub;
translated within its family or not): a connection from its SYN on, or from the answer to it if its
sequence numbers are moved or it is one of the first that are routed, until both ends have closed
it; others once they have had four packets, or two that nobody has answered. Fragments, IP options
and what does not fit a window come up as ever. Packets that pass both where they come in and where
they leave are fused: sent on at once, without the kernel's bridge or routing.

The kernel opens connections itself that differ from two before in the port of their opener alone,
as long as rules and states tell none from another: no limits, source tracking, log, tags, ports of
sources, no SYN cookies; a SYN that might belong to a connection that the cache has not comes up.

A decision without a state (of a packet that no rule matches, `pass ... no state`, `block` without
an answer) is in it from the second packet of a flow until none has come for 30 seconds, if the
rules asked for nothing but interface, direction, addresses, ports, tags, protocol, the type of an
echo, and the TCP flags FIN, SYN, RST, ACK and URG. A source has at most 2048; they take no room of
states.

It is emptied when something changes that could concern it. Its room is that of flow-cache in
weighbridge.toml; the memory for it is taken at the start. See weighbridge.toml(5), fast-path.

Packets are held back while more come up than the daemon takes: those of who has had his share.

For example, the share of packets that the kernel has passed, in per cent:
  weighbridge flows --json | jq '100 * .passed / (.passed + .decided)'";

/// `weighbridge flows`.
#[derive(Clone, Debug, Args)]
pub struct FlowsArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgument,
}

/// What the flow cache has done since the daemon started, as it is told over the control socket
/// and as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowCounters {
    /// Whether there is one.
    pub on: bool,
    /// States that it has room for.
    pub room: u32,
    /// Bytes that it takes in the kernel, full or not.
    pub memory: u64,
    /// States in it.
    pub held: usize,
    /// Decisions without a state in it.
    pub decisions: usize,
    /// Packets that passed by it.
    pub passed: u64,
    /// Packets that it dropped, because a rule blocks them.
    pub blocked: u64,
    /// Packets that did not come up, because their source or interface had had its share.
    pub held_back: u64,
    /// Packets that passed by it where they came in and where they left at once, without the
    /// kernel's bridge or routing between; `passed` counts them at both.
    pub fused: u64,
    /// Packets of these that passed at the driver.
    pub by_xdp: u64,
    /// Packets of these, datagrams all, that passed by a lane: one entry for both of their states.
    pub by_lane: u64,
    /// Packets that came up and were decided.
    pub decided: u64,
    /// States and decisions that were put into it.
    pub put: u64,
    /// States of these that the kernel has made, as the daemon had made others like them.
    pub opened: u64,
    /// States and decisions that were taken out.
    pub taken: u64,
    /// How often it was emptied.
    pub emptied: u64,
    /// States and decisions for which it had no room.
    pub refused: u64,
}

impl FlowCounters {
    /// Those of an engine; so many packets were kept from it, and so many passed two hooks at once,
    /// these of them at the driver, and these by a lane.
    #[must_use]
    pub fn of(engine: &Engine, held_back: u64, [fused, by_xdp, by_lane]: [u64; 3]) -> Self {
        let statistics = engine.flow_statistics();
        let (room, memory) = engine.flow_room();
        Self {
            on: engine.has_flow_cache(),
            room,
            memory,
            held: statistics.held,
            decisions: statistics.decisions,
            passed: statistics.packets,
            blocked: statistics.blocked,
            held_back,
            fused,
            by_xdp,
            by_lane,
            decided: statistics.decided,
            put: statistics.put,
            opened: statistics.opened,
            taken: statistics.taken,
            emptied: statistics.emptied,
            refused: statistics.refused,
        }
    }
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &FlowsArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &FlowsArguments, output: &mut Output<'_>) -> u8 {
    let question = Question {
        command: "flows",
        socket: &arguments.socket.path(),
        json: arguments.json,
        request: Request::Flows,
    };
    let counters = |outcome| {
        if let Outcome::Flows(counters) = outcome {
            Some(counters)
        } else {
            None
        }
    };
    answer(&question, counters, table, output)
}

fn table(counters: &FlowCounters) -> String {
    let rows = [
        (
            "fast path",
            if counters.on { "on" } else { "off" }.to_owned(),
        ),
        ("room for states", counters.room.to_string()),
        ("memory in bytes", counters.memory.to_string()),
        ("states held", counters.held.to_string()),
        ("decisions held", counters.decisions.to_string()),
        ("packets passed", counters.passed.to_string()),
        ("packets blocked", counters.blocked.to_string()),
        ("packets held back", counters.held_back.to_string()),
        ("packets fused", counters.fused.to_string()),
        ("packets by XDP", counters.by_xdp.to_string()),
        ("packets by lane", counters.by_lane.to_string()),
        ("packets decided", counters.decided.to_string()),
        ("put", counters.put.to_string()),
        ("opened", counters.opened.to_string()),
        ("taken", counters.taken.to_string()),
        ("emptied", counters.emptied.to_string()),
        ("no room", counters.refused.to_string()),
    ];
    laid_out(&rows.map(|(name, value)| [name.to_owned(), value]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::question::rendered;

    #[test]
    fn counters_are_shown_in_lines_and_as_json() {
        let counters = FlowCounters {
            on: true,
            room: 65_536,
            memory: 37_000_000,
            held: 3,
            decisions: 1,
            passed: 100,
            blocked: 9,
            held_back: 4,
            fused: 40,
            by_xdp: 0,
            by_lane: 0,
            decided: 7,
            put: 5,
            opened: 2,
            taken: 2,
            emptied: 1,
            refused: 0,
        };
        let text = rendered(&counters, false, table).expect("text");
        assert!(
            text.starts_with("fast path          on\nroom for states    65536\n"),
            "{text}"
        );
        let text = rendered(&counters, true, table).expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["passed"], 100);
    }
}
