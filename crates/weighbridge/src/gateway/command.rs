//! `weighbridge gateways`: which gateways work.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::monitor::{GatewayView, TargetView};
use crate::config::SocketArgument;
use crate::control::protocol::{Outcome, Request};
use crate::control::question::{Question, answer, ask};
use crate::output::{Output, with_process_output};
use crate::text::laid_out;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show the gateways that are probed: whether they work, since when, how long answers take, and how
many probes are lost.

Gateways are named in weighbridge.toml:
  [[gateway]]
  interface = \"em0\"
  address = \"192.0.2.254\"
  targets = [\"198.51.100.1\", \"203.0.113.1\"]
One that does not work leaves the pools of route-to and reply-to until it works again. Without
such entries nothing is probed. See weighbridge.toml(5).";

/// `weighbridge gateways`.
#[derive(Clone, Debug, Args)]
pub struct GatewaysArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgument,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &GatewaysArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &GatewaysArguments, output: &mut Output<'_>) -> u8 {
    let question = Question {
        command: "gateways",
        socket: &arguments.socket.path(),
        json: arguments.json,
        request: Request::Gateways,
    };
    answer(&question, views_of, |views| shown(views), output)
}

/// The gateways of the daemon at `socket`.
pub(crate) fn gateways(socket: &Path) -> Result<Vec<GatewayView>, String> {
    ask(socket, &Request::Gateways, views_of)
}

fn views_of(outcome: Outcome) -> Option<Vec<GatewayView>> {
    if let Outcome::Gateways(views) = outcome {
        Some(views)
    } else {
        None
    }
}

fn shown(views: &[GatewayView]) -> String {
    if views.is_empty() {
        return "no gateway is probed (see weighbridge.toml(5), GATEWAYS)\n".into();
    }
    table(views)
}

/// A line for each gateway, and one for each target that is not the gateway itself.
fn table(views: &[GatewayView]) -> String {
    let mut rows = vec![
        [
            "INTERFACE",
            "GATEWAY",
            "STATE",
            "SINCE",
            "FAILED",
            "PROBE",
            "RTT",
            "LOSS",
        ]
        .map(str::to_owned),
    ];
    for view in views {
        let own = view.targets.first().filter(|target| {
            view.targets.len() == 1 && target.address == view.address && target.port.is_none()
        });
        let working = view.targets.iter().filter(|target| target.up).count();
        let probe = match own {
            Some(_) => view.kind.name().to_owned(),
            None => format!("{} {working}/{}", view.kind.name(), view.targets.len()),
        };
        rows.push([
            view.interface.clone(),
            view.address.to_string(),
            own.map_or_else(|| state(view.up), state_of_target),
            since(view.since),
            view.failures.to_string(),
            probe,
            own.map_or_else(String::new, rtt),
            own.map_or_else(String::new, loss),
        ]);
        let others = view.targets.iter().filter(|_| own.is_none());
        rows.extend(others.map(row_of_target));
    }
    laid_out(&rows)
}

fn row_of_target(target: &TargetView) -> [String; 8] {
    let name = match target.port {
        Some(port) => std::net::SocketAddr::new(target.address, port).to_string(),
        None => target.address.to_string(),
    };
    let none = String::new;
    [
        none(),
        format!("  {name}"),
        state_of_target(target),
        none(),
        none(),
        none(),
        rtt(target),
        loss(target),
    ]
}

fn state(up: bool) -> String {
    if up { "up" } else { "down" }.to_owned()
}

/// With the probes that it still has to work for, where it is down.
fn state_of_target(target: &TargetView) -> String {
    if target.up {
        return state(true);
    }
    format!("{} ({} to go)", state(false), target.to_go)
}

fn rtt(target: &TargetView) -> String {
    target
        .rtt_ms
        .map_or_else(|| "-".into(), |rtt| format!("{rtt:.1}ms"))
}

fn loss(target: &TargetView) -> String {
    target
        .loss_percent
        .map_or_else(|| "-".into(), |loss| format!("{loss}%"))
}

/// `hh:mm:ss`.
fn since(seconds: f64) -> String {
    let seconds = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let (hours, rest) = (seconds / 3600, seconds % 3600);
    format!("{hours:02}:{:02}:{:02}", rest / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::question::rendered;
    use crate::gateway::probe::ProbeKind;

    fn target(address: &str, port: Option<u16>, up: bool) -> TargetView {
        TargetView {
            address: address.parse().expect("address"),
            port,
            up,
            rtt_ms: up.then_some(12.34),
            loss_percent: Some(if up { 0 } else { 100 }),
            to_go: if up { 0 } else { 5 },
            sent: 20,
            answered: 20,
        }
    }

    fn view(kind: ProbeKind, up: bool, targets: Vec<TargetView>) -> GatewayView {
        GatewayView {
            interface: "em0".into(),
            address: "192.0.2.254".parse().expect("address"),
            up,
            since: 3_725.9,
            failures: 2,
            kind,
            quorum: 1,
            targets,
        }
    }

    #[test]
    fn a_gateway_and_its_targets_are_shown_in_columns() {
        let views = [
            view(
                ProbeKind::Icmp,
                false,
                vec![target("192.0.2.254", None, false)],
            ),
            view(
                ProbeKind::Tcp,
                true,
                vec![
                    target("198.51.100.1", Some(443), true),
                    target("2001:db8::1", Some(443), false),
                ],
            ),
        ];
        let text = rendered(&views[..], false, shown).expect("text");
        assert_eq!(
            text,
            "\
INTERFACE  GATEWAY              STATE           SINCE     FAILED  PROBE    RTT     LOSS
em0        192.0.2.254          down (5 to go)  01:02:05  2       icmp     -       100%
em0        192.0.2.254          up              01:02:05  2       tcp 1/2
             198.51.100.1:443   up                                         12.3ms  0%
             [2001:db8::1]:443  down (5 to go)                             -       100%
"
        );
        let json: serde_json::Value =
            serde_json::from_str(&rendered(&views[..], true, shown).expect("text")).expect("JSON");
        assert_eq!(json[1]["targets"][0]["port"], 443);
        assert_eq!(json[0]["up"], false);
    }

    #[test]
    fn time_and_loss_of_a_gateway_are_those_of_as_many_targets_as_have_to_work() {
        let targets = vec![
            target("198.51.100.1", Some(443), true),
            target("2001:db8::1", Some(443), false),
        ];
        let one = view(ProbeKind::Tcp, true, targets);
        assert_eq!((one.rtt_ms(), one.loss_percent()), (Some(12.34), Some(0)));
        let both = GatewayView { quorum: 2, ..one };
        assert_eq!((both.rtt_ms(), both.loss_percent()), (None, Some(100)));
    }

    #[test]
    fn nothing_probed_is_told_and_where_to_look() {
        let text = rendered(&[][..], false, shown).expect("text");
        assert!(text.contains("weighbridge.toml(5)"), "{text}");
    }
}
