//! Sockets that services listen on, opened before privileges are dropped.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;

use super::settings::{Listen, SOCKET_MODE};

/// Permissions of a socket or file between its making and its end state.
pub(super) const CLOSED_MODE: u32 = 0o600;

/// Why a service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The group of the socket does not exist.
    #[error("no group \"{0}\" on this machine: `groupadd --system {0}` makes it")]
    NoGroup(String),
    /// Another process serves there.
    #[error("{}: another process listens there", .0.display())]
    InUse(PathBuf),
    /// Something else is in the way.
    #[error("{}: is no socket", .0.display())]
    NoSocket(PathBuf),
    /// What the system said.
    #[error("cannot open {place}: {error}")]
    Io {
        /// Path, or address and port.
        place: String,
        /// Why.
        error: io::Error,
    },
}

/// What one service listens on.
#[derive(Debug, Default)]
pub struct Bound {
    /// Its UNIX socket.
    pub unix: Option<UnixListener>,
    /// Its TCP socket.
    pub tcp: Option<TcpListener>,
}

/// Opens what `settings` names; a socket that a dead process has left is replaced.
///
/// # Errors
/// Why it could not be opened. Nothing is left open then.
pub fn bind(settings: &Listen) -> Result<Bound, ListenError> {
    let unix = match &settings.socket {
        Some(path) => Some(unix(path, settings)?),
        None => None,
    };
    let tcp = match settings.address {
        Some(address) => Some(stream(address)?),
        None => None,
    };
    Ok(Bound { unix, tcp })
}

/// Opens a socket for connections.
///
/// # Errors
/// Why it could not be opened.
pub fn stream(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|error| ListenError::Io {
        place: address.to_string(),
        error,
    })
}

/// Opens a socket for datagrams.
///
/// # Errors
/// Why it could not be opened.
pub fn datagrams(address: SocketAddr) -> Result<UdpSocket, ListenError> {
    UdpSocket::bind(address).map_err(|error| ListenError::Io {
        place: address.to_string(),
        error,
    })
}

fn unix(path: &Path, settings: &Listen) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Io {
        place: path.display().to_string(),
        error,
    };
    remove_dead(path)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let permissions = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    permissions(CLOSED_MODE).map_err(failed)?;
    if let Some(name) = &settings.group {
        chown(path, None, Some(group(name)?)).map_err(failed)?;
    }
    permissions(settings.mode.unwrap_or(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

/// The number of the group `name`.
pub(super) fn group(name: &str) -> Result<u32, ListenError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(ListenError::NoGroup(name.to_owned())),
        Err(error) => Err(ListenError::Io {
            place: format!("group {name}"),
            error: error.into(),
        }),
    }
}

/// Removes the socket of a process that is gone.
fn remove_dead(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            Err(ListenError::NoSocket(path.to_path_buf()))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => Err(ListenError::InUse(path.to_path_buf())),
        Ok(_) => fs::remove_file(path).map_err(|error| ListenError::Io {
            place: path.display().to_string(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: PathBuf) -> Listen {
        Listen {
            socket: Some(path),
            ..Listen::default()
        }
    }

    #[test]
    fn a_socket_has_its_mode_and_a_dead_one_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = at(dir.path().join("run/p0f.sock"));
        let first = bind(&settings).expect("listens");
        assert!(matches!(bind(&settings), Err(ListenError::InUse(_))));
        drop(first);
        bind(&settings).expect("the dead one is replaced");
        let mode = fs::metadata(dir.path().join("run/p0f.sock"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
    }

    #[test]
    fn a_file_in_the_way_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p0f.sock");
        fs::write(&path, "mine").expect("written");
        assert!(matches!(
            bind(&at(path.clone())),
            Err(ListenError::NoSocket(_))
        ));
        assert_eq!(fs::read_to_string(path).expect("read"), "mine");
    }
}
