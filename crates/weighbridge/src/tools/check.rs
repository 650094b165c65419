//! `weighbridge check`: errors and warnings about a pf.conf.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pf_conf::{Diagnostics, Place, Warnings};
use serde_json::{Value, json};

use super::{Complaint, Disk, Reading, refuse, status};
use crate::output::{Output, with_process_output};
use crate::unfiltered;

/// Exit status when there are warnings and no error.
const WARNED: u8 = 2;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Read a pf.conf and tell its errors, or what is right in the grammar and still looks wrong.

Warned about is only what is certain, whatever the packets:
  PF101  a rule that never matches: an earlier quick rule takes all of it
  PF102  a rule after an identical quick rule
  PF103  a rule that is there twice
  PF104  a rule without effect: a later one matches all of it, and the last match wins
  PF105  block after `pass quick all`
  PF106  a macro that nothing uses        PF107  a macro that is defined twice
  PF108  a table that no rule names       PF109  a table in a rule that nothing defines
  PF110  too many rules to compare all of them
  PF111  table defined twice: the last definition counts
  PF112  route-to, reply-to or a translation on an interface that the configuration directory does
         not have filtered
Each comes with file, line and column, the line, the reason, and the place of the other rule.
Tables and addresses in parentheses are compared by name. Needs no daemon and no privileges.

Examples:
  weighbridge check /etc/weighbridge/pf.conf
  weighbridge check --dialect openbsd3 -D dsl_enable= pf.conf
  weighbridge check --interface em0=192.0.2.1/24 --interface em1 --json pf.conf

`weighbridge check links`, `uplinks`, `bridge` and `daemon` are something else: a plug-in for
Nagios and Icinga, also called check_weighbridge; see `check_weighbridge --help`. A file of such a
name is given as ./links.

Exit status: 0 nothing found; 1 errors; 2 warnings only, or a wrong command line.";

/// `weighbridge check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// The rules; `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Errors and warnings as JSON, on standard output
    #[arg(long)]
    pub json: bool,
    /// How the rules are read.
    #[command(flatten)]
    pub reading: Reading,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &CheckArguments) -> ExitCode {
    with_process_output(arguments.reading.plain, |output| {
        ExitCode::from(execute(arguments, output))
    })
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &CheckArguments, output: &mut Output<'_>) -> u8 {
    let checked = check(arguments, output);
    status(checked, output)
}

fn check(arguments: &CheckArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let (main, options) = arguments.reading.open(&arguments.file, output)?;
    match pf_conf::check(&main.name, &main.bytes, &mut Disk, &options) {
        Err(errors) if arguments.json => {
            output.text(&format!("{:#}\n", errors_json(&errors)))?;
            Err(Complaint::Told)
        }
        Err(errors) => Err(refuse(&errors, output)),
        Ok((loaded, mut warnings)) => {
            let config = &arguments.reading.config;
            unfiltered::add_to(&mut warnings, &loaded, &options.interfaces, config);
            tell(arguments, &warnings, output)?;
            Ok(if warnings.count() == 0 { 0 } else { WARNED })
        }
    }
}

fn tell(
    arguments: &CheckArguments,
    warnings: &Warnings,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    if arguments.json {
        output.text(&format!("{:#}\n", warnings_json(warnings)))?;
    } else if warnings.count() > 0 {
        let text = if output.rich_errors {
            warnings.rendered(true)
        } else {
            warnings.plain()
        };
        output.message(text.trim_end());
    }
    Ok(())
}

fn errors_json(errors: &Diagnostics) -> Value {
    let errors: Vec<Value> = errors
        .iter()
        .map(|(place, error)| {
            let mut value = place_json(&place);
            value["code"] = json!(error.code.as_str());
            value["message"] = json!(error.message);
            value["detail"] = json!(error.detail);
            value["hint"] = json!(error.hint);
            value
        })
        .collect();
    json!({"errors": errors, "warnings": []})
}

fn warnings_json(warnings: &Warnings) -> Value {
    let list: Vec<Value> = warnings
        .iter()
        .map(|(place, warning, other)| {
            let mut value = place_json(&place);
            value["code"] = json!(warning.kind.as_str());
            value["message"] = json!(warning.message);
            value["why"] = json!(warning.why);
            value["text"] = json!(warnings.line(warning));
            value["other"] = other.as_ref().map_or(Value::Null, place_json);
            value
        })
        .collect();
    json!({"errors": [], "warnings": list})
}

fn place_json(place: &Place) -> Value {
    json!({"file": place.file, "line": place.line, "column": place.column})
}
