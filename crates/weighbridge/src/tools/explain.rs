//! `weighbridge explain`: what happens to a packet, and why.

pub mod packet;
mod report;
pub(in crate::tools) mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pf_conf::Loaded;
use pf_engine::decision::{Hook, Packet};
use pf_engine::engine::{Engine, EngineConfig};
use pf_engine::env::{Env, FixedEnv, IfIndex, Interface};
use pf_engine::rule::{Address, Rule};
use pf_engine::time::Instant;

use self::packet::Described;
use self::report::Report;
pub(super) use self::report::{packet_words, route_kind};
use super::interfaces::{Route, add_routes, parse_routes};
use super::{Complaint, Reading};
use crate::output::{Output, with_process_output};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Tell what the rules do with a packet, and why.

The packet is judged by the engine that filters live traffic, with the rules of FILE and no states.
Shown are the rules that were looked at in their order, which matched, what the first failing
criterion was for the others, translation, the state that is made, route-to with the second
evaluation on the exit interface, and the end. Needs no daemon and no privileges.

A packet is described as
  in|out on INTERFACE [inet|inet6] PROTOCOL SOURCE > DESTINATION [options]
    tcp, udp, sctp    addresses with ports: 10.0.0.1:1234, [2001:db8::1]:80
    tcp               flags behind it: S (the default), SA, A, FA, R, none, ...
    icmp, icmp6       addresses alone; echoreq (the default), echorep, type N, code N, id N
    others            by name or number: gre, esp, 89
    any               tos N, ttl N, length N (bytes of payload)

Examples:
  weighbridge explain pf.conf --packet 'in on em1 tcp 10.0.0.1:1234 > 1.2.3.4:80 S'
  weighbridge explain pf.conf --packet 'out on em0 icmp6 2001:db8::1 > 2001:db8::2' \\
      --interface em0=192.0.2.1/24,2001:db8::1/64 --interface em1
  weighbridge explain --json pf.conf --packet 'in on em0 udp 192.0.2.9:53 > 192.0.2.1:53'

Random choices (NAT ports, random pools) are made here as one of those that may be made.

Exit status: 0 the packet was judged, whatever the verdict; 1 errors; 2 wrong command line.";

/// `weighbridge explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArguments {
    /// The rules; `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The packet, as described above
    #[arg(long, value_name = "PACKET")]
    pub packet: String,
    /// The explanation as JSON
    #[arg(long)]
    pub json: bool,
    /// A route of the box, for af-to, no-route and urpf-failed; `default` is a destination too
    #[arg(long, value_name = "DESTINATION/LENGTH=INTERFACE,GATEWAY")]
    pub route: Vec<String>,
    /// How the rules are read.
    #[command(flatten)]
    pub reading: Reading,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &ExplainArguments) -> ExitCode {
    with_process_output(arguments.reading.plain, |output| {
        ExitCode::from(execute(arguments, output))
    })
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &ExplainArguments, output: &mut Output<'_>) -> u8 {
    let told = explain(arguments, output);
    super::status(told, output)
}

fn explain(arguments: &ExplainArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let described = packet::parse(&arguments.packet);
    let described = described.map_err(|error| Complaint::Usage(error.render()))?;
    let routes = parse_routes(&arguments.route).map_err(Complaint::Usage)?;
    let (main, options) = arguments.reading.open(&arguments.file, output)?;
    let loaded = main.load(&options, output)?;
    let (env, notes) = surroundings(&loaded, &described, &routes, options.interfaces);
    let text = judge(&loaded, &described, env, &notes, arguments.json)?;
    output.text(&text)?;
    Ok(0)
}

fn judge(
    loaded: &Loaded,
    described: &Described,
    mut env: FixedEnv,
    notes: &[String],
    json: bool,
) -> Result<String, Complaint> {
    // One fixed moment and fixed keys: the same question has the same answer.
    let now = Instant::from_secs(1);
    let config = EngineConfig {
        hash_key: [0, 0],
        creator_id: 0,
    };
    let mut engine = Engine::new(now, config);
    let installed = engine.install(now, loaded.ruleset.clone());
    installed.map_err(|error| Complaint::Message(error.to_string()))?;
    engine.set_enabled(now, true);
    let interface = env.interface_named(&described.interface);
    let hook = Hook {
        interface: interface.map_or(IfIndex(0), |interface| interface.index),
        direction: described.direction,
    };
    let mut packet = Packet {
        bytes: described.bytes.clone(),
        ..Packet::default()
    };
    let (decision, steps) = engine.explain_packet(now, hook, &mut packet, &mut env);
    let report = Report {
        loaded,
        env: &env,
        steps: &steps,
        decision: &decision,
        states: engine.states(now).collect(),
        bytes: &packet.bytes,
        notes,
    };
    Ok(if json {
        format!("{:#}\n", report.json())
    } else {
        report.text()
    })
}

/// The box, and what was assumed about it.
fn surroundings(
    loaded: &Loaded,
    described: &Described,
    routes: &[Route],
    known: Vec<Interface>,
) -> (FixedEnv, Vec<String>) {
    let ways = routes.iter().map(|route| route.interface.as_str());
    let named = ways.chain([described.interface.as_str()]);
    let (known, mut notes) = with_named(loaded, named, known);
    let rules = &loaded.ruleset;
    let skipped = rules.options.skip.iter().any(|skip| {
        let mut on = known
            .iter()
            .filter(|interface| interface.name == described.interface);
        on.any(|interface| interface.name == *skip || interface.groups.contains(skip))
    });
    if skipped {
        notes.push(format!(
            "{} is in `set skip on`: nothing is filtered",
            described.interface
        ));
    }
    if !rules.ether.is_empty() {
        notes.push(
            "ether rules are not asked: what is described is a packet, not a frame".to_owned(),
        );
    }
    (add_routes(FixedEnv::new(known, 1), routes), notes)
}

/// The interfaces that are known, and those that are `named` or named by the rules besides:
/// without them nothing could be routed. And what is to be said about these.
pub(super) fn with_named<'a>(
    loaded: &'a Loaded,
    named: impl Iterator<Item = &'a str>,
    mut known: Vec<Interface>,
) -> (Vec<Interface>, Vec<String>) {
    let mut notes = Vec::new();
    let rules = &loaded.ruleset;
    let lists = [&rules.nat, &rules.rdr, &rules.binat, &rules.filter];
    let routed = lists.into_iter().flatten().flat_map(named_interfaces);
    let wanted: BTreeSet<&str> = routed.chain(named).collect();
    for name in wanted {
        if known.iter().any(|interface| interface.name == name) {
            continue;
        }
        let highest = known.iter().map(|interface| interface.index.0).max();
        let index = IfIndex(highest.unwrap_or(0).saturating_add(1));
        known.push(Interface::new(index, name));
        notes.push(format!(
            "{name} is unknown here, taken as an interface without addresses (--interface \
             {name}=ADDRESS/LENGTH)"
        ));
    }
    (known, notes)
}

/// Interfaces that a rule sends packets to or takes an address of.
fn named_interfaces(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.pools()
        .flat_map(|pool| &pool.targets)
        .filter_map(|target| match (&target.interface, &target.address) {
            (Some(name), _) => Some(name.as_str()),
            (None, Address::Dynamic(dynamic)) => Some(dynamic.interface.as_str()),
            (None, _) => None,
        })
}
