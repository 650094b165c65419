//! `weighbridge fmt`: the canonical layout of pf.conf.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pf_conf::{FormatError, LoadOptions};

use super::{Complaint, Disk, Main, definitions, refuse, status};
use crate::output::{Output, with_process_output};
use crate::text::reason;

/// Exit status of `--check` when a file would change.
const WOULD_CHANGE: u8 = 2;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Lay out pf.conf in one way.

Single blanks between words, lists as { a, b }, 4 blanks of indentation inside braces and on
continuation lines, at most one empty line in a row, comments behind statements in one column with
those of the lines above and below. Everything stays in its place: comments, macros as they are
written, the order, and the lines into which you broke long rules. Commas are neither put in nor
taken out, and what stands in quotes is not touched.

The meaning never changes: a layout that would be read as other words is refused. A file with
errors is refused too, with the errors, and nothing is written.

Examples:
  weighbridge fmt pf.conf                 print it laid out
  weighbridge fmt --check *.conf          name the files that would change
  weighbridge fmt --in-place pf.conf      rewrite it (its mode and owner stay)
  weighbridge fmt < pf.conf

Exit status: 0; 1 errors; 2 with --check, when a file would change, or a wrong command line.";

/// `weighbridge fmt`.
#[derive(Clone, Debug, Args)]
pub struct FmtArguments {
    /// The files; `-` (and none) is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write nothing; name the files that would change
    #[arg(long, conflicts_with = "in_place")]
    pub check: bool,
    /// Rewrite the files instead of printing them
    #[arg(long, short = 'i')]
    pub in_place: bool,
    /// Define a macro, over what the file says
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub define: Vec<String>,
    /// Errors in one line each, as pfctl prints them, even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &FmtArguments) -> ExitCode {
    with_process_output(arguments.plain, |output| {
        ExitCode::from(execute(arguments, output))
    })
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &FmtArguments, output: &mut Output<'_>) -> u8 {
    let done = all(arguments, output);
    status(done, output)
}

/// Every file is read and laid out before the first is written.
fn all(arguments: &FmtArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let options = LoadOptions {
        defines: definitions(&arguments.define)?,
        ..LoadOptions::default()
    };
    let stdin = [PathBuf::from("-")];
    let files = if arguments.files.is_empty() {
        &stdin[..]
    } else {
        &arguments.files
    };
    if arguments.in_place && files.iter().any(|file| file == Path::new("-")) {
        return Err(Complaint::Message("--in-place needs files".to_owned()));
    }
    let mut done = Vec::new();
    let mut failed = false;
    for file in files {
        match lay_out(file, &options, output) {
            Ok((main, text)) => done.push((file, main, text)),
            Err(Complaint::OutputClosed) => return Err(Complaint::OutputClosed),
            Err(complaint) => {
                status(Err(complaint), output);
                failed = true;
            }
        }
    }
    if failed {
        return Err(Complaint::Told);
    }
    let mut result = 0;
    for (file, main, text) in done {
        if arguments.check {
            if main.bytes != text {
                output.text(&format!("{}: would change\n", main.name))?;
                result = WOULD_CHANGE;
            }
        } else if !arguments.in_place {
            output.out.write_all(&text)?;
        } else if main.bytes != text {
            rewrite(file, &text).map_err(|error| {
                Complaint::Message(format!("{}: {}", main.name, reason(&error)))
            })?;
        }
    }
    Ok(result)
}

fn lay_out(
    file: &Path,
    options: &LoadOptions,
    output: &mut Output<'_>,
) -> Result<(Main, Vec<u8>), Complaint> {
    let main = Main::read(file)?;
    match pf_conf::format(&main.name, &main.bytes, &mut Disk, options) {
        Ok(text) => Ok((main, text)),
        Err(FormatError::Refused(errors)) => Err(refuse(&errors, output)),
        Err(FormatError::BlanksMatter(place)) => Err(Complaint::Message(format!(
            "{place}: cannot be laid out: with other blanks the macros here mean something else"
        ))),
        Err(other) => Err(Complaint::Message(format!("{}: {other:?}", main.name))),
    }
}

/// Puts `text` in the place of `file` in one step: whoever reads it sees the old or the new.
fn rewrite(file: &Path, text: &[u8]) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let before = fs::metadata(&file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".fmt.{}", std::process::id()));
    let temporary = file.with_file_name(name);
    let written = (|| {
        let mut new = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        new.set_permissions(before.permissions())?;
        let now = new.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            fchown(&new, Some(before.uid()), Some(before.gid()))?;
            new.set_permissions(before.permissions())?;
        }
        new.write_all(text)?;
        new.sync_all()?;
        fs::rename(&temporary, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
