//! What unit tests begin with, and what they look for.

use crate::{ParseError, WantedLinks};

/// The links that an `rc.conf` without a fault wants.
pub(crate) fn links(text: &str) -> WantedLinks {
    crate::rcconf::parse(text)
        .unwrap_or_else(|e| panic!("{e:?}"))
        .links
}

/// The faults of what was read, as `LINE:COLUMN: MESSAGE`.
pub(crate) fn faults<T>(read: Result<T, Vec<ParseError>>) -> Vec<String> {
    let errors = read.err().expect("it has faults");
    let told = |e: &ParseError| format!("{}:{}: {}", e.line, e.column, e.message);
    errors.iter().map(told).collect()
}

/// The lines and columns of its faults.
pub(crate) fn places<T>(read: Result<T, Vec<ParseError>>) -> Vec<(u32, u32)> {
    let errors = read.err().expect("it has faults");
    errors.iter().map(|e| (e.line, e.column)).collect()
}
