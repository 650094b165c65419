//! Programs of other packages that are asked something.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::text::reason;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest output that is read, in bytes.
const MAX_OUTPUT_LEN: u64 = 64 << 10;

/// What a program said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Whether it ended with success.
    pub(super) success: bool,
    /// Standard output, then standard error.
    pub(super) text: String,
}

/// The first of `names` that is installed.
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories: Vec<&str> = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .collect();
    let in_directories = |name: &&str| {
        let mut paths = directories
            .iter()
            .map(|directory| Path::new(directory).join(name));
        paths.find(|path| path.is_file())
    };
    names.iter().find_map(in_directories)
}

/// Runs a program without input. One that takes too long is ended.
pub(super) fn ask(command: &mut Command) -> Result<Said, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("{name}: {}", reason(&error));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env("LC_ALL", "C");
    let mut child = command.spawn().map_err(failed)?;
    let readers = [
        child.stdout.take().map(|pipe| thread::spawn(|| read(pipe))),
        child.stderr.take().map(|pipe| thread::spawn(|| read(pipe))),
    ];
    let timely = wait(&child);
    if !timely {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    if !timely {
        return Err(format!("{name} took more than {} s", PATIENCE.as_secs()));
    }
    let texts = readers
        .into_iter()
        .flatten()
        .map(|reader| reader.join().unwrap_or_default());
    Ok(Said {
        success: status.success(),
        text: texts.collect(),
    })
}

/// Whether a child ends in time.
fn wait(child: &Child) -> bool {
    let Ok(fd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        return true;
    };
    let timeout = Timespec::try_from(PATIENCE).ok();
    let mut ended = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    poll(&mut ended, timeout.as_ref()).is_ok_and(|count| count > 0)
}

fn read(pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut pipe = pipe.take(MAX_OUTPUT_LEN);
    let _ = pipe.read_to_end(&mut bytes);
    // Read on, so that the program does not wait for room.
    let _ = std::io::copy(&mut pipe.into_inner(), &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}
