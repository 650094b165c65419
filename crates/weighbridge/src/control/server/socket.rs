//! The control socket in the file system: mode 0600, one daemon, no leftovers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;

use crate::text::reason;

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another daemon holds it.
    #[error(
        "another weighbridge is running with the control socket {0}: stop it, or use another \
         socket (--socket PATH) and another tap (weighbridge.toml)"
    )]
    Taken(PathBuf),
    /// Something that is no socket stands in its place.
    #[error("{0} exists and is no socket: remove it, or use another path (--socket PATH)")]
    InTheWay(PathBuf),
    /// The system refused.
    #[error("cannot make the control socket {path}: {}", reason(error))]
    System {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A bound control socket. Dropping it removes the socket and lets another daemon have it.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: Option<UnixListener>,
    // The lock lasts as long as this descriptor, even if the process is killed.
    _lock: File,
}

impl ControlSocket {
    /// Makes the socket at `path`, and its directory. What a dead daemon left is replaced.
    ///
    /// To be called before there are threads: the process's umask is changed for a moment.
    ///
    /// # Errors
    /// When another daemon lives, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |error| SocketError::System {
            path: path.to_path_buf(),
            error,
        };
        make_directory(path).map_err(failed)?;
        let lock = take_lock(path)?;
        remove_leftover(path)?;
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            path: path.to_path_buf(),
            listener: Some(listener),
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listening end, once.
    ///
    /// # Errors
    /// When it has been taken before.
    pub fn take_listener(&mut self) -> io::Result<UnixListener> {
        self.listener
            .take()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent),
        _ => Ok(()),
    }
}

/// Locks a file beside the socket. Unlike the socket itself that tells a living daemon from a
/// dead one without asking it. The file stays: removing it would let two daemons hold two locks.
fn take_lock(path: &Path) -> Result<File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error| SocketError::System {
        path: path.to_path_buf(),
        error,
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(name).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SocketError::Taken(path.to_path_buf())),
        Err(error) => Err(failed(error.into())),
    }
}

fn remove_leftover(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(SocketError::InTheWay(path.to_path_buf()))
        }
        Ok(_) => fs::remove_file(path).map_err(|error| SocketError::System {
            path: path.to_path_buf(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_its_owner_alone_and_goes_with_the_daemon() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("run/control.sock");
        let socket = ControlSocket::bind(&path).expect("binds");
        let mode = fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_daemon_is_refused_and_the_first_keeps_its_socket() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("control.sock");
        let first = ControlSocket::bind(&path).expect("binds");
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(error.to_string().contains("another weighbridge is running"));
        assert!(path.exists());
        drop(first);
        ControlSocket::bind(&path).expect("free again");
    }

    #[test]
    fn what_a_dead_daemon_left_is_replaced_but_nothing_else_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("control.sock");
        drop(UnixListener::bind(&path).expect("binds"));
        assert!(path.exists(), "a plain listener leaves its socket");
        drop(ControlSocket::bind(&path).expect("replaces it"));
        fs::write(&path, "precious").expect("write");
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InTheWay(_)), "{error}");
        assert_eq!(fs::read(&path).expect("read"), b"precious");
    }
}
