//! The command line: which subcommand, and the binary under the name `pfctl`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use pf_engine::ruleset::Dialect;

use crate::config::{DEFAULT_CONFIG_DIR, LogLevel};
use crate::doctor;
use crate::gateway::command as gateways;
use crate::mail::dnsbl::export as dnsbl;
use crate::mail::{filter, fingerprints, follow, os, report, spammers, tell, watch};
use crate::output::with_process_output;
use crate::pflog::command as log;
use crate::text::parse_dialect;
use crate::tools::{check, explain, fmt, replay};
use crate::top::command as top;
use crate::{daemon, flows, limits, links, pfctl, plugin, unhook};

const ABOUT: &str = "PF, the BSD packet filter, for Linux bridges and routers";

const LONG_ABOUT: &str = "\
PF, the BSD packet filter, for Linux bridges and routers.

Weighbridge reads pf.conf and the BSD network start-up files as they stand, lets the kernel
bridge and route, and filters, translates and re-routes what crosses the box.

A first run:
  1. Put your files into /etc/weighbridge:
       hostname.em0        inet 192.168.1.64 255.255.0.0 NONE
       bridgename.bridge0  add em1 / add fxp0 / up   (one command a line)
       pf.conf             the rules
       weighbridge.toml    optional: dialect = \"freebsd\", interfaces = [\"em0\"], ...
  2. Check the rules; this needs neither root nor a running daemon:
       weighbridge pfctl -nvf /etc/weighbridge/pf.conf
  3. Start it, as root:
       weighbridge run
  4. Look at it and change it while it runs:
       weighbridge pfctl -vvsl      labels with their counters
       weighbridge pfctl -f /etc/weighbridge/pf.conf
       weighbridge log -f           packets that rules with `log` log
       weighbridge top              states, rules, queues and links as they change

Called by the name pfctl (a link to this binary) it behaves as `weighbridge pfctl`.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "weighbridge", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the links, load the rules and filter until stopped
    #[command(long_about = "\
Bring up the links, load the rules and filter until stopped.

Reads weighbridge.toml, rc.conf, hostname.*, bridgename.*, mygate, sysctl.conf and pf.conf from the
configuration directory. Everything is checked before anything is changed; an error leaves the
network as it was.

SIGHUP reads pf.conf again (a file with errors changes nothing). SIGTERM and SIGINT stop: packets
then pass unfiltered. SIGUSR2 stops for a restart: until the next start packets are dropped (with
fail-policy = \"block\"), as they are when the daemon dies. States outlive all of these.")]
    Run(RunArguments),
    /// Control the packet filter (see `weighbridge pfctl --help`)
    #[command(disable_help_flag = true)]
    Pfctl {
        /// As for pfctl(8)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Lay out pf.conf in one way
    #[command(long_about = fmt::LONG_ABOUT)]
    Fmt(fmt::FmtArguments),
    /// Tell errors in pf.conf, and what looks wrong
    #[command(long_about = check::LONG_ABOUT)]
    Check(check::CheckArguments),
    /// Make links as BSD start-up files ask for, and keep them
    #[command(long_about = links::LONG_ABOUT)]
    Links(links::LinksArguments),
    /// Show interfaces as ifconfig(8) does
    #[command(long_about = links::ifconfig::LONG_ABOUT)]
    Ifconfig(links::ifconfig::IfconfigArguments),
    /// Tell what the rules do with a packet, and why
    #[command(long_about = explain::LONG_ABOUT)]
    Explain(explain::ExplainArguments),
    /// Send the packets of a capture through the rules
    #[command(long_about = replay::LONG_ABOUT)]
    Replay(Box<replay::ReplayArguments>),
    /// Print logged packets, as they come or from a file
    #[command(long_about = log::LONG_ABOUT)]
    Log(log::LogArguments),
    /// Show the gateways that are probed
    #[command(long_about = gateways::LONG_ABOUT)]
    Gateways(gateways::GatewaysArguments),
    /// Show accepted and rejected mail by operating system
    #[command(long_about = report::LONG_ABOUT)]
    Report(report::ReportArguments),
    /// Show how far each limit is used and how often it was hit
    #[command(long_about = limits::LONG_ABOUT)]
    Limits(limits::LimitsArguments),
    /// Show what the flow cache does
    #[command(long_about = flows::LONG_ABOUT)]
    Flows(flows::FlowsArguments),
    /// Show states, rules, queues and links as they change
    #[command(long_about = top::LONG_ABOUT)]
    Top(top::TopArguments),
    /// Tell the operating systems behind TCP handshakes, and answer mail servers
    #[command(long_about = watch::LONG_ABOUT)]
    Watch(Box<watch::WatchArguments>),
    /// Tell the operating system of a client
    #[command(long_about = os::LONG_ABOUT)]
    Os(os::OsArguments),
    /// Tell what became of a message
    #[command(long_about = tell::LONG_ABOUT)]
    Outcome(tell::OutcomeArguments),
    /// Filter mail as a child of the mail server
    #[command(long_about = filter::LONG_ABOUT)]
    Filter(filter::FilterArguments),
    /// Tell what became of messages, out of a mail server's log
    #[command(long_about = follow::LONG_ABOUT)]
    Follow(follow::FollowArguments),
    /// Show who is throttled for the mail it sends, and why
    #[command(long_about = spammers::LONG_ABOUT)]
    Spammers(spammers::SpammersArguments),
    /// Export the DNS list of hosts whose mail is nearly all rejected
    Dnsbl(dnsbl::DnsblArguments),
    /// Show handshakes that no signature fits, or check a file of signatures
    #[command(long_about = fingerprints::LONG_ABOUT)]
    Fingerprints(fingerprints::FingerprintsArguments),
    /// Find faults of httpd, Kerberos, links and rules, and mend them
    #[command(long_about = doctor::LONG_ABOUT)]
    Doctor(Box<doctor::DoctorArguments>),
    /// Let packets pass again where a daemon has died
    #[command(long_about = unhook::LONG_ABOUT)]
    Unhook(unhook::UnhookArguments),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    #[command(long_about = "\
Print a completion script for a shell. For bash, for example:
  weighbridge completions bash > /etc/bash_completion.d/weighbridge
  weighbridge completions bash --pfctl > /etc/bash_completion.d/pfctl
  weighbridge completions bash --plugin > /etc/bash_completion.d/check_weighbridge")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// For the command pfctl
        #[arg(long)]
        pfctl: bool,
        /// For the monitoring plug-in
        #[arg(long, conflicts_with = "pfctl")]
        plugin: bool,
    },
}

/// `weighbridge run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// Configuration directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Meaning of pf.conf: freebsd, openbsd, or openbsd3 (before OpenBSD 4.1)
    #[arg(long, value_name = "NAME", value_parser = parse_dialect)]
    pub dialect: Option<Dialect>,
    /// Control socket [default: /run/weighbridge/control.sock]
    #[arg(long, value_name = "PATH", env = "WEIGHBRIDGE_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Where states are kept over a restart [default: /var/lib/weighbridge]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Rules to load instead of pf.conf in the configuration directory
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = LogLevel::parse)]
    pub log: Option<LogLevel>,
    /// Errors in one line each, as pfctl prints them, even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// Runs the command line `arguments` (the program's name first).
#[must_use]
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    if called_as_pfctl(arguments.first()) {
        return pfctl::run(&arguments[1..]);
    }
    if called_as(plugin::NAME, arguments.first()) {
        return plugin::run(&arguments[1..]);
    }
    if plugin::is_meant(&arguments) {
        return plugin::run(&arguments[2..]);
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

fn called_as_pfctl(program: Option<&OsString>) -> bool {
    called_as("pfctl", program)
}

fn called_as(known: &str, program: Option<&OsString>) -> bool {
    program.is_some_and(|name| Path::new(name).file_name() == Some(known.as_ref()))
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(arguments) => daemon::run(&arguments),
        Command::Pfctl { arguments } => pfctl::run(&arguments),
        Command::Fmt(arguments) => fmt::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Links(arguments) => links::run(&arguments),
        Command::Ifconfig(arguments) => links::ifconfig::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Gateways(arguments) => gateways::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Flows(arguments) => flows::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Os(arguments) => os::run(&arguments),
        Command::Outcome(arguments) => tell::run(&arguments),
        Command::Filter(arguments) => filter::run(&arguments),
        Command::Follow(arguments) => follow::run(&arguments),
        Command::Spammers(arguments) => spammers::run(&arguments),
        Command::Dnsbl(arguments) => dnsbl::run(&arguments),
        Command::Fingerprints(arguments) => fingerprints::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Unhook(arguments) => unhook::run(&arguments),
        Command::Version => print(&format!("weighbridge {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Completions {
            shell,
            pfctl,
            plugin,
        } => {
            let whose = match (pfctl, plugin) {
                (true, _) => Completed::Pfctl,
                (false, true) => Completed::Plugin,
                (false, false) => Completed::Weighbridge,
            };
            print(&completions(shell, whose))
        }
    }
}

/// Whose words are completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completed {
    Weighbridge,
    Pfctl,
    Plugin,
}

fn completions(shell: clap_complete::Shell, whose: Completed) -> String {
    let (mut command, name) = match whose {
        Completed::Pfctl => (pfctl::options::command("pfctl"), "pfctl"),
        Completed::Plugin => (plugin::command(), plugin::NAME),
        Completed::Weighbridge => (complete_command(), "weighbridge"),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The whole command line, with pfctl's options, and the plug-in's subjects behind `check`.
fn complete_command() -> clap::Command {
    let pfctl = pfctl::options::command("pfctl");
    let plugin = plugin::command();
    let subjects: Vec<clap::Command> = plugin.get_subcommands().cloned().collect();
    Cli::command()
        .mut_subcommand("pfctl", |_| pfctl)
        .mut_subcommand("check", |check| check.subcommands(subjects))
}

/// Prints `text`; a reader that has seen enough is no error.
fn print(text: &str) -> ExitCode {
    match with_process_output(true, |output| output.text(text)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_word_that_an_option_does_not_know_is_a_wrong_command_line() {
        for (line, told) in [
            (["run", "--dialect", "netbsd"], "unknown dialect"),
            (["run", "--log", "loud"], "unknown log level"),
            (["fmt", "--dialect", "netbsd"], "unexpected argument"),
        ] {
            let line = ["weighbridge"].into_iter().chain(line);
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn a_link_named_pfctl_is_recognised_by_its_last_component() {
        assert!(called_as_pfctl(Some(&"/usr/sbin/pfctl".into())));
        assert!(called_as_pfctl(Some(&"pfctl".into())));
        assert!(!called_as_pfctl(Some(&"/opt/pfctl/weighbridge".into())));
        assert!(!called_as_pfctl(None));
    }

    #[test]
    fn check_is_the_plugin_for_its_subjects_and_reads_rules_else() {
        let meant = |words: &[&str]| {
            let line: Vec<OsString> = words.iter().map(OsString::from).collect();
            plugin::is_meant(&line)
        };
        assert!(meant(&["weighbridge", "check", "links"]));
        assert!(meant(&["weighbridge", "check", "daemon", "-v"]));
        assert!(!meant(&["weighbridge", "check", "./links"]));
        assert!(!meant(&[
            "weighbridge",
            "check",
            "/etc/weighbridge/pf.conf"
        ]));
        assert!(!meant(&["weighbridge", "explain", "links"]));
    }

    #[test]
    fn pfctl_options_pass_through_untouched() {
        let cli = Cli::try_parse_from(["weighbridge", "pfctl", "-vvsl", "--plain", "-h"]).unwrap();
        let Command::Pfctl { arguments } = cli.command else {
            panic!("not pfctl");
        };
        assert_eq!(arguments, ["-vvsl", "--plain", "-h"]);
    }

    #[test]
    fn completions_name_the_subcommands() {
        let script = completions(Shell::Bash, Completed::Weighbridge);
        assert!(script.contains("completions") && script.contains("pfctl"));
    }

    #[test]
    fn completions_know_pfctls_options_and_the_words_behind_them() {
        for (whose, function) in [
            (Completed::Pfctl, "_pfctl()"),
            (Completed::Weighbridge, "_weighbridge()"),
        ] {
            let script = completions(Shell::Bash, whose);
            assert!(script.contains(function));
            for words in ["-A -a -D -d -e -F", "--no-dns", "creatorids", "replace"] {
                assert!(script.contains(words), "{whose:?}: {words}");
            }
        }
        for shell in [Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            // Not all of them are told the words.
            let script = completions(shell, Completed::Pfctl);
            assert!(script.contains("no-dns"), "{shell}");
        }
    }

    #[test]
    fn completions_know_what_the_plugin_checks() {
        let script = completions(Shell::Bash, Completed::Weighbridge);
        for subject in ["links", "uplinks", "bridge", "daemon"] {
            let words = format!("weighbridge__subcmd__check__subcmd__{subject}");
            let older = format!("weighbridge__check__{subject}");
            assert!(
                script.contains(&words) || script.contains(&older),
                "{subject}"
            );
        }
        let script = completions(Shell::Bash, Completed::Plugin);
        assert!(script.contains("_check_weighbridge()") && script.contains("--flapping"));
    }
}
