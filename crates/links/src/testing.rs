//! What unit tests begin with.

use crate::WantedLinks;

/// The links that an `rc.conf` without a fault wants.
pub(crate) fn links(text: &str) -> WantedLinks {
    crate::rcconf::parse(text)
        .unwrap_or_else(|e| panic!("{e:?}"))
        .links
}
