//! `weighbridge limits`: how far each limit is used, and how often it was hit.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pf_engine::limits::{LimitSource, LimitView};
use serde::{Deserialize, Serialize};

use crate::config::{DEFAULT_SOCKET, SOCKET_VARIABLE};
use crate::control::client::Client;
use crate::control::protocol::{Outcome, Request};
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
    /// Control socket of the daemon
    #[arg(long, value_name = "PATH", env = SOCKET_VARIABLE, default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
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
    let text = ask(arguments).and_then(|lines| rendered(&lines, arguments.json));
    match text {
        Ok(text) => match output.text(&text) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
            Ok(()) | Err(_) => 0,
        },
        Err(message) => {
            output.message(&format!("weighbridge limits: {message}"));
            1
        }
    }
}

fn ask(arguments: &LimitsArguments) -> Result<Vec<LimitLine>, String> {
    let mut client = Client::connect(&arguments.socket).map_err(|error| error.to_string())?;
    let outcome = client.call(&Request::Limits, &mut |_| Ok(()));
    let Outcome::Limits(lines) = outcome.map_err(|error| error.to_string())? else {
        return Err("the daemon's answer is not understood; are both of one version?".into());
    };
    Ok(lines)
}

fn rendered(lines: &[LimitLine], json: bool) -> Result<String, String> {
    if json {
        let text = serde_json::to_string_pretty(lines);
        return text
            .map(|text| text + "\n")
            .map_err(|error| error.to_string());
    }
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
    Ok(laid_out(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            rendered(&lines, false).expect("text"),
            "LIMIT   FROM  VALUE  USED  PEAK  HITS\nstates  set   100    7     100   12\n"
        );
        let text = rendered(&lines, true).expect("JSON");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json[0]["hits"], 12);
    }
}
