//! Files of packets: captures for `weighbridge replay`, and logs for `weighbridge log`.

use pf_engine::wire::MAX_PACKET_LEN;
use weighbridge::fuzzing;
use weighbridge::pflog::record::{FILE_HEADER, Order, RECORD_HEADER};
use weighbridge::pflog::text;

/// Packets of one capture that the engine is given: enough for any sequence.
const PACKETS_MAX: usize = 64;

/// Reads bytes as a capture and gives its packets to the engine with the hostile ruleset.
///
/// # Panics
/// When a packet is larger than packets are, or the engine breaks a promise.
pub fn capture(data: &[u8]) {
    let mut records = Vec::new();
    for (bytes, control) in fuzzing::captured_packets(data)
        .take(PACKETS_MAX)
        .zip((0..=u8::MAX).cycle())
    {
        assert!(bytes.len() <= MAX_PACKET_LEN);
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        records.push(control & 7);
        records.extend(len.to_be_bytes());
        records.extend(&bytes[..usize::from(len)]);
    }
    crate::packet(&records);
}

/// Reads bytes as a file of logged packets and prints them both ways.
///
/// # Panics
/// When a line of the output is more than one line, or what was read cannot be written and read
/// again.
pub fn pflog(data: &[u8]) {
    let Some((header, mut rest)) = data.split_at_checked(FILE_HEADER) else {
        return;
    };
    let Ok(order) = Order::of(header) else {
        return;
    };
    while let Some((header, after)) = rest.split_at_checked(RECORD_HEADER) {
        let Ok(len) = order.body_len(header) else {
            return;
        };
        let Some((body, next)) = after.split_at_checked(len) else {
            return;
        };
        rest = next;
        if let Ok(record) = order.decode(header, body) {
            let line = text::line(&record);
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            let json = text::json(&record).to_string();
            assert!(!json.contains('\n'));
            let mut written = Vec::new();
            record.encode(&mut written);
            assert_eq!(written.len(), record.encoded_len());
        }
    }
}
