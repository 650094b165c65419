//! SYNs of different hosts and stacks, as frames and as a capture.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// Where they go to.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// The first host is behind it: more than sixteen million fit before the next /8.
const FIRST: u32 = 0x0a00_0001;
const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
/// Microseconds between two packets of a capture.
const APART: u64 = 10;

/// TTL as it arrives, window, options: Linux, Windows 10, macOS, Windows 7.
const STACKS: [(u8, u16, &[u8]); 4] = [
    (
        55,
        29_200,
        &[
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 3, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
        ],
    ),
    (116, 64_240, &[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]),
    (
        52,
        65_535,
        &[
            2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 0, 1, 3, 0xe8, 0, 0, 0, 0, 4, 2, 0, 0,
        ],
    ),
    (118, 8_192, &[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]),
];

/// The address of host `number`.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + number)
}

/// The frame of a SYN of host `number` from `port`.
pub(crate) fn frame(number: u32, port: u16) -> Vec<u8> {
    let (ttl, window, options) = STACKS[number as usize % STACKS.len()];
    let len = u8::try_from(40 + options.len()).unwrap_or(u8::MAX);
    let mut frame = ETHERNET.to_vec();
    frame.extend([0x45, 0, 0, len, 0, 1, 0x40, 0, ttl, 6, 0, 0]);
    frame.extend(address(number).octets());
    frame.extend(SERVER.octets());
    frame.extend(port.to_be_bytes());
    frame.extend(25_u16.to_be_bytes());
    frame.extend((number ^ (u32::from(port) << 12)).to_be_bytes());
    frame.extend([0, 0, 0, 0, ((len - 20) / 4) << 4, 2]);
    frame.extend(window.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(options);
    frame
}

/// Writes a pcap of `count` SYNs of `hosts` hosts, each in its turn.
pub(crate) fn capture(path: &Path, count: u32, hosts: u32) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    file.write_all(&[
        2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ])?;
    let (mut number, mut port) = (0, 1_024_u16);
    for at in 0..u64::from(count) {
        let frame = frame(number, port);
        let time = 1_700_000_000_000_000 + at * APART;
        let len = frame.len() as u64;
        for field in [time / 1_000_000, time % 1_000_000, len, len] {
            let field = u32::try_from(field).unwrap_or(u32::MAX);
            file.write_all(&field.to_le_bytes())?;
        }
        file.write_all(&frame)?;
        number += 1;
        if number == hosts {
            (number, port) = (0, port.wrapping_add(1));
        }
    }
    file.flush()
}
