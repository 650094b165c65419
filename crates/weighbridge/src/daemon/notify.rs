//! Tells the service manager that the daemon is ready (`sd_notify(3)`).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `READY=1` to the socket named by `NOTIFY_SOCKET`, if there is one.
///
/// # Errors
/// What the system said.
pub(super) fn ready() -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(name) => send(&name, b"READY=1"),
        None => Ok(()),
    }
}

/// A leading `@` stands for the abstract name space.
fn send(name: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_a_socket_in_the_file_system_and_an_abstract_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("binds");
        send(path.as_os_str(), b"READY=1").expect("sends");
        let name = format!("weighbridge-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("name");
        let other = UnixDatagram::bind_addr(&address).expect("binds");
        send(OsStr::new(&format!("@{name}")), b"READY=1").expect("sends");
        for socket in [manager, other] {
            let mut buffer = [0; 16];
            let len = socket.recv(&mut buffer).expect("receives");
            assert_eq!(&buffer[..len], b"READY=1");
        }
    }
}
