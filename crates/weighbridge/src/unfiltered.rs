//! Rules that name interfaces which are not filtered: what is said of them.

use std::path::Path;

use pf_conf::{Loaded, Warnings};
use pf_engine::env::Interface;
use tracing::warn;

use crate::config;

/// Logs what is wrong with the interfaces that rules name which are about to be installed.
pub(crate) fn log(loaded: &Loaded, present: &[Interface], filtered: &[String]) {
    for message in pf_conf::unfiltered(loaded, present, filtered) {
        warn!("{message}");
    }
}

/// Adds the same to what is found in rules, where the directory `config` says what is filtered.
pub(crate) fn add_to(
    warnings: &mut Warnings,
    loaded: &Loaded,
    present: &[Interface],
    config: &Path,
) {
    // What is wrong with the directory is told by who starts with it.
    if let Ok(configuration) = config::read(config, None) {
        warnings.add_unfiltered(loaded, present, &configuration.filtered());
    }
}
