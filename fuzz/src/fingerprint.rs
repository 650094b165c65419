//! Features of packets as an attacker makes them.

use pf_engine::osfp::features::{Features, MAX_OPTIONS};
use pf_engine::osfp::pfos::{Fingerprints, MAX_ENTRIES};

/// Reads the features of one packet, which begins at its IP header.
///
/// # Panics
/// When the features break one of their promises.
pub fn features(packet: &[u8]) {
    let Ok(found) = Features::of(packet) else {
        return;
    };
    assert!(found.layout.kinds().len() <= MAX_OPTIONS);
    assert!(found.total_len as usize <= packet.len());
    assert!((20..=60).contains(&found.tcp_header_len));
    assert!(usize::from(found.headers_len) <= packet.len());
    assert!(found.pf_options.is_none_or(|pf| pf.count <= 40));
    assert!(found.quirks.to_string().len() < 128);
    assert!(found.layout.to_string().len() < 128);
}

/// Reads a pf.os and looks every name up that it has.
///
/// # Panics
/// When the list breaks one of its promises.
pub fn pf_os(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Fingerprints::read(&text) {
        Ok(read) => {
            assert!(read.len() <= MAX_ENTRIES);
            for system in read.list().iter().take(1000) {
                assert!(read.find(&system.to_string()).is_some(), "{system}");
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(text.get(error.span).is_some(), "{}", error.message);
            }
        }
    }
}
