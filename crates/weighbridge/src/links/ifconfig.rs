//! `weighbridge ifconfig`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use links::plan::{Kind, mac_text};
use links::show::{Interface, Style, port_flag_names, render};
use serde_json::{Value, json};

use super::interfaces;
use crate::output::{Output, with_process_output};
use crate::tools::{Complaint, status};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show interfaces as FreeBSD's ifconfig does: as FreeBSD 7 to 9 did, whose output scripts read, or
with --style freebsd14 as it does now. Laggs and VLANs of `weighbridge links run` are shown as what
they are. Needs no privileges.

Examples:
  weighbridge ifconfig -a
  weighbridge ifconfig lagg0
  for i in $(weighbridge ifconfig -lu); do ...; done
  weighbridge ifconfig -v --style freebsd14 lagg0
  weighbridge ifconfig --json

Exit status: 0 done; 1 an interface does not exist, or they cannot be listed.";

/// Whose ifconfig.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StyleName {
    /// FreeBSD 7 to 9
    Article,
    /// FreeBSD 14
    Freebsd14,
}

/// `weighbridge ifconfig`.
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
#[derive(Clone, Debug, Args)]
pub struct IfconfigArguments {
    /// Interfaces [default: all]
    #[arg(value_name = "INTERFACE")]
    pub interfaces: Vec<String>,
    /// All interfaces, as without any name
    #[arg(short, conflicts_with = "interfaces")]
    pub all: bool,
    /// Only interfaces that are up
    #[arg(short, conflicts_with = "down")]
    pub up: bool,
    /// Only interfaces that are down
    #[arg(short)]
    pub down: bool,
    /// Their names alone, on one line
    #[arg(short, conflicts_with = "json")]
    pub list: bool,
    /// Whose output
    #[arg(long, value_name = "NAME", default_value = "article")]
    pub style: StyleName,
    /// LACP's state of each port, too
    #[arg(short, long)]
    pub verbose: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &IfconfigArguments) -> ExitCode {
    with_process_output(true, |output| {
        let shown = show(arguments, output);
        ExitCode::from(status(shown, output))
    })
}

fn show(arguments: &IfconfigArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let all = interfaces().map_err(|error| Complaint::Message(error.to_string()))?;
    let mut chosen = chosen(&all, &arguments.interfaces)?;
    chosen.retain(|interface| {
        let up = is_up(interface);
        !(arguments.up && !up || arguments.down && up)
    });
    if arguments.list {
        let names: Vec<&str> = chosen.iter().map(|one| one.name.as_str()).collect();
        output.text(&(names.join(" ") + "\n"))?;
        return Ok(0);
    }
    if arguments.json {
        let list: Vec<Value> = chosen.into_iter().map(as_json).collect();
        output.text(&format!("{:#}\n", Value::Array(list)))?;
        return Ok(0);
    }
    let style = match arguments.style {
        StyleName::Article => Style::Article,
        StyleName::Freebsd14 => Style::FreeBsd14,
    };
    for interface in chosen {
        output.text(&render(interface, style, arguments.verbose))?;
    }
    Ok(0)
}

fn chosen<'a>(all: &'a [Interface], names: &[String]) -> Result<Vec<&'a Interface>, Complaint> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let one = |name: &String| {
        all.iter()
            .find(|interface| interface.name == *name)
            .ok_or_else(|| Complaint::Message(format!("interface {name} does not exist")))
    };
    names.iter().map(one).collect()
}

/// Whether `IFF_UP` is set.
const fn is_up(interface: &Interface) -> bool {
    interface.flags & 1 != 0
}

fn as_json(interface: &Interface) -> Value {
    let addresses = interface.addresses.iter().map(|a| {
        json!({
            "address": a.address, "prefix_length": a.prefix_len,
            "broadcast": a.broadcast, "peer": a.peer,
        })
    });
    let mut value = json!({
        "name": interface.name,
        "index": interface.index,
        "up": is_up(interface),
        "carrier": interface.carrier,
        "mtu": interface.mtu,
        "mac": interface.mac.map(mac_text),
        "description": interface.description,
        "speed_mbit": interface.speed,
        "full_duplex": interface.full_duplex,
        "controller": interface.controller,
        "addresses": addresses.collect::<Vec<Value>>(),
    });
    match &interface.kind {
        Kind::Lagg(lagg) => {
            let states = interface.lagg.as_ref().map(|status| &status.ports);
            let port = |name: &String| {
                let state = states.and_then(|ports| ports.iter().find(|p| p.name == *name));
                let flags = state.map_or(0, |state| state.flags);
                json!({"name": name, "flags": port_flag_names(flags), "state": state})
            };
            let ports: Vec<Value> = lagg.ports.iter().map(port).collect();
            value["lagg"] = json!({
                "protocol": lagg.protocol.name(), "hash": lagg.hash.text(), "ports": ports,
            });
        }
        Kind::Vlan(vlan) => value["vlan"] = json!({"id": vlan.id, "parent": vlan.parent}),
        Kind::Bridge => value["bridge"] = json!({"members": interface.members}),
        Kind::Other => {}
    }
    value
}
