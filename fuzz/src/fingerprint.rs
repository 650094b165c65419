//! Features of packets as an attacker makes them.

use pf_engine::osfp::features::{Features, MAX_OPTIONS};

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
