//! Text forms of addresses and dialects that the control protocol and pfctl share.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use pf_engine::addr::{Family, Prefix};
use pf_engine::ruleset::{Dialect, TableEntry};

/// Names of the dialects, as in weighbridge.toml and `--dialect`.
pub const DIALECT_NAMES: [(&str, Dialect); 3] = [
    ("freebsd", Dialect::FreeBsd),
    ("openbsd", Dialect::OpenBsd),
    ("openbsd3", Dialect::OpenBsd3),
];

/// The dialect called `name`.
///
/// # Errors
/// What is wrong and which names there are.
pub fn parse_dialect(name: &str) -> Result<Dialect, String> {
    DIALECT_NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, dialect)| *dialect)
        .ok_or_else(|| format!("unknown dialect \"{name}\": use freebsd, openbsd or openbsd3"))
}

/// The name of `dialect`, as [`parse_dialect`] takes it.
#[must_use]
pub const fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::FreeBsd => "freebsd",
        Dialect::OpenBsd => "openbsd",
        Dialect::OpenBsd3 => "openbsd3",
    }
}

/// `address` or `address/len`; nothing when it is neither. Host bits are cleared.
#[must_use]
pub fn parse_prefix(text: &str) -> Option<Prefix> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let len = match len {
        Some(len) => parse_len(len)?,
        None => Family::of(address).bits(),
    };
    Prefix::new(address, len).map(|prefix| prefix.masked())
}

/// `90s`, `30m`, `12h`, `7d`, `4w`.
///
/// # Errors
/// What is wrong and what would be right.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let problem =
        || format!("\"{text}\" is no time: use a number with s, m, h, d or w, as \"12h\"");
    let unit = text.chars().last().ok_or_else(problem)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(problem()),
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse::<u32>().ok());
    let number = u64::from(number.ok_or_else(problem)?);
    Ok(Duration::from_secs(number * seconds))
}

/// Digits only: `u8::from_str` would take a sign too.
fn parse_len(text: &str) -> Option<u8> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// `[!]address[/len]`.
#[must_use]
pub fn parse_table_entry(text: &str) -> Option<TableEntry> {
    let (negated, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let prefix = parse_prefix(rest)?;
    Some(TableEntry { prefix, negated })
}

/// The form that [`parse_table_entry`] takes.
#[must_use]
pub fn table_entry_text(entry: &TableEntry) -> String {
    let sign = if entry.negated { "!" } else { "" };
    format!("{sign}{}", entry.prefix)
}

/// What the system said, in its own words and without its number.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" (os error ") {
        text.truncate(at);
    }
    text
}

/// The number of an IP protocol that [`protocol_name`] prints so, or that is written as a number.
#[must_use]
pub fn protocol_number(text: &str) -> Option<u8> {
    let named = (0..=u8::MAX).find(|number| protocol_name(*number) == Some(text));
    named.or_else(|| match text {
        "icmp6" => Some(58),
        number => number.parse().ok(),
    })
}

/// The name of an IP protocol, as the system's protocols file has it, or nothing.
#[must_use]
pub const fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "ip",
        1 => "icmp",
        2 => "igmp",
        4 => "ipencap",
        6 => "tcp",
        17 => "udp",
        41 => "ipv6",
        43 => "ipv6-route",
        44 => "ipv6-frag",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        59 => "ipv6-nonxt",
        60 => "ipv6-opts",
        88 => "eigrp",
        89 => "ospf",
        97 => "etherip",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// Columns as wide as their widest field.
#[must_use]
pub fn laid_out<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = field.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, field) in widths.iter().zip(row) {
            let _ = write!(line, "{field:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(parse_time("2w"), Ok(Duration::from_hours(14 * 24)));
        for wrong in ["", "7", "d", "-1d", "1y", "99999999999d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_read_with_host_bits_cleared() {
        let text = |input: &str| parse_prefix(input).map(|p| p.to_string());
        assert_eq!(text("192.0.2.77/24").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(text("192.0.2.77").as_deref(), Some("192.0.2.77"));
        assert_eq!(text("2001:db8::1/64").as_deref(), Some("2001:db8::/64"));
        assert_eq!(text("192.0.2.0/33"), None);
        assert_eq!(text("192.0.2.0/+8"), None);
        assert_eq!(text("192.0.2.0/"), None);
        assert_eq!(text("host.example"), None);
    }

    #[test]
    fn table_entries_survive_a_round_trip() {
        for text in ["192.0.2.1", "!192.0.2.0/25", "2001:db8::/32"] {
            let entry = parse_table_entry(text).expect("valid");
            assert_eq!(table_entry_text(&entry), text);
        }
    }

    #[test]
    fn dialects_have_names_both_ways() {
        for (name, dialect) in DIALECT_NAMES {
            assert_eq!(parse_dialect(name), Ok(dialect));
            assert_eq!(dialect_name(dialect), name);
        }
        assert!(parse_dialect("netbsd").unwrap_err().contains("openbsd3"));
    }
}
