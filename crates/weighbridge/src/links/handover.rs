//! SIGHUP: the program as it is installed now takes the place of the running one, by execve(2), with its
//! devices, sockets and LACP partners. Who is on the links does not notice.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use datapath::device::{inherited_file, pass_on};
use links::lacp::Info;
use links::lagg::Totals;
use links::{WantedLagg, WantedVlan};
use nix::sys::signal::SigSet;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

/// The variable that tells the next program which open file has the [`HandOver`].
const VARIABLE: &str = "WEIGHBRIDGE_LINKS_HANDOVER";
/// What Linux adds to the path of a program that was replaced.
const DELETED: &str = " (deleted)";
/// Version of the format; another program's ends the new one with an error.
const VERSION: u32 = 1;

/// All that the next program goes on with. Files are numbers of open files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandOver {
    pub(super) version: u32,
    /// The time, since the first program's start.
    pub(super) now: Duration,
    pub(super) laggs: Vec<LaggHandOver>,
    pub(super) vlans: Vec<VlanHandOver>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LaggHandOver {
    pub(super) name: String,
    /// Number of its device; programs before this one have told none.
    #[serde(default)]
    pub(super) index: u32,
    pub(super) settings: WantedLagg,
    pub(super) device: RawFd,
    pub(super) carrier: bool,
    pub(super) totals: Totals,
    pub(super) recent: Vec<Duration>,
    pub(super) holder: u32,
    pub(super) held: Vec<(u32, [u8; 6], String)>,
    pub(super) ports: Vec<PortHandOver>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PortHandOver {
    pub(super) name: String,
    pub(super) own_mac: [u8; 6],
    pub(super) link: bool,
    pub(super) flaps: u64,
    pub(super) socket: RawFd,
    pub(super) control: Option<RawFd>,
    /// Of a port that LACP uses.
    pub(super) partner: Option<Info>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VlanHandOver {
    pub(super) name: String,
    /// Number of its device; programs before this one have told none.
    #[serde(default)]
    pub(super) index: u32,
    pub(super) settings: WantedVlan,
    pub(super) device: RawFd,
    pub(super) socket: Option<RawFd>,
}

impl HandOver {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            version: VERSION,
            now,
            laggs: Vec::new(),
            vlans: Vec::new(),
        }
    }

    /// What the program before this one has left, if there was one.
    pub(super) fn take() -> io::Result<Option<Self>> {
        let Some(number) = std::env::var(VARIABLE).ok().and_then(|n| n.parse().ok()) else {
            return Ok(None);
        };
        let mut text = String::new();
        inherited_file(number)?.read_to_string(&mut text)?;
        let left: Self = serde_json::from_str(&text)?;
        if left.version != VERSION {
            let message = format!("a hand-over of version {}, not {VERSION}", left.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Some(left))
    }

    /// Starts the next program in the place of this one; comes back only when that fails. Signals
    /// must be blocked: the next program unblocks them when it listens.
    pub(super) fn start_next(&self) -> io::Error {
        let number = match self.file().and_then(pass_on_file) {
            Ok(number) => number,
            Err(error) => return error,
        };
        match execute(number) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn file(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("links", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.rewind()?;
        Ok(file)
    }
}

/// The file stays open: its owner is the next program.
fn pass_on_file(file: File) -> io::Result<RawFd> {
    pass_on(&file)?;
    Ok(file.into_raw_fd())
}

fn execute(number: RawFd) -> io::Result<std::convert::Infallible> {
    let program = text(program()?.as_os_str().as_bytes())?;
    let arguments = std::env::args_os().map(|argument| text(argument.as_bytes()));
    let arguments = arguments.collect::<io::Result<Vec<_>>>()?;
    let others = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
    let mut environment = others
        .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<io::Result<Vec<_>>>()?;
    environment.push(text(format!("{VARIABLE}={number}").as_bytes())?);
    Ok(nix::unistd::execve(&program, &arguments, &environment)?)
}

/// The file that this program was started from, or what is there now.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(DELETED));
    Ok(replaced.map_or_else(|| path.clone(), PathBuf::from))
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}

/// Signals wait until [`listen`].
pub(super) fn hold_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_block()?)
}

/// Signals come.
pub(super) fn listen() -> io::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}
