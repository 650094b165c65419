//! Who asks: the p0f API on one connection, the text socket with a new one for each question, the
//! library.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mail::connection::Peer;
use weighbridge_os::{Found, Reader};

/// By what a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    P0fApi,
    Text,
    Library,
}

impl By {
    /// Hosts that it asks for are its own.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::P0fApi => 0,
            Self::Text => 1,
            Self::Library => 2,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P0fApi => "p0f API",
            Self::Text => "text socket",
            Self::Library => "libweighbridge-os",
        }
    }
}

/// Asks whether an address is known.
pub(crate) enum Asker {
    P0fApi(UnixStream),
    Text(PathBuf),
    Library(Reader),
}

impl Asker {
    /// The files are in `dir`.
    pub(crate) fn new(by: By, dir: &Path) -> std::io::Result<Self> {
        Ok(match by {
            By::P0fApi => Self::P0fApi(UnixStream::connect(dir.join("p0f.sock"))?),
            By::Text => Self::Text(dir.join("os.sock")),
            By::Library => Self::Library(Reader::new(dir.join("os.shm"))),
        })
    }

    pub(crate) fn knows(&mut self, address: Ipv4Addr) -> std::io::Result<bool> {
        match self {
            Self::P0fApi(stream) => by_p0f(stream, address),
            Self::Text(path) => by_text(path, address),
            Self::Library(reader) => {
                let found = reader.look_up(&Peer::address(address.into()));
                Ok(matches!(found, Found::Answer(_)))
            }
        }
    }
}

fn by_p0f(stream: &mut UnixStream, address: Ipv4Addr) -> std::io::Result<bool> {
    let mut question = [0; 21];
    question[..4].copy_from_slice(&0x5030_4601_u32.to_ne_bytes());
    question[4] = 4;
    question[5..9].copy_from_slice(&address.octets());
    stream.write_all(&question)?;
    let mut answer = [0; 232];
    stream.read_exact(&mut answer)?;
    Ok(answer[4] == 0x10)
}

fn by_text(path: &Path, address: Ipv4Addr) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(format!("json {address}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains("\"seen\":true"))
}
