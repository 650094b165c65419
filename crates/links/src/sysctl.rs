//! `sysctl.conf` (sysctl.conf(5)): whether packets are forwarded. What else it says is about the
//! kernel of another system.

use crate::ParseError;
use crate::line::{self, Word, characters};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    /// `net.inet.ip.forwarding`.
    pub forward_v4: Option<bool>,
    /// `net.inet6.ip6.forwarding`.
    pub forward_v6: Option<bool>,
    /// The other variables, by name.
    pub others: Vec<String>,
}

/// Reads the file. The names of Linux stand for the same.
///
/// # Errors
/// Every line that is no assignment, and every value that is neither 0 nor 1, with its place.
pub fn parse(text: &str) -> Result<Sysctl, Vec<ParseError>> {
    let lines = line::lines(text).map_err(|error| vec![error])?;
    let mut read = Sysctl::default();
    let mut errors = Vec::new();
    for words in &lines {
        let Some((name, value)) = assignment(words) else {
            let first = words.first().copied();
            errors.extend(first.map(|word| word.error("expected NAME=VALUE", None)));
            continue;
        };
        let forward = match name {
            "net.inet.ip.forwarding" | "net.ipv4.ip_forward" => &mut read.forward_v4,
            "net.inet6.ip6.forwarding" | "net.ipv6.conf.all.forwarding" => &mut read.forward_v6,
            _ => {
                read.others.push(name.to_owned());
                continue;
            }
        };
        match value.text.trim_matches('"') {
            "0" => *forward = Some(false),
            "1" => *forward = Some(true),
            other => errors.push(value.error(
                format!("{name}: expected 0 or 1, found '{}'", other.escape_debug()),
                None,
            )),
        }
    }
    line::unless_faulty(read, errors)
}

/// `NAME=VALUE`, with or without blanks around the sign.
fn assignment<'a>(words: &[Word<'a>]) -> Option<(&'a str, Word<'a>)> {
    let (first, rest) = words.split_first()?;
    let (name, value) = match first.text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (first.text, None),
    };
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        let column = first.column + characters(name) + 1;
        let text = value;
        return Some((
            name,
            Word {
                text,
                column,
                ..*first
            },
        ));
    }
    let behind = rest.first()?;
    let value = match (value, behind.text) {
        (Some(_), _) => behind,
        (None, "=") => rest.get(1)?,
        (None, _) => return None,
    };
    Some((name, *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_line_is_read_and_what_is_about_something_else_is_named() {
        let read = parse(
            "# $OpenBSD: sysctl.conf,v 1.38 2005/02/18\n\
             net.inet.ip.forwarding=1        # 1=Permit forwarding (routing) of packets\n\
             #net.inet6.ip6.forwarding=1\n\
             vm.swapencrypt.enable = 1\n",
        );
        let expected = Sysctl {
            forward_v4: Some(true),
            forward_v6: None,
            others: vec!["vm.swapencrypt.enable".to_owned()],
        };
        assert_eq!(read, Ok(expected));
        let linux = parse("net.ipv4.ip_forward = 0\nnet.ipv6.conf.all.forwarding=\"1\"\n").unwrap();
        assert_eq!(
            (linux.forward_v4, linux.forward_v6),
            (Some(false), Some(true))
        );
    }

    #[test]
    fn what_is_no_assignment_of_0_or_1_is_refused_with_its_place() {
        let errors = parse(
            "net.inet.ip.forwarding\nnet.inet.ip.forwarding=yes\nnet.inet.ip.forwarding 1\n\
             net.inet6.ip6.forwarding = 2\nnet.inet.ip.forwarding=\n",
        )
        .unwrap_err();
        let seen: Vec<_> = errors.iter().map(|e| (e.line, e.column)).collect();
        assert_eq!(seen, [(1, 1), (2, 24), (3, 1), (4, 28), (5, 1)]);
        let text = errors[1].to_string();
        assert_eq!(
            text,
            "2:24: net.inet.ip.forwarding: expected 0 or 1, found 'yes'"
        );
    }
}
