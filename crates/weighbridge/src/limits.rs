//! `weighbridge limits`: how far each limit is used, and how often it was hit.

use std::process::ExitCode;

use clap::Args;
use pf_engine::limits::{LimitSource, LimitView};
use serde::{Deserialize, Serialize};

use crate::config::SocketArgument;
use crate::control::protocol::{Outcome, Request};
use crate::control::question::{Question, answer};
use crate::output::{Output, with_process_output};
use crate::text::laid_out;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show the limits: what each is, how much is in use, the most that ever was, and how often it was
hit (packets that were dropped, commands that were refused).

A limit is `set` by pf.conf (`set limit states 500000`), PF's `default` (where pf.conf says
nothing; states, src-nodes and table-entries grow with the memory of the machine), or `fixed`.
0 is no limit but the memory. `pfctl -sm` prints what can be set in PF's own form; limits of
single rules are counted by `pfctl -vsi`. See weighbridge(8), LIMITS.

For example, what was ever hit:
  weighbridge limits --json | jq '.[] | select(.hits > 0)'";

/// `weighbridge limits`.
#[derive(Clone, Debug, Args)]
pub struct LimitsArguments {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgument,
}

/// A limit, as it is told over the control socket and as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitLine {
    /// Its name.
    pub name: String,
    /// `set`, `default` or `fixed`.
    pub source: String,
    /// How much there may be; 0 is no limit.
    pub value: u64,
    /// How much there is.
    pub used: u64,
    /// The most that there ever was.
    pub peak: u64,
    /// Packets that were dropped and commands that were refused for it.
    pub hits: u64,
}

impl From<&LimitView> for LimitLine {
    fn from(view: &LimitView) -> Self {
        let source = match view.source {
            LimitSource::Set => "set",
            LimitSource::Default => "default",
            LimitSource::Fixed => "fixed",
        };
        Self {
            name: view.name.to_owned(),
            source: source.to_owned(),
            value: view.value,
            used: view.used,
            peak: view.peak,
            hits: view.hits,
        }
    }
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &LimitsArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &LimitsArguments, output: &mut Output<'_>) -> u8 {
    let question = Question {
        command: "limits",
        socket: &arguments.socket.path(),
        json: arguments.json,
        request: Request::Limits,
    };
    let lines = |outcome| {
        if let Outcome::Limits(lines) = outcome {
            Some(lines)
        } else {
            None
        }
    };
    answer(&question, lines, |lines| table(lines), output)
}

fn table(lines: &[LimitLine]) -> String {
    let mut rows = vec![["LIMIT", "FROM", "VALUE", "USED", "PEAK", "HITS"].map(str::to_owned)];
    rows.extend(lines.iter().map(|line| {
        [
            line.name.clone(),
            line.source.clone(),
            line.value.to_string(),
            line.used.to_string(),
            line.peak.to_string(),
            line.hits.to_string(),
        ]
    }));
    laid_out(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::question::rendered;

    #[test]
    fn limits_are_shown_in_columns_and_as_json() {
        let line = LimitLine::from(&LimitView {
            name: "states",
            source: LimitSource::Set,
            value: 100,
            used: 7,
            peak: 100,
            hits: 12,
        });
        let lines = [line];
        assert_eq!(
            rendered(&lines[..], false, table).expect("text"),
            "LIMIT   FROM  VALUE  USED  PEAK  HITS\nstates  set   100    7     100   12\n"
        );
        let text = rendered(&lines[..], true, table).expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json[0]["hits"], 12);
    }
}
