//! Hosts on the command line and in table files: addresses, networks and names.

use std::net::{IpAddr, ToSocketAddrs};

use pf_engine::addr::Prefix;
use pf_engine::ruleset::{Dialect, TableEntry};

use crate::text::parse_prefix;

/// Whether names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By the system's name services.
    Names,
    /// They are not: only addresses stand for addresses.
    AddressesOnly,
}

/// The addresses that `text` stands for: itself, or those of a name, in the resolver's order.
///
/// # Errors
/// When it is neither, in PF's words.
pub fn resolve(text: &str, lookup: Lookup) -> Result<Vec<Prefix>, String> {
    if let Some(prefix) = parse_prefix(text) {
        return Ok(vec![prefix]);
    }
    let (name, len) = match text.split_once('/') {
        Some((name, len)) => (name, Some(len)),
        None => (text, None),
    };
    let mut found = Vec::new();
    let addresses = match lookup {
        Lookup::Names => addresses_of(name),
        Lookup::AddressesOnly => Vec::new(),
    };
    for address in addresses {
        let prefix = match len {
            Some(len) => parse_prefix(&format!("{address}/{len}")),
            None => Some(Prefix::host(address)),
        };
        found.extend(prefix.filter(|prefix| !found.contains(prefix)));
    }
    if found.is_empty() {
        return Err(format!("no IP address found for {text}"));
    }
    Ok(found)
}

fn addresses_of(name: &str) -> Vec<IpAddr> {
    // A name with characters that no host name has would only trouble the resolver.
    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(plausible) {
        return Vec::new();
    }
    let found = (name, 0).to_socket_addrs();
    found.map_or_else(|_| Vec::new(), |all| all.map(|a| a.ip()).collect())
}

/// The entries that `words` stand for; a leading `!` negates.
///
/// # Errors
/// The first word that stands for nothing.
pub fn entries<'a>(
    words: impl IntoIterator<Item = &'a str>,
    lookup: Lookup,
) -> Result<Vec<TableEntry>, String> {
    let mut entries = Vec::new();
    let mut negated = false;
    for word in words {
        let host = word.trim_start_matches('!');
        negated ^= (word.len() - host.len()) % 2 == 1;
        if host.is_empty() {
            continue;
        }
        let prefixes = resolve(host, lookup)?;
        entries.extend(
            prefixes
                .into_iter()
                .map(|prefix| TableEntry { prefix, negated }),
        );
        negated = false;
    }
    Ok(entries)
}

/// The words of a table file: blanks between them, comments from `#` (in FreeBSD's dialect also
/// from `;`) to the end of the line.
pub fn words(text: &str, dialect: Dialect) -> impl Iterator<Item = &str> {
    let comment: &[char] = match dialect {
        Dialect::FreeBsd => &['#', ';'],
        Dialect::OpenBsd | Dialect::OpenBsd3 => &['#'],
    };
    text.lines()
        .map(move |line| line.find(comment).map_or(line, |at| &line[..at]))
        .flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::table_entry_text;

    fn read(text: &str) -> Result<Vec<String>, String> {
        entries(words(text, Dialect::FreeBsd), Lookup::Names)
            .map(|all| all.iter().map(table_entry_text).collect())
    }

    #[test]
    fn a_table_file_has_words_signs_and_comments() {
        let text = "192.0.2.1 10.1.2.3/8 # office\n\n!2001:db8::/32\t; not this one: 192.0.2.9\n\
                    ! 192.0.2.3\n";
        assert_eq!(
            read(text).as_deref(),
            Ok(["192.0.2.1", "10.0.0.0/8", "!2001:db8::/32", "!192.0.2.3"]
                .map(String::from)
                .as_slice())
        );
    }

    #[test]
    fn openbsd_takes_no_semicolon() {
        let all: Vec<_> = words("192.0.2.1 ; x", Dialect::OpenBsd).collect();
        assert_eq!(all, ["192.0.2.1", ";", "x"]);
    }

    #[test]
    fn what_is_no_host_is_named() {
        for text in ["192.0.2.1/33", "a host!", "$(reboot)", "192.0.2.0/"] {
            let error = resolve(text, Lookup::Names).unwrap_err();
            assert_eq!(error, format!("no IP address found for {text}"));
        }
    }
}
