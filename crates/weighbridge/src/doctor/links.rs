//! The machine's kernel and links, as they are and as they are wanted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use ::doctor::links::{Interface, Machine, MissingFeature, Wanted, check};
use ::doctor::{Place as Line, Step};
use datapath::device::holder_name;
use datapath::netlink::Netlink;
use pf_conf::PrintOptions;

use super::DoctorArguments;
use super::pf;
use super::place::Place;
use super::program::{ask, find};
use super::trial;
use crate::config::{self, read_bytes};
use crate::tools::Disk;

/// What the data path needs of a kernel's configuration, and what for.
const KERNEL_OPTIONS: [(&str, &str); 5] = [
    ("CONFIG_BPF_SYSCALL", "The hooks are BPF programs."),
    (
        "CONFIG_NET_CLS_ACT",
        "The hooks sit where traffic control does.",
    ),
    (
        "CONFIG_TUN",
        "Packets go up to the daemon and back through a TAP.",
    ),
    ("CONFIG_BRIDGE", "bridgename.if asks for bridges."),
    ("CONFIG_INET", "What is filtered is IP."),
];

/// Oldest kernel on which the data path runs.
const OLDEST_KERNEL: (u32, u32) = (5, 15);

pub(super) fn steps(arguments: &DoctorArguments) -> Result<Vec<Step>, String> {
    let (wanted, mut steps) = wanted(arguments);
    let machine = Place::of(arguments.pid)?.within(|| machine(&wanted))?;
    steps.extend(check(&machine, &wanted));
    Ok(steps)
}

/// The machine as the calling thread sees it.
fn machine(wanted: &Wanted) -> Machine {
    let mut machine = Machine {
        forward_v4: flag("/proc/sys/net/ipv4/ip_forward"),
        forward_v6: flag("/proc/sys/net/ipv6/conf/all/forwarding"),
        bridge_netfilter: flag("/proc/sys/net/bridge/bridge-nf-call-iptables")
            .map(|on| on && has_kernel_filter()),
        missing_features: missing_features(),
        devices: trial::devices(),
        ..Machine::default()
    };
    match interfaces() {
        Ok(interfaces) => machine.interfaces = interfaces,
        Err(error) => machine.unknown.push(error),
    }
    let concerned = |i: &&mut Interface| i.bridge.is_some() || wanted.filtered.contains(&i.name);
    let mut concerned: Vec<&mut Interface> =
        machine.interfaces.iter_mut().filter(concerned).collect();
    if concerned.is_empty() {
        return machine;
    }
    match find(&["ethtool"]) {
        Some(ethtool) => concerned
            .iter_mut()
            .for_each(|i| i.offloads = offloads(&ethtool, &i.name)),
        None => machine
            .unknown
            .push("offloads: ethtool is not installed (apt-get install ethtool)".to_owned()),
    }
    machine
}

fn interfaces() -> Result<Vec<Interface>, String> {
    let failed = |error: datapath::Error| error.to_string();
    let mut netlink = Netlink::open().map_err(failed)?;
    let with_addresses: BTreeMap<String, bool> = netlink
        .interfaces()
        .map_err(failed)?
        .into_iter()
        .map(|interface| {
            let global = |a: &pf_engine::env::InterfaceAddress| match a.address {
                std::net::IpAddr::V4(_) => true,
                std::net::IpAddr::V6(address) => !address.is_unicast_link_local(),
            };
            let any = interface.addresses.iter().any(global);
            (interface.name, any)
        })
        .collect();
    let states = netlink.link_states().map_err(failed)?;
    let all = number("/proc/sys/net/ipv4/conf/all/rp_filter");
    let holders: Vec<String> = states
        .iter()
        .map(|state| holder_name(&state.name))
        .collect();
    let interface = |state: datapath::netlink::LinkState| {
        let own = number(&format!("/proc/sys/net/ipv4/conf/{}/rp_filter", state.name));
        Interface {
            up: state.up,
            mtu: state.mtu,
            bridge: state.bridge,
            is_bridge: state.is_bridge,
            holds_ports: state.is_bridge && !state.up && holders.contains(&state.name),
            is_loopback: state.loopback,
            has_addresses: with_addresses.get(&state.name).copied().unwrap_or_default(),
            rp_filter: own.max(all),
            name: state.name,
            ..Interface::default()
        }
    };
    Ok(states.into_iter().map(interface).collect())
}

/// Whether the kernel's own filter has a table, of iptables or nftables.
fn has_kernel_filter() -> bool {
    let legacy = fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
    let tables = || {
        let said = ask(Command::new(find(&["nft"])?).args(["list", "tables"])).ok()?;
        Some(said.success && !said.text.trim().is_empty())
    };
    !legacy.trim().is_empty() || tables().unwrap_or_default()
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn flag(path: &str) -> Option<bool> {
    number(path).map(|number| number > 0)
}

/// Offloads that are on: `large-receive-offload: on`.
fn offloads(ethtool: &Path, interface: &str) -> Vec<String> {
    let Ok(said) = ask(Command::new(ethtool).arg("-k").arg(interface)) else {
        return Vec::new();
    };
    let on = |line: &str| {
        let (name, value) = line.trim().split_once(": ")?;
        value.starts_with("on").then(|| name.to_owned())
    };
    said.text.lines().filter_map(on).collect()
}

fn missing_features() -> Vec<MissingFeature> {
    let feature = |name: String, purpose: &str, verified: String| MissingFeature {
        name,
        purpose: purpose.to_owned(),
        verified,
    };
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut missing = Vec::new();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    if version < OLDEST_KERNEL {
        let (major, minor) = OLDEST_KERNEL;
        missing.push(feature(
            format!("BPF of Linux {major}.{minor} (it is {release})"),
            "The hooks redirect packets in a way that older kernels do not know.",
            "asked the kernel for its version".to_owned(),
        ));
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push(feature(
            "/dev/net/tun".to_owned(),
            KERNEL_OPTIONS[2].1,
            "looked for the device".to_owned(),
        ));
    }
    // A kernel whose configuration is not to be found is believed.
    if let Some((from, config)) = kernel_config(&release) {
        let lacks = |(option, _): &&(&str, &str)| {
            let set = |value: &str| {
                config
                    .lines()
                    .any(|line| line == format!("{option}={value}"))
            };
            !set("y") && !set("m")
        };
        let lacking = KERNEL_OPTIONS.iter().filter(lacks);
        let read = || format!("read {from}");
        missing.extend(lacking.map(|(option, why)| feature((*option).to_owned(), why, read())));
    }
    missing
}

/// Where a kernel's configuration was found, and its text.
fn kernel_config(release: &str) -> Option<(String, String)> {
    let installed = format!("/boot/config-{release}");
    if let Ok(text) = fs::read_to_string(&installed) {
        return Some((installed, text));
    }
    let packed = Path::new("/proc/config.gz");
    let zcat = find(&["zcat"]).filter(|_| packed.exists())?;
    let said = ask(Command::new(zcat).arg(packed)).ok()?;
    // What was cut off says nothing about what stands behind.
    let whole = said.success && said.text.contains("# end of");
    whole.then(|| (packed.display().to_string(), said.text))
}

/// What the configuration directory and the rules want; a directory that is not there wants
/// nothing.
fn wanted(arguments: &DoctorArguments) -> (Wanted, Vec<Step>) {
    let mut wanted = Wanted::default();
    let mut steps = Vec::new();
    if arguments.config.is_dir() {
        match config::read(&arguments.config, arguments.rules.as_deref()) {
            Ok(configuration) => of_files(arguments, &configuration, &mut wanted),
            Err(problems) => {
                let findings = problems.iter().map(pf::problem).collect();
                steps.push(Step::of("links/configuration", findings, ""));
            }
        }
    }
    of_rules(arguments, &mut wanted);
    (wanted, steps)
}

fn of_files(
    arguments: &DoctorArguments,
    configuration: &config::Configuration,
    wanted: &mut Wanted,
) {
    let place = |kind: &str, name: &str| {
        let file = config::start_up_file(&arguments.config, kind, name);
        Line::file(file.display().to_string())
    };
    let made = configuration.links.made();
    wanted.made = made.into_iter().map(str::to_owned).collect();
    wanted.filtered = configuration.managed();
    let bridges = configuration.links.bridges.iter();
    wanted.bridges = bridges
        .map(|bridge| {
            (
                place("bridgename", &bridge.name),
                bridge.name.clone(),
                bridge.members.clone(),
            )
        })
        .collect();
    let interfaces = configuration.links.interfaces.iter();
    wanted.interfaces = interfaces
        .map(|interface| {
            (
                place("hostname", &interface.name),
                interface.name.clone(),
                interface.mtu,
            )
        })
        .collect();
}

/// Rules that translate, or choose the way; rules with errors are told by `doctor pf`.
fn of_rules(arguments: &DoctorArguments, wanted: &mut Wanted) {
    let file = pf::rules_file(arguments);
    let (Ok(main), Ok(options)) = (read_bytes(file.as_ref()), pf::options(arguments)) else {
        return;
    };
    let Ok(loaded) = pf_conf::load(&file, &main, &mut Disk, &options) else {
        return;
    };
    let print = PrintOptions {
        dialect: options.dialect,
        swap_service_names: false,
    };
    for rule in loaded.ruleset.rules() {
        let text = pf_conf::print_rule(rule, print);
        let has = |words: &[&str]| text.split_whitespace().any(|word| words.contains(&word));
        let policy = has(&["route-to", "reply-to"]);
        if policy
            || has(&[
                "nat", "rdr", "binat", "nat-to", "rdr-to", "binat-to", "af-to",
            ])
        {
            wanted.routes = true;
            wanted.policy_routes |= policy;
            if wanted.routes_at.is_none() {
                wanted.routes_at = Some((Line::file(&file), text));
            }
        }
    }
}
