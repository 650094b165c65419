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

use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// Where `scripts/packages.sh` has unpacked programs; none, and a line on standard error, when
/// `program` is not among them.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn unpacked(test: &str, program: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/packages/root");
    let root = std::env::var_os("WEIGHBRIDGE_PACKAGES").map_or(default, PathBuf::from);
    let root = root
        .canonicalize()
        .ok()
        .filter(|root| root.join(program).is_file());
    if root.is_none() {
        eprintln!("skipped {test}: {program} is not unpacked: run scripts/packages.sh");
    }
    root
}

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
