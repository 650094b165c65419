//! Tables that nobody named: of the optimizer, and of OpenBSD's pools of several addresses.

use pf_engine::addr::Prefix;
use pf_engine::ruleset::{TableDefinition, TableEntry};

/// How their names begin.
pub(crate) const NAME_PREFIX: &str = "__automatic_";

/// `const { prefixes }`.
pub(crate) fn definition(prefixes: &[Prefix]) -> TableDefinition {
    TableDefinition {
        constant: true,
        has_contents: true,
        entries: prefixes.iter().map(|prefix| entry(*prefix)).collect(),
        ..TableDefinition::default()
    }
}

const fn entry(prefix: Prefix) -> TableEntry {
    TableEntry {
        prefix,
        negated: false,
    }
}

/// The name of the table of `prefixes`, if `number` is free. The hexadecimal part comes from the
/// addresses, so that the table of a ruleset that is loaded again is the same table and keeps its
/// counters.
pub(crate) fn name(prefixes: &[Prefix], number: usize) -> String {
    let digest = digest(prefixes);
    format!("{NAME_PREFIX}{digest:08x}_{number}")
}

/// FNV-1a over the addresses as text.
fn digest(prefixes: &[Prefix]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for prefix in prefixes {
        for byte in format!("{prefix} ").bytes() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash
}
