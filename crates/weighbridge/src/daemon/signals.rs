//! Signals as readable descriptors.

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::low_level::pipe;

/// Signals that mean something to the daemon.
#[derive(Debug)]
pub(super) struct Signals {
    /// Readable after SIGTERM or SIGINT: stop.
    pub(super) stop: UnixStream,
    /// Readable after SIGUSR2: stop, another daemon will take over.
    pub(super) hand_over: UnixStream,
    /// Readable after SIGHUP: read pf.conf again.
    pub(super) reload: UnixStream,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            stop: descriptor(&[SIGTERM, SIGINT])?,
            hand_over: descriptor(&[SIGUSR2])?,
            reload: descriptor(&[SIGHUP])?,
        })
    }
}

/// A descriptor that can be read when one of the signals has come.
pub(crate) fn descriptor(signals: &[i32]) -> io::Result<UnixStream> {
    let (reader, writer) = StdUnixStream::pair()?;
    for signal in signals {
        pipe::register(*signal, writer.try_clone()?)?;
    }
    reader.set_nonblocking(true)?;
    Ok(UnixStream::from_std(reader))
}

/// Empties a signal's descriptor; true if the signal had come.
pub(crate) fn drain(descriptor: &mut UnixStream) -> bool {
    let mut buffer = [0; 64];
    let mut came = false;
    while let Ok(1..) = descriptor.read(&mut buffer) {
        came = true;
    }
    came
}
