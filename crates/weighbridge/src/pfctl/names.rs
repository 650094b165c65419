//! `-r`: addresses by their names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

/// Addresses that are looked up at most; what comes then is printed as it is.
const LOOK_UPS_MAX: usize = 10_000;
/// Addresses in one call of the look-up.
const BATCH: usize = 100;

/// `text` with each address that has a name replaced by it. `resolve` tells the names of some
/// addresses.
#[must_use]
pub fn named(text: &str, resolve: &dyn Fn(&[IpAddr]) -> BTreeMap<IpAddr, String>) -> String {
    let mut addresses: Vec<IpAddr> = words(text).filter_map(|(_, word)| address(word)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(LOOK_UPS_MAX);
    let mut names = BTreeMap::new();
    for batch in addresses.chunks(BATCH) {
        names.extend(resolve(batch));
    }
    let mut out = String::new();
    for (between, word) in words(text) {
        out.push_str(between);
        match address(word).and_then(|address| names.get(&address)) {
            Some(name) => out.push_str(name),
            None => out.push_str(word),
        }
    }
    out
}

/// The names that the system's name services have for addresses: `getent hosts`, because the
/// resolver's own function for it is none of Rust's.
#[must_use]
pub fn resolve(addresses: &[IpAddr]) -> BTreeMap<IpAddr, String> {
    let keys = addresses.iter().map(ToString::to_string);
    let answer = Command::new("getent").arg("hosts").args(keys).output();
    let Ok(answer) = answer else {
        return BTreeMap::new();
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        // What a name server says goes to a terminal.
        let name = words.next()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        name.bytes().all(plain).then(|| (address, name.to_owned()))
    });
    lines.collect()
}

/// What may be an address, each with what stands before it. The last word may be empty.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'.' || byte == b':';
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let begin = rest.bytes().position(part).unwrap_or(rest.len());
        let (between, from) = rest.split_at(begin);
        let end = from.bytes().position(|b| !part(b)).unwrap_or(from.len());
        let (word, after) = split_port(from, end);
        rest = after;
        Some((between, word))
    })
}

/// An IPv4 address may have a port behind it.
fn split_port(from: &str, end: usize) -> (&str, &str) {
    let at = match from[..end].find(':') {
        Some(at) if from[..at].contains('.') => at,
        _ => end,
    };
    from.split_at(at)
}

fn address(word: &str) -> Option<IpAddr> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(addresses: &[IpAddr]) -> BTreeMap<IpAddr, String> {
        let known = [
            ("192.0.2.7", "client.example"),
            ("2001:db8::1", "six.example"),
        ];
        let known = known.map(|(a, n)| (a.parse::<IpAddr>().expect("address"), n.to_owned()));
        known
            .into_iter()
            .filter(|(address, _)| addresses.contains(address))
            .collect()
    }

    #[test]
    fn addresses_are_replaced_and_everything_else_stays() {
        let text = "all tcp 198.51.100.10:80 (192.0.2.7:8) <- 192.0.2.7:4000       CLOSED:SYN_SENT\n\
                    all udp 2001:db8::1[53] -> 2001:db8::2\n   age 00:01:00, 1:0 pkts, rule 0\n";
        assert_eq!(
            named(text, &names),
            "all tcp 198.51.100.10:80 (client.example:8) <- client.example:4000       \
             CLOSED:SYN_SENT\n\
             all udp six.example[53] -> 2001:db8::2\n   age 00:01:00, 1:0 pkts, rule 0\n"
        );
        assert_eq!(named("", &names), "");
        assert_eq!(named("::", &names), "::");
    }
}
