//! The flow cache that the daemons of a run of tests have.

use anyhow::bail;
use clap::ValueEnum;
use serde::Serialize;

/// The environment variable that says which, where a test does not say so itself: a name of
/// [`FastPath`].
pub const FAST_PATH: &str = "WEIGHBRIDGE_TEST_FAST_PATH";

/// Whether the kernel repeats what the daemon has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FastPath {
    /// Each packet comes up.
    Off,
    /// `fast-path = "on"`.
    On,
    /// The same with a cache that is emptied at random moments.
    Emptied,
}

impl FastPath {
    /// What [`FAST_PATH`] says, if it says anything.
    pub fn of_environment() -> anyhow::Result<Option<Self>> {
        let Some(name) = std::env::var_os(FAST_PATH) else {
            return Ok(None);
        };
        let name = name.to_string_lossy();
        match Self::from_str(&name, false) {
            Ok(path) => Ok(Some(path)),
            Err(_) => bail!("{FAST_PATH} is {name}, not off, on or emptied"),
        }
    }

    /// What weighbridge.toml says.
    pub(super) const fn setting(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On | Self::Emptied => "on",
        }
    }
}
