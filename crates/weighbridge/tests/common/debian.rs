//! A Debian machine of a test's own, on which unpacked packages are installed; needs root.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::namespace::Namespace;

/// Runs `script` on a machine with `packages`, in the network `inside`; what it says goes to `log`.
/// In its environment are `DIRECTORY`, which the test sees too, `CONTRIB`, the repository's, and
/// `WEIGHBRIDGE`, the binary. All that it starts ends with the child.
pub(crate) fn start(
    inside: &Namespace,
    packages: &Path,
    directory: &Path,
    script: &str,
    log: &File,
) -> io::Result<Child> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("unshare");
    command
        .args(["-m", "-p", "--fork", "--kill-child", "sh"])
        .arg(here.join("tests/common/machine.sh"))
        .env("PACKAGES", packages)
        .env("DIRECTORY", directory)
        .env("CONTRIB", here.join("../../contrib").canonicalize()?)
        .env("WEIGHBRIDGE", env!("CARGO_BIN_EXE_weighbridge"))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    let mut child = inside.start(&mut command).map_err(io::Error::other)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    Ok(child)
}
