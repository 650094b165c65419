//! What documents say of the code is so: tests, modules and files that they name are there, and what
//! is there is named.

#[path = "documents/code_map.rs"]
mod code_map;
#[path = "documents/compat.rs"]
mod compat;

use std::path::{Path, PathBuf};

/// Where the documents and the crates are.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
