//! `weighbridge doctor` as a command: on files, on Debian's httpd in a network namespace, and on a
//! Kerberos realm of MIT's KDC, Heimdal's client and OpenSSH.
//!
//! The programs are those that `scripts/packages.sh` unpacks; without them, or without root, a
//! test says so and is skipped.

#[path = "doctor/apache.rs"]
mod apache;
#[path = "common/command.rs"]
mod command;
#[path = "doctor/files.rs"]
mod files;
#[path = "doctor/kerberos.rs"]
mod kerberos;
#[path = "doctor/links.rs"]
mod links;
#[path = "common/packages.rs"]
mod packages;

use std::path::Path;
use std::process::Command;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// The libraries of unpacked programs, as the dynamic linker wants them.
fn libraries(root: &Path) -> String {
    let machine = std::env::consts::ARCH;
    let directory = |below: &str| {
        root.join(format!("{below}/{machine}-linux-gnu"))
            .display()
            .to_string()
    };
    format!("{}:{}", directory("usr/lib"), directory("lib"))
}

/// Runs the doctor; exit status and standard output.
fn doctor(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), text + &errors)
}
