//! Debian's programs that `scripts/packages.sh` has unpacked.

use std::path::{Path, PathBuf};

/// Where the set `name` is; none, and a line on standard error, when it is not there.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn unpacked(test: &str, name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let packages = target.join("packages");
    if !packages.join(format!("{name}.complete")).exists() {
        eprintln!("skipped {test}: {name} is not unpacked: run scripts/packages.sh");
        return None;
    }
    packages.join(name).canonicalize().ok()
}
