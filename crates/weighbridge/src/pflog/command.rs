//! `weighbridge log`: logged packets as they come, or from a file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::record::{FILE_HEADER, FormatError, Order, RECORD_HEADER, Record};
use super::text;
use crate::config::SocketArgument;
use crate::control::client::{Client, ClientError, Watched};
use crate::output::{Output, with_process_output};
use crate::pfctl::Failure;
use crate::text::reason;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Print the packets that rules with `log` have logged, one line each, as tcpdump does.

The daemon keeps them in /var/lib/weighbridge/pflogN.pcap (log-directory in weighbridge.toml),
pflog0 unless the rule says `log (to pflogN)`; older ones in pflogN.pcap.1 and so on. tcpdump
and Wireshark read these files too. Times are UTC.

Examples:
  weighbridge log -f                  packets as they are logged
  weighbridge log -f -i pflog1        those of `log (to pflog1)` only
  weighbridge log /var/lib/weighbridge/pflog0.pcap
  weighbridge log --json pflog0.pcap | jq -r .source | sort | uniq -c";

/// `weighbridge log`.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "weighbridge log [OPTIONS] <FILE>\n       weighbridge log [OPTIONS] --follow"
)]
pub struct LogArguments {
    /// A file of logged packets
    #[arg(
        value_name = "FILE",
        required_unless_present = "follow",
        conflicts_with = "follow"
    )]
    pub file: Option<PathBuf>,
    /// Print packets as they are logged, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Only what goes to this log
    #[arg(short, long, value_name = "pflogN", value_parser = log_number, requires = "follow")]
    pub interface: Option<u8>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgument,
}

fn log_number(name: &str) -> Result<u8, String> {
    let number = name.strip_prefix("pflog").and_then(|n| n.parse().ok());
    number.ok_or_else(|| "use pflog0 to pflog255".to_owned())
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &LogArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &LogArguments, output: &mut Output<'_>) -> u8 {
    let done = match &arguments.file {
        Some(file) => print_file(file, arguments.json, output),
        None => watch(arguments, output),
    };
    match done {
        Ok(()) | Err(Failure::OutputClosed) => 0,
        Err(Failure::Told) => 1,
        Err(Failure::Message(message) | Failure::Usage(message)) => {
            output.message(&format!("weighbridge log: {message}"));
            1
        }
    }
}

fn watch(arguments: &LogArguments, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket.path())?;
    let ended = client.watch(arguments.interface, &mut |watched| match watched {
        Watched::Packet(record) => print(&record, arguments.json, output),
        Watched::Lost(count) => {
            output.message(&format!("weighbridge log: {count} packets were not shown"));
            Ok(())
        }
    });
    match ended {
        // The daemon has ended.
        Err(ClientError::Broken(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

fn print(record: &Record, json: bool, output: &mut Output<'_>) -> io::Result<()> {
    let mut line = if json {
        text::json(record).to_string()
    } else {
        text::line(record)
    };
    line.push('\n');
    output.text(&line)
}

fn print_file(path: &Path, json: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let place = path.display();
    let io_failed = |error: &io::Error| Failure::Message(format!("{place}: {}", reason(error)));
    let wrong = |error: FormatError| Failure::Message(format!("{place}: {error}"));
    let file = File::open(path).map_err(|error| io_failed(&error))?;
    let mut reader = BufReader::new(file);
    let header = exactly(&mut reader, FILE_HEADER).map_err(|error| io_failed(&error))?;
    let order = Order::of(&header.unwrap_or_default()).map_err(wrong)?;
    let log = number_in(path);
    while let Some(header) = exactly(&mut reader, RECORD_HEADER).map_err(|e| io_failed(&e))? {
        let len = order.body_len(&header).map_err(wrong)?;
        // The last record of a file that is being written may be half there.
        let Some(body) = exactly(&mut reader, len).map_err(|e| io_failed(&e))? else {
            break;
        };
        let mut record = order.decode(&header, &body).map_err(wrong)?;
        record.log = log;
        print(&record, json, output)?;
    }
    Ok(())
}

/// `len` bytes, or nothing if there are fewer.
fn exactly(reader: &mut impl Read, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; len];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// N of a file that is called `pflogN.…`.
fn number_in(path: &Path) -> u8 {
    let name = path.file_name().and_then(|name| name.to_str());
    let first = name.and_then(|name| name.split('.').next());
    first.and_then(|name| log_number(name).ok()).unwrap_or(0)
}
