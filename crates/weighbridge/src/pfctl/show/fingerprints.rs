//! `-s osfp`: names of operating systems, as pf.conf(5) has them after `os`.

use std::fmt::Write as _;

use super::View;

/// The table of names, or of `-s all` (`counted`) only how many signatures there are.
pub(super) fn fingerprints(view: &View<'_>, counted: bool) -> String {
    let fingerprints = view.engine.fingerprints();
    if fingerprints.is_empty() {
        return String::new();
    }
    if counted {
        return format!("{} fingerprints loaded\n", fingerprints.len());
    }
    let mut text =
        "Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n".to_owned();
    for system in fingerprints.list() {
        let parts = [
            Some(&system.class),
            system.version.as_ref(),
            system.subtype.as_ref(),
        ];
        for part in parts.into_iter().flatten() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{part}\t");
        }
        text.push('\n');
    }
    text
}
