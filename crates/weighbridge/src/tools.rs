//! Commands that look at a pf.conf and need no daemon: `fmt`, `check`, `explain`,
//! `replay`.

pub mod check;
pub mod explain;
pub mod fmt;
mod interfaces;
pub mod replay;

use pf_engine::anchor::AnchorPath;
use pf_engine::ruleset::Dialect;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use pf_conf::{Diagnostics, LoadOptions, Loaded, SourceReader};

use crate::accounts;
use crate::config::{DEFAULT_CONFIG_DIR, read_bounded, read_bytes};
use crate::output::Output;
use crate::pfctl::arguments::Arguments;
use crate::pfctl::load::own_surroundings;
use crate::text::{parse_dialect, reason};

/// Exit status after a wrong command line, as clap has it.
pub(crate) const WRONG_COMMAND_LINE: u8 = 2;

/// How a file of rules is read.
#[derive(Clone, Debug, Args)]
pub struct Reading {
    /// Meaning: freebsd, openbsd, or openbsd3 [default: that of weighbridge.toml, else freebsd]
    #[arg(long, value_name = "NAME", value_parser = parse_dialect)]
    pub dialect: Option<Dialect>,
    /// Define a macro, over what the file says
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub define: Vec<String>,
    /// An interface with its addresses; if given, only these exist [default: the machine's own]
    #[arg(long, value_name = "NAME[=ADDRESS/LENGTH,...]")]
    pub interface: Vec<String>,
    /// Configuration directory, for weighbridge.toml and the start-up files
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Errors in one line each, as pfctl prints them, even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Complaint {
    /// With this message.
    Message(String),
    /// With this message about the command line.
    Usage(String),
    /// All was said.
    Told,
    /// The reader of our output has seen enough.
    OutputClosed,
}

impl From<io::Error> for Complaint {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Message(format!("cannot write: {}", reason(&error)))
        }
    }
}

/// A file of rules.
struct Main {
    name: String,
    bytes: Vec<u8>,
}

/// Files beside it, by their paths.
pub(crate) struct Disk;

impl SourceReader for Disk {
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        read_bytes(Path::new(path))
    }
}

impl Main {
    /// Reads `file`, or standard input for `-`.
    fn read(file: &Path) -> Result<Self, Complaint> {
        let (name, bytes) = if file == Path::new("-") {
            (
                "stdin".to_owned(),
                read_bounded(io::stdin().lock().by_ref()),
            )
        } else {
            (file.display().to_string(), read_bytes(file))
        };
        match bytes {
            Ok(bytes) => Ok(Self { name, bytes }),
            Err(error) => Err(Complaint::Message(format!("{name}: {}", reason(&error)))),
        }
    }

    /// The rules; their errors are told.
    fn load(&self, options: &LoadOptions, output: &mut Output<'_>) -> Result<Loaded, Complaint> {
        pf_conf::load(&self.name, &self.bytes, &mut Disk, options)
            .map_err(|errors| refuse(&errors, output))
    }
}

/// Tells errors in the form that suits the reader.
fn refuse(errors: &Diagnostics, output: &mut Output<'_>) -> Complaint {
    let text = if output.rich_errors {
        errors.rendered(true)
    } else {
        errors.plain()
    };
    output.message(text.trim_end());
    Complaint::Told
}

impl Reading {
    /// As without any option, for a configuration directory.
    pub(crate) fn of_directory(config: &Path) -> Self {
        Self {
            dialect: None,
            define: Vec::new(),
            interface: Vec::new(),
            config: config.to_owned(),
            plain: false,
        }
    }

    /// What [`pf_conf::load`] wants to know.
    pub(crate) fn load_options(&self) -> Result<LoadOptions, String> {
        self.options().map_err(|complaint| match complaint {
            Complaint::Message(message) | Complaint::Usage(message) => message,
            Complaint::Told | Complaint::OutputClosed => String::new(),
        })
    }

    /// The file and everything that its reading depends on.
    fn open(&self, file: &Path, output: &mut Output<'_>) -> Result<(Main, LoadOptions), Complaint> {
        let options = self.options()?;
        let main = Main::read(file)?;
        if options.interfaces.is_empty() && self.interface.is_empty() {
            output.message("weighbridge: no interface can be seen; give some with --interface");
        }
        Ok((main, options))
    }

    fn options(&self) -> Result<LoadOptions, Complaint> {
        let around = own_surroundings(&Arguments {
            config: Some(self.config.clone()),
            dialect: self.dialect,
            ..Arguments::default()
        });
        let around = around.map_err(Complaint::Message)?;
        let given = interfaces::parse_all(&self.interface).map_err(Complaint::Usage)?;
        Ok(LoadOptions {
            dialect: around.dialect,
            defines: definitions(&self.define)?,
            interfaces: if self.interface.is_empty() {
                around.interfaces
            } else {
                given
            },
            accounts: accounts::of_machine(),
            anchor: AnchorPath::main(),
            hash_seed: 0,
            memory: None,
        })
    }
}

fn definitions(given: &[String]) -> Result<Vec<(String, String)>, Complaint> {
    let one = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    given
        .iter()
        .map(|text| one(text).ok_or_else(|| Complaint::Usage(format!("-D {text}: use NAME=VALUE"))))
        .collect()
}

/// The exit status of a command that came to `result`.
pub(crate) fn status(result: Result<u8, Complaint>, output: &mut Output<'_>) -> u8 {
    match result {
        Ok(status) => status,
        Err(Complaint::OutputClosed) => 0,
        Err(Complaint::Told) => 1,
        Err(Complaint::Message(message)) => {
            output.message(&format!("weighbridge: {message}"));
            1
        }
        Err(Complaint::Usage(message)) => {
            output.message(&format!("weighbridge: {message}"));
            WRONG_COMMAND_LINE
        }
    }
}
