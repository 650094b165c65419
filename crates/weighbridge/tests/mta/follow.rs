//! `weighbridge follow` on what a server has logged.

use std::process::Command;

use crate::machine::Machine;
use crate::site::BINARY;

/// Has `log`, in the machine's directory, read once.
pub(crate) fn follow(machine: &Machine, server: &str, log: &str) {
    let followed = Command::new(BINARY)
        .args(["follow", server, "--from-start", "--once", "--place"])
        .arg(machine.site.path("place.json"))
        .arg("--socket")
        .arg(machine.site.path("os.sock"))
        .arg(machine.site.path(log))
        .output()
        .expect("it runs");
    assert!(followed.status.success(), "{followed:?}");
}
