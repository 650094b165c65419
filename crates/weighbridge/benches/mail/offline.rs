//! Captures from end to end: reading, matching, remembering, telling each SYN.

use std::path::Path;
use std::process::Command;

use super::generate::capture;
use super::process::run;
use super::table::{Better, Table, Who};
use super::{Extent, SIGNATURES};

const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// SYNs, hosts, and connections that are remembered.
struct Load {
    name: &'static str,
    syns: u32,
    hosts: u32,
    connections: u32,
}

/// p0f keeps 500,000 hosts and 100,000 connections at most.
const LOADS: [Load; 2] = [
    Load {
        name: "10,000 hosts",
        syns: 1_000_000,
        hosts: 10_000,
        connections: 10_000,
    },
    Load {
        name: "500,000 hosts",
        syns: 600_000,
        hosts: 500_000,
        connections: 100_000,
    },
];

pub(crate) fn measure(extent: Extent, table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for load in &LOADS {
        let path = dir.path().join("syns.pcap");
        let syns = extent.of(load.syns);
        capture(&path, syns, load.hosts)?;
        for round in 0..extent.rounds {
            println!("capture, {}: round {}", load.name, round + 1);
            for who in [Who::P0f, Who::Weighbridge] {
                let cost = run(command(who, load, &path, false))?;
                let what = format!("SYNs a second of processor time, {}", load.name);
                let rate = f64::from(syns) / cost.processor.max(0.01);
                table.add(&what, "/s", Better::More, who, rate);
                let what = format!("memory after a capture, {}", load.name);
                table.add(&what, "MB", Better::Less, who, cost.memory);
            }
            let cost = run(command(Who::Weighbridge, load, &path, true))?;
            let what = format!("the same without a line for each, {}", load.name);
            let rate = f64::from(syns) / cost.processor.max(0.01);
            table.add(&what, "/s", Better::More, Who::Weighbridge, rate);
        }
    }
    Ok(())
}

fn command(who: Who, load: &Load, capture: &Path, quiet: bool) -> Command {
    let (hosts, connections) = (load.hosts.to_string(), load.connections.to_string());
    match who {
        Who::P0f => {
            let mut p0f = Command::new("p0f");
            p0f.args(["-f", SIGNATURES, "-m", &format!("{connections},{hosts}")]);
            p0f.arg("-r").arg(capture);
            p0f
        }
        Who::Weighbridge => {
            let mut ours = Command::new(BINARY);
            ours.args(["watch", "--hosts", &hosts, "--connections", &connections]);
            ours.arg("-r").arg(capture);
            if quiet {
                ours.arg("--quiet");
            }
            ours
        }
    }
}
