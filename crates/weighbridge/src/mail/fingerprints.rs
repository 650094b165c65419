//! `weighbridge fingerprints`: signatures that are missing, and files of signatures.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mail::unknown::{Section, Seen, Unknown};
use pf_engine::osfp::p0f::{Database, Mode};
use serde_json::{Value, json};

use super::watch::tell::moment;
use super::watch::{STATE_DIR, keep, signatures, unknown_of};
use crate::config::read_text;
use crate::output::{Output, with_process_output};
use crate::text::reason;
use crate::tools::{Complaint, status};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show handshakes that no signature fits, or check a file of signatures.

`weighbridge watch -i` collects what it cannot name: a thousand signatures of SYNs and as many of
SYN+ACKs, with how often, when and from whom they came. Find out what one of these hosts is, write
its name into a file, and give that to `weighbridge watch --local`:
  [tcp:request]
  label = s:other:Scale:of the loading dock
  sig = 4:64:0:*:8192,0:mss:df,id+:0

Examples:
  weighbridge fingerprints unknown              the most frequent first; a minute old at most
  weighbridge fingerprints unknown -r mail.pcap those of a capture
  weighbridge fingerprints unknown --json | jq -r 'select(.count > 9).signature'
  weighbridge fingerprints check /etc/weighbridge/local.fp

Exit status: 0; 1 a file is wrong or cannot be read; 2 wrong command line.";

/// `weighbridge fingerprints`.
#[derive(Clone, Debug, Args)]
pub struct FingerprintsArguments {
    /// What to do
    #[command(subcommand)]
    pub command: FingerprintsCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum FingerprintsCommand {
    /// Show handshakes that no signature fits, ready to be labelled
    Unknown(UnknownArguments),
    /// Read files of signatures and say what is wrong
    Check(CheckArguments),
}

/// `weighbridge fingerprints unknown`.
#[derive(Clone, Debug, Args)]
pub struct UnknownArguments {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Those of this capture, `-` for standard input, instead of those that were collected
    #[arg(short = 'r', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A site's own signatures, beside the program's (with -r)
    #[arg(long, value_name = "FILE", requires = "file")]
    pub local: Vec<PathBuf>,
    /// Where `weighbridge watch` keeps them
    #[arg(long, value_name = "DIR", default_value = STATE_DIR, conflicts_with = "file")]
    pub state_dir: PathBuf,
}

/// `weighbridge fingerprints check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// Files of signatures
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &FingerprintsArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &FingerprintsArguments, output: &mut Output<'_>) -> u8 {
    let done = match &arguments.command {
        FingerprintsCommand::Unknown(arguments) => unknown(arguments, output),
        FingerprintsCommand::Check(arguments) => check(&arguments.files, output),
    };
    status(done, output)
}

fn unknown(arguments: &UnknownArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let unknown = match &arguments.file {
        Some(file) => {
            let database = signatures::read(&[], &arguments.local, Mode::Better);
            unknown_of(file, database.map_err(Complaint::Message)?, output)?
        }
        None => collected(&arguments.state_dir).map_err(Complaint::Message)?,
    };
    let text = if arguments.json {
        lines(&unknown)
    } else {
        listing(&unknown)
    };
    output.text(&text)?;
    Ok(0)
}

/// What `weighbridge watch` has collected in `directory`.
fn collected(directory: &Path) -> Result<Unknown, String> {
    match fs::metadata(directory) {
        Ok(_) => keep::unknown(directory),
        Err(error) => Err(format!(
            "{}: {}\n  hint: `weighbridge watch -i IF` makes it, its --state-dir",
            directory.display(),
            reason(&error)
        )),
    }
}

/// A file of signatures that only lacks the labels.
fn listing(unknown: &Unknown) -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let mut seen = unknown.of(section).peekable();
        if seen.peek().is_some() {
            let _ = writeln!(text, "[{}]", section.name());
        }
        for seen in seen {
            text += &entry(seen);
        }
    }
    text
}

fn entry(seen: &Seen) -> String {
    let count = match seen.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let looks = seen.family.as_ref();
    let looks = looks.map(|family| format!(", looks like {family}"));
    format!(
        "; {count} from {} to {}, last {} {}{}\n; label = s:CLASS:NAME:FLAVOR\nsig = {}\n",
        moment(seen.first, '-'),
        moment(seen.last, '-'),
        seen.example,
        seen.raw,
        looks.unwrap_or_default(),
        seen.signature
    )
}

fn lines(unknown: &Unknown) -> String {
    let line = |object: Value| mail::json::line(&object) + "\n";
    objects(unknown).map(line).collect()
}

/// Each as a JSON object, SYNs first, of these the most frequent.
pub(super) fn objects(unknown: &Unknown) -> impl Iterator<Item = Value> {
    let object = |seen: &Seen| {
        json!({
            "section": seen.section.name(),
            "signature": seen.signature,
            "raw_signature": seen.raw,
            "count": seen.count,
            "first": seen.first.as_secs(),
            "last": seen.last.as_secs(),
            "example": seen.example,
            "family": seen.family,
        })
    };
    let sections = Section::ALL.into_iter();
    sections.flat_map(|section| unknown.of(section)).map(object)
}

/// Each file by itself: what one covers of another is no mistake.
fn check(files: &[PathBuf], output: &mut Output<'_>) -> Result<u8, Complaint> {
    let mut all_good = true;
    for file in files {
        match check_one(file) {
            Ok(summary) => output.text(&summary)?,
            Err(problem) => {
                all_good = false;
                output.message(&problem);
            }
        }
    }
    Ok(u8::from(!all_good))
}

fn check_one(file: &Path) -> Result<String, String> {
    let name = file.display();
    let text = read_text(file).map_err(|error| format!("{name}: {}", reason(&error)))?;
    let database = Database::parse(&text).map_err(|errors| {
        let lines: Vec<_> = errors
            .iter()
            .map(|error| format!("{name}:{error}"))
            .collect();
        lines.join("\n")
    })?;
    let (labels, signatures) = (database.labels().len(), database.signatures().len());
    Ok(format!(
        "{name}: {labels} labels, {signatures} signatures\n"
    ))
}
