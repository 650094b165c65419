//! pfctl's end of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Outcome, Request, Response, WatchRequest, decode, encode};
use crate::pflog::record::Record;
use crate::text::reason;

/// Why a request was not answered with an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens, or we may not speak.
    #[error("cannot reach the daemon at {}: {}; {}", socket.display(), reason(source), advice(source))]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon hung up: {0}")]
    Broken(#[source] io::Error),
    /// The daemon said something else than we understand.
    #[error("the daemon's answer is not understood ({0}); are both of one version?")]
    Strange(#[source] serde_json::Error),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

/// What is said of an outcome that does not belong to the request.
pub(crate) const NOT_UNDERSTOOD: &str =
    "the daemon's answer is not understood; are both of one version?";

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "run it as root: the control socket is root's alone ([status] and [tables] of weighbridge.toml \
         say who may ask by the other two)"
    } else {
        "is `weighbridge run` running? (another socket: --socket PATH)"
    }
}

/// What [`Client::watch`] sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A packet.
    Packet(Box<Record>),
    /// That many packets were not sent: we were too slow.
    Lost(u64),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon at `socket`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Self {
                stream: BufReader::new(stream),
            }),
            Err(source) => Err(ClientError::Unreachable {
                socket: socket.to_path_buf(),
                source,
            }),
        }
    }

    /// The same, for who waits no longer than `patience` for each part of an answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect_within(socket: &Path, patience: Duration) -> Result<Self, ClientError> {
        let client = Self::connect(socket)?;
        let stream = client.stream.get_ref();
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(ClientError::Broken)?;
        Ok(client)
    }

    /// Sends `request` and waits for its outcome; text that comes before goes to `out`.
    ///
    /// # Errors
    /// When the daemon refuses or the connection breaks.
    pub fn call(
        &mut self,
        request: &Request,
        out: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<Outcome, ClientError> {
        let line = encode(request).map_err(ClientError::Strange)?;
        // A daemon that refuses a request early hangs up while we still write; what it said
        // before that is worth more than the broken pipe.
        let sent = self.stream.get_mut().write_all(&line);
        loop {
            match self.response() {
                Ok(Response::Text(text)) => out(&text).map_err(ClientError::Output)?,
                Ok(Response::Done(outcome)) => return Ok(outcome),
                Ok(Response::Error(message)) => return Err(ClientError::Refused(message)),
                // Only those who watch are told.
                Ok(Response::Packet(_) | Response::Lost(_)) => {}
                Err(error) => return Err(sent.err().map_or(error, ClientError::Broken)),
            }
        }
    }

    /// Watches logged packets, those of `pflogN` or all, until the daemon ends or `show` fails.
    ///
    /// # Errors
    /// When the daemon refuses, the connection breaks or `show` fails.
    pub fn watch(
        &mut self,
        log: Option<u8>,
        show: &mut dyn FnMut(Watched) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let request = Request::Watch(WatchRequest { log });
        let line = encode(&request).map_err(ClientError::Strange)?;
        let stream = self.stream.get_mut();
        stream.write_all(&line).map_err(ClientError::Broken)?;
        loop {
            let watched = match self.response()? {
                Response::Packet(record) => Watched::Packet(record),
                Response::Lost(count) => Watched::Lost(count),
                Response::Error(message) => return Err(ClientError::Refused(message)),
                Response::Done(_) => return Ok(()),
                Response::Text(_) => continue,
            };
            show(watched).map_err(ClientError::Output)?;
        }
    }

    fn response(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => decode(&line).map_err(ClientError::Strange),
            Err(error) => Err(ClientError::Broken(error)),
        }
    }
}
