//! The command line of `weighbridge links`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use datapath::netlink::{Netlink, makers};
use links::convert::{self, Target};
use links::plan::{self, Maker, Problem, Step};
use links::status::Status;
use links::{WantedInterface, WantedLinks};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::files::{self, Wanted};
use super::hooks::hooks_first;
use super::state::{overlay, read_status};
use super::{ifconfig, run as keep};
use crate::config::DEFAULT_CONFIG_DIR;
use crate::output::{Output, with_process_output};
use crate::tools::{Complaint, status};

/// Exit status of `diff` when something is not as the files say.
const DIFFERS: u8 = 2;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Make links as BSD start-up files ask for, and keep laggs and VLANs that the kernel cannot make.

The files are rc.conf, hostname.IF, bridgename.BRIDGE, mygate and sysctl.conf, read as they stand:
those that are named, else those of the configuration directory. All of it is checked before
anything is touched; applying twice changes nothing.

`weighbridge links reload` (SIGHUP) puts the program as it is installed now in the place of the
running one, with its devices and LACP partners: no link is lost, by new files or by an upgrade.

Linux's own bonding and 802.1Q make laggs and VLANs where the kernel has them. Where it has not,
`weighbridge links run` is the lagg, with failover, LACP (IEEE 802.1AX), load balancing, round
robin and broadcast, as long as it runs. How its devices stand is in /run/weighbridge/links.json
(WEIGHBRIDGE_LINKS names another place), for `weighbridge ifconfig` and `weighbridge check links`.

Examples:
  weighbridge links check /etc/rc.conf
  weighbridge links diff
  weighbridge links apply --dry-run /etc/rc.conf
  weighbridge links run --probe 192.0.2.1 /etc/rc.conf
  weighbridge links reload
  weighbridge links convert --to netplan /etc/rc.conf

Exit status: 0 done; 1 errors, and `apply --dry-run` where the kernel cannot make a device; 2 diff:
something is not as the files say, or a wrong command line.";

/// `weighbridge links`.
#[derive(Clone, Debug, Args)]
pub struct LinksArguments {
    #[command(subcommand)]
    command: LinksCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LinksCommand {
    /// Have the kernel make the links as the files say
    Apply {
        #[command(flatten)]
        source: Source,
        /// Print the steps, do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the links, and be the laggs and VLANs that the kernel has not, until stopped
    Run {
        #[command(flatten)]
        source: Source,
        /// Neighbour that the ports of a failover lagg ask whether they work; `none` for nobody
        /// [default: the default router, if it is in a network of the lagg]
        #[arg(long, value_name = "ADDRESS")]
        probe: Option<Probe>,
    },
    /// Have `links run` read its files again, by the program as it is installed now; nobody on the
    /// links notices
    Reload,
    /// End `links run`: its laggs and VLANs go, their ports are as before
    Stop,
    /// Print the interfaces, as `weighbridge ifconfig` does
    Show(ifconfig::IfconfigArguments),
    /// Print what is not as the files say
    Diff {
        #[command(flatten)]
        source: Source,
    },
    /// Tell errors in the files
    Check {
        #[command(flatten)]
        source: Source,
    },
    /// Write the same links for Linux's own tools
    Convert {
        #[command(flatten)]
        source: Source,
        /// Whose words
        #[arg(long, value_name = "TOOL")]
        to: Tool,
    },
}

/// Which files.
#[derive(Clone, Debug, Args)]
pub(super) struct Source {
    /// Start-up files [default: those of the configuration directory]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    config: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Whom the ports ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    Nobody,
    Neighbour(Ipv4Addr),
}

impl std::str::FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nobody);
        }
        let address = text.parse().map(Self::Neighbour);
        address.map_err(|_| "an IPv4 address, or none".to_owned())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tool {
    /// netplan(5)
    Netplan,
    /// systemd-networkd(8)
    Networkd,
    /// interfaces(5)
    Ifupdown,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &LinksArguments) -> ExitCode {
    if let LinksCommand::Show(arguments) = &arguments.command {
        return ifconfig::run(arguments);
    }
    with_process_output(true, |output| {
        let result = execute(&arguments.command, output);
        ExitCode::from(status(result, output))
    })
}

fn execute(command: &LinksCommand, output: &mut Output<'_>) -> Result<u8, Complaint> {
    match command {
        LinksCommand::Apply { source, dry_run } => apply(source, *dry_run, output),
        LinksCommand::Run { source, probe } => keep::run(source, *probe, output),
        LinksCommand::Reload => tell_keeper(Signal::HUP, "reads its files again", output),
        LinksCommand::Stop => tell_keeper(Signal::TERM, "ends", output),
        LinksCommand::Show(_) => Ok(0),
        LinksCommand::Diff { source } => {
            let steps = missing(source, output)?;
            Ok(if steps.is_empty() { 0 } else { DIFFERS })
        }
        LinksCommand::Check { source } => check(source, output),
        LinksCommand::Convert { source, to } => write(source, *to, output),
    }
}

impl Source {
    pub(super) fn read(&self, output: &mut Output<'_>) -> Result<Wanted, Complaint> {
        let wanted = files::read(&self.files, &self.config).map_err(|errors| {
            if self.json {
                let _ = output.text(&format!("{:#}\n", json!({"errors": errors})));
            } else {
                for error in errors {
                    output.message(&error);
                }
            }
            Complaint::Told
        })?;
        for warning in wanted
            .links
            .interfaces
            .iter()
            .filter_map(WantedInterface::unset_medium)
        {
            output.message(&warning);
        }
        Ok(wanted)
    }

    /// The steps to what the files ask for.
    fn plan(
        &self,
        otherwise: Maker,
        output: &mut Output<'_>,
    ) -> Result<(WantedLinks, Vec<Step>), Complaint> {
        let wanted = self.read(output)?.links;
        let mut netlink = Netlink::open().map_err(told)?;
        let steps = plan_of(&wanted, &mut netlink, otherwise, read_status().as_ref())?;
        Ok((wanted, steps))
    }
}

/// The steps from the machine as it is; `own`: our devices on it.
pub(super) fn plan_of(
    wanted: &WantedLinks,
    netlink: &mut Netlink,
    otherwise: Maker,
    own: Option<&Status>,
) -> Result<Vec<Step>, Complaint> {
    let mut snapshot = netlink.machine().map_err(told)?.snapshot();
    overlay(&mut snapshot, own);
    plan::diff(wanted, &snapshot, makers(otherwise)).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        Complaint::Message(lines.join("\nweighbridge: "))
    })
}

pub(super) fn told(error: impl std::fmt::Display) -> Complaint {
    Complaint::Message(error.to_string())
}

/// Prints the steps that are missing, whoever makes them, and says what the kernel cannot make.
fn missing(source: &Source, output: &mut Output<'_>) -> Result<Vec<Step>, Complaint> {
    let (_, steps) = source.plan(Maker::Own, output)?;
    tell(source, &steps, output)?;
    if let Some(said) = beyond_kernel(&steps) {
        output.message(&format!("weighbridge: {said}"));
    }
    Ok(steps)
}

/// What is said of devices that `apply` cannot have the kernel make; nothing if there are none.
fn beyond_kernel(steps: &[Step]) -> Option<String> {
    let own = |step: &&Step| {
        let (Step::MakeLagg { maker, .. } | Step::MakeVlan { maker, .. }) = step else {
            return false;
        };
        *maker == Maker::Own
    };
    let steps = steps.iter().filter(own);
    let names: Vec<&str> = steps.filter_map(Step::interface).collect();
    (!names.is_empty()).then(|| {
        format!(
            "this kernel cannot make {}\n  hint: `weighbridge links run` makes and keeps what it cannot, \
             `links apply` does nothing then",
            names.join(", ")
        )
    })
}

fn apply(source: &Source, dry_run: bool, output: &mut Output<'_>) -> Result<u8, Complaint> {
    if dry_run {
        let steps = missing(source, output)?;
        return Ok(u8::from(beyond_kernel(&steps).is_some()));
    }
    let (_, steps) = source.plan(Maker::Nobody, output)?;
    let mut netlink = Netlink::open().map_err(told)?;
    let mut applied = datapath::netlink::Applied::default();
    for step in &steps {
        let hooked = hooks_first(step, &steps, &mut netlink);
        let done = hooked.and_then(|()| {
            let done = netlink.carry_out(step, &mut applied);
            done.map_err(|error| error.to_string())
        });
        if let Err(error) = done {
            netlink.undo(applied);
            return Err(told(format!("{error}\n  what was done before is undone")));
        }
    }
    tell(source, &steps, output)?;
    Ok(0)
}

fn tell(source: &Source, steps: &[Step], output: &mut Output<'_>) -> Result<(), Complaint> {
    if source.json {
        let list: Vec<Value> = steps.iter().map(step_json).collect();
        output.text(&format!("{:#}\n", json!({"steps": list})))?;
        return Ok(());
    }
    if steps.is_empty() {
        output.message("all is as the files say");
    }
    for step in steps {
        output.text(&format!("{step}\n"))?;
    }
    Ok(())
}

fn step_json(step: &Step) -> Value {
    json!({
        "message": step.message(),
        "interface": step.interface(),
        "step": step.to_string(),
    })
}

fn tell_keeper(signal: Signal, what: &str, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let Some(keeper) = read_status() else {
        return Err(told(
            "nobody keeps links here\n  hint: `weighbridge links run` makes and keeps them",
        ));
    };
    let pid = i32::try_from(keeper.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| told("the status names no process"))?;
    kill_process(pid, signal).map_err(told)?;
    output.message(&format!("process {} {what}", keeper.pid));
    Ok(0)
}

fn check(source: &Source, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let wanted = source.read(output)?;
    if source.json {
        let value = json!({"errors": [], "left_alone": wanted.others});
        output.text(&format!("{value:#}\n"))?;
    } else if !wanted.others.is_empty() {
        let others = wanted.others.join(", ");
        output.message(&format!("not about links, left alone: {others}"));
    }
    Ok(0)
}

fn write(source: &Source, tool: Tool, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let wanted = source.read(output)?;
    let target = match tool {
        Tool::Netplan => Target::Netplan,
        Tool::Networkd => Target::Networkd,
        Tool::Ifupdown => Target::Ifupdown,
    };
    let files = convert::convert(&wanted.links, target)
        .map_err(|problems| told(problems.join("\nweighbridge: ")))?;
    if source.json {
        let list: Vec<Value> = files
            .iter()
            .map(|file| json!({"path": file.path, "text": file.text}))
            .collect();
        output.text(&format!("{:#}\n", Value::Array(list)))?;
        return Ok(0);
    }
    for file in files {
        output.text(&format!("# {}\n{}\n", file.path, file.text))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use links::WantedVlan;

    use super::*;

    #[test]
    fn what_the_kernel_cannot_make_is_named_beside_the_steps() {
        let vlan = |name: &str, maker| Step::MakeVlan {
            name: name.to_owned(),
            vlan: WantedVlan::default(),
            maker,
        };
        let up = Step::Up {
            name: "em0".to_owned(),
        };
        let steps = [up, vlan("vlan4", Maker::Kernel), vlan("vlan5", Maker::Own)];
        assert_eq!(beyond_kernel(&steps[..2]), None);
        let said = beyond_kernel(&steps).expect("something is said");
        assert!(
            said.starts_with("this kernel cannot make vlan5\n"),
            "{said}"
        );
    }
}
