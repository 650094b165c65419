//! Reference data that is never copied into the repository.

use std::path::{Path, PathBuf};

/// The real SYNs that the project's reference data holds; says so when there are none.
#[expect(
    clippy::print_stderr,
    reason = "who reads the test's output shall know"
)]
pub(crate) fn syns() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [
        std::env::var_os("WEIGHBRIDGE_CONFORMANCE").map(PathBuf::from),
        Some(here.join("../../../shared")),
    ];
    let mut files = places
        .into_iter()
        .flatten()
        .map(|place| place.join("data/syn/syn-dev.pcap"));
    let found = files.find(|file| file.exists());
    if found.is_none() {
        eprintln!("skipped: no data/syn/syn-dev.pcap in $WEIGHBRIDGE_CONFORMANCE or ../shared");
    }
    found
}
