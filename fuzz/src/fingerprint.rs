//! Features of packets as an attacker makes them, and the lists that they are looked up in.

use std::sync::LazyLock;

use pf_engine::osfp::features::{Features, MAX_OPTIONS};
use pf_engine::osfp::p0f::{Database, Mode};
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

/// Reads a p0f.fp, alone and before our own signatures, and looks a SYN up in it.
///
/// # Panics
/// When the list breaks one of its promises.
pub fn p0f_fp(data: &[u8]) {
    static SYN: LazyLock<Features> = LazyLock::new(|| Features::of(&LINUX).expect("a SYN"));
    let text = String::from_utf8_lossy(data);
    match Database::parse(&text) {
        Ok(read) => {
            for signature in read.signatures() {
                let label = read.labels().get(signature.label as usize);
                let label = label.expect("every signature has its label").to_string();
                assert!(label.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            }
            for mode in [Mode::Parity, Mode::Better] {
                if let Some(found) = read.look_up(&SYN, None, mode).found {
                    assert!(read.signature(found.signature).is_some());
                }
            }
            let _ = Database::own().extend_where_new(&text);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let lines = text.lines().count().max(1);
            for error in errors {
                assert!((1..=lines).contains(&(error.line as usize)), "{error:?}");
            }
        }
    }
}

/// A SYN of Linux.
const LINUX: [u8; 60] = [
    0x45, 0, 0, 60, 0, 1, 0x40, 0, 55, 6, 0, 0, 198, 51, 100, 7, 192, 0, 2, 9, 0x12, 0x67, 0, 25,
    0, 0, 0, 9, 0, 0, 0, 0, 0xa0, 2, 0x72, 0x10, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3,
    0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
];
