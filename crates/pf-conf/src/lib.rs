//! pf.conf: text to valid ruleset to text.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use pf_engine::env::Interface;
use pf_engine::rule::Rule;
use pf_engine::ruleset::{Dialect, Ruleset};

/// Reads the files that a pf.conf names (`include`, `table … file`).
pub trait SourceReader {
    /// The bytes of `path`, as it is written in the file (relative to the working directory).
    ///
    /// # Errors
    /// What the system said.
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>>;
}

/// Files held in memory: for tests, and for what a client sends to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFiles(pub BTreeMap<String, Vec<u8>>);

impl SourceReader for MemoryFiles {
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// How to read a pf.conf.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Whose meaning it has.
    pub dialect: Dialect,
    /// `-D name=value`; they win over definitions in the file.
    pub defines: Vec<(String, String)>,
    /// Interfaces that names in the file are expanded to.
    pub interfaces: Vec<Interface>,
}

/// A pf.conf that was read without one error.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What can be installed.
    pub ruleset: Ruleset,
    /// What `pfctl -nv` echoes while it reads (macros, `set`, tables), one line each.
    pub echo: Vec<String>,
}

/// Reads `main` (named `name` in messages; `stdin` for `-`).
///
/// # Errors
/// Every error in the text; then there is nothing to install.
pub fn load(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Result<Loaded, Diagnostics> {
    todo!()
}

/// The errors of one reading, in the order of their places.
#[derive(Clone, Debug)]
pub struct Diagnostics {}

impl Diagnostics {
    /// pfctl's own form, one `file:line: message` each (`--plain`, and when stderr is no
    /// terminal): `file:line:column: message`, the offending text, what was expected, a hint.
    #[must_use]
    pub fn plain(&self) -> String {
        todo!()
    }

    /// For people: source line, caret, expected, hint, macro expansion trail.
    #[must_use]
    pub fn rendered(&self, color: bool) -> String {
        todo!()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

impl std::error::Error for Diagnostics {}

/// How to print rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrintOptions {
    /// Whose printing.
    pub dialect: Dialect,
    /// `-P` was given: numbers instead of service names (FreeBSD), names instead of numbers
    /// (OpenBSD).
    pub swap_service_names: bool,
}

/// A rule as `pfctl -sr`/`-sn` prints it, without newline.
#[must_use]
pub fn print_rule(rule: &Rule, options: PrintOptions) -> String {
    todo!()
}
