//! A logged packet in one line, as tcpdump prints it, or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use pf_engine::rule::tcp_flags;
use pf_engine::wire::{IcmpBody, Meta, Transport, icmp, icmp6};
use serde_json::{Value, json};

use super::record::Record;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Letters of TCP flags, in tcpdump's order.
const FLAGS: [(u8, char); 6] = [
    (tcp_flags::FIN, 'F'),
    (tcp_flags::SYN, 'S'),
    (tcp_flags::RST, 'R'),
    (tcp_flags::PSH, 'P'),
    (tcp_flags::ACK, '.'),
    (tcp_flags::URG, 'U'),
];

/// `time rule 0/0(match): block in on em0: 10.0.0.1.1234 > …`, without a newline. Times are UTC.
#[must_use]
pub fn line(record: &Record) -> String {
    format!("{} {}", time_of_day(record.time), described(record))
}

/// The line without its time.
fn described(record: &Record) -> String {
    let number = |rule: Option<u32>| rule.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut rule = number(record.rule);
    if let Some((anchor, inner)) = &record.anchor {
        rule = format!("{rule}.{}.{}", printable(anchor), number(*inner));
    }
    let direction = if record.inbound { "in" } else { "out" };
    format!(
        "rule {rule}/{}({}){}: {} {direction} on {}: {}",
        record.reason,
        record.reason_name(),
        extras(record),
        record.action_name(),
        printable(&record.interface),
        packet(record)
    )
}

/// What few records have.
fn extras(record: &Record) -> String {
    let mut text = String::new();
    if record.identifier != 0 {
        let _ = write!(text, " [ridentifier {}]", record.identifier);
    }
    if let Some(owner) = record.owner {
        let _ = write!(text, " [uid {owner}]");
    }
    text
}

/// One JSON object.
#[must_use]
pub fn json(record: &Record) -> Value {
    let mut value = json!({
        "time": format!("{}.{:06}", record.time.as_secs(), record.time.subsec_micros()),
        "log": format!("pflog{}", record.log),
        "rule": record.rule,
        "anchor": record.anchor.as_ref().map(|(name, _)| name),
        "anchor_rule": record.anchor.as_ref().and_then(|(_, rule)| *rule),
        "reason": record.reason_name(),
        "action": record.action_name(),
        "direction": if record.inbound { "in" } else { "out" },
        "interface": record.interface,
        "family": if record.inet6 { "inet6" } else { "inet" },
        "length": record.length,
        "packet": packet(record),
    });
    if let Value::Object(fields) = &mut value {
        if record.identifier != 0 {
            fields.insert("ridentifier".into(), record.identifier.into());
        }
        if let Some(owner) = record.owner {
            fields.insert("uid".into(), owner.into());
        }
    }
    if let (Some(meta), Value::Object(fields)) = (meta(record), &mut value) {
        fields.insert("protocol".into(), meta.protocol.0.into());
        fields.insert("source".into(), meta.source.to_string().into());
        fields.insert("destination".into(), meta.destination.to_string().into());
        if let Some((source, destination)) = meta.ports() {
            fields.insert("source_port".into(), source.into());
            fields.insert("destination_port".into(), destination.into());
        }
    }
    value
}

/// `hh:mm:ss.uuuuuu` of a time since 1970, UTC.
pub(crate) fn time_of_day(time: Duration) -> String {
    let second = time.as_secs() % DAY;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        time.subsec_micros()
    )
}

/// A file may say anything; a terminal shall not obey it.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

/// The headers of the packet. What the log cut off is taken for zeros.
fn meta(record: &Record) -> Option<Meta> {
    if record.length <= record.bytes.len() {
        return Meta::parse(&record.bytes).ok();
    }
    let mut whole = record.bytes.clone();
    whole.resize(record.length.min(pf_engine::wire::MAX_PACKET_LEN), 0);
    Meta::parse(&whole).ok()
}

fn packet(record: &Record) -> String {
    let Some(meta) = meta(record) else {
        return format!("[malformed], length {}", record.length);
    };
    let (source, destination) = (meta.source, meta.destination);
    let mut text = match meta.ports() {
        Some((from, to)) => format!("{source}.{from} > {destination}.{to}: "),
        None => format!("{source} > {destination}: "),
    };
    transport(&meta, &mut text);
    text
}

fn transport(meta: &Meta, text: &mut String) {
    let (payload, length) = (meta.payload_len(), meta.l4_len());
    // Writing to a string cannot fail.
    let _ = match meta.transport {
        Transport::Tcp(_) => tcp(meta, text),
        Transport::Udp(_) => write!(text, "UDP, length {payload}"),
        Transport::Sctp(_) => write!(text, "sctp, length {payload}"),
        Transport::Icmp(message) => {
            let name = match message.kind {
                icmp::ECHO_REPLY => "echo reply".to_owned(),
                icmp::UNREACHABLE => "unreachable".to_owned(),
                icmp::ECHO_REQUEST => "echo request".to_owned(),
                kind => format!("type-#{kind}"),
            };
            query(text, "ICMP ", &name, message.body, length)
        }
        Transport::Icmp6(message) => {
            let name = match message.kind {
                icmp6::ECHO_REPLY => "echo reply".to_owned(),
                icmp6::UNREACHABLE => "unreachable".to_owned(),
                icmp6::ECHO_REQUEST => "echo request".to_owned(),
                kind => format!("type-#{kind}"),
            };
            query(text, "ICMP6, ", &name, message.body, length)
        }
        Transport::Fragment => write!(text, "fragment, length {length}"),
        Transport::Other => write!(text, "ip-proto-{}, length {length}", meta.protocol.0),
    };
}

fn tcp(meta: &Meta, text: &mut String) -> std::fmt::Result {
    let Some(header) = meta.tcp() else {
        return Ok(());
    };
    let letters = FLAGS.iter().filter(|(flag, _)| header.flags & flag != 0);
    let letters: String = letters.map(|(_, letter)| *letter).collect();
    let flags = if letters.is_empty() { "none" } else { &letters };
    write!(text, "Flags [{flags}]")?;
    let payload = meta.payload_len();
    if payload > 0 {
        let end = header.seq.wrapping_add(u32::try_from(payload).unwrap_or(0));
        write!(text, ", seq {}:{end}", header.seq)?;
    } else if header.flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0 {
        write!(text, ", seq {}", header.seq)?;
    }
    if header.flags & tcp_flags::ACK != 0 {
        write!(text, ", ack {}", header.ack)?;
    }
    write!(text, ", win {}, length {payload}", header.window)
}

fn query(
    text: &mut String,
    family: &str,
    name: &str,
    body: IcmpBody,
    length: usize,
) -> std::fmt::Result {
    write!(text, "{family}{name}")?;
    if let IcmpBody::Query { id, .. } = body {
        write!(text, ", id {id}")?;
    }
    write!(text, ", length {length}")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::syn;
    use super::*;

    #[test]
    fn a_line_reads_like_tcpdump_s() {
        let wanted = "22:13:20.000005 rule 3/0(match): block in on em0: \
                      10.0.0.1.1234 > 10.0.0.2.80: Flags [S], seq 7, win 5000, length 0";
        assert_eq!(line(&syn()), wanted);
    }

    #[test]
    fn what_was_cut_off_is_counted_all_the_same() {
        let mut record = syn();
        let ip = pf_engine::wire::build::Ip::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        record.bytes = pf_engine::wire::build::udp(&ip, 53, 54, &[0; 500]);
        record.length = record.bytes.len();
        record.bytes.truncate(96);
        assert!(line(&record).ends_with("10.0.0.1.53 > 10.0.0.2.54: UDP, length 500"));
    }

    #[test]
    fn json_has_each_field_of_its_own() {
        let value = json(&syn());
        assert_eq!(value["time"], "1700000000.000005");
        assert_eq!(value["rule"], 3);
        assert_eq!(value["source"], "10.0.0.1");
        assert_eq!(value["destination_port"], 80);
        assert_eq!(value["action"], "block");
    }

    #[test]
    fn nonsense_is_said_to_be_malformed() {
        let mut record = syn();
        record.bytes = vec![0x45; 7];
        record.length = 7;
        record.interface = "em\u{1b}0".into();
        record.rule = None;
        let wanted = "rule -/0(match): block in on em0: [malformed], length 7";
        assert_eq!(described(&record), wanted);
    }
}
