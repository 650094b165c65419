//! `Listen [ADDRESS:]PORT [PROTOCOL] [options=…]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::files::Place;

/// What a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// No address, or `*`: `[::]` where the system has IPv6, else `0.0.0.0`.
    Any,
    /// An address; `0.0.0.0` and `[::]` are the wildcards of their family.
    Ip(IpAddr),
    /// A host name, which httpd resolves.
    Name(String),
}

impl Address {
    /// Whether it stands for every address (of its family).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Ip(address) => address.is_unspecified(),
            Self::Name(_) => false,
        }
    }
}

/// One `Listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where it stands.
    pub place: Place,
    /// The lines as they stand; none when a macro made it, so that no line is this one alone.
    pub raw: Vec<String>,
    /// Blanks before it.
    pub indent: String,
    /// What it is bound to.
    pub address: Address,
    /// Port.
    pub port: u16,
    /// Protocol, in lower case: `https` for port 443, else `http`, unless one is given.
    pub protocol: String,
    /// The words behind the address, as they stand.
    pub rest: Vec<String>,
}

impl Listen {
    /// The same listener on another address, as a line.
    pub(crate) fn line_for(&self, address: IpAddr) -> String {
        let mut line = format!("{}Listen {}", self.indent, socket(address, self.port));
        for word in &self.rest {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Any => write!(f, "Listen {}", self.port),
            Address::Ip(address) => write!(f, "Listen {}", socket(*address, self.port)),
            Address::Name(name) => write!(f, "Listen {name}:{}", self.port),
        }
    }
}

/// `ADDRESS:PORT`, with an IPv6 address in brackets.
pub(crate) fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Reads the words behind `Listen`: address, port, protocol, and the words behind the address.
///
/// # Errors
/// What httpd would refuse, in a sentence.
pub fn parse(words: &[String]) -> Result<(Address, u16, String, Vec<String>), String> {
    let [target, rest @ ..] = words else {
        return Err("Listen needs [ADDRESS:]PORT".to_owned());
    };
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, target.as_str()),
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 && port_digits(target, host) => port,
        Ok(_) | Err(_) => {
            return Err(format!(
                "Listen {target}: a port from 1 to 65535 must be given"
            ));
        }
    };
    let address = match host {
        None => Address::Any,
        Some(host) => bound_to(host)?,
    };
    let given = rest.first().filter(|word| !is_option(word));
    let protocol = given.map_or_else(
        || if port == 443 { "https" } else { "http" }.to_owned(),
        |word| word.to_ascii_lowercase(),
    );
    Ok((address, port, protocol, rest.to_vec()))
}

/// Whether what stands behind the last `:` is a port, and not the end of a bare IPv6 address.
fn port_digits(target: &str, host: Option<&str>) -> bool {
    target.ends_with(|c: char| c.is_ascii_digit())
        && host.is_none_or(|host| host.starts_with('[') || !host.contains(':'))
}

fn is_option(word: &str) -> bool {
    word.to_ascii_lowercase().starts_with("options=")
}

/// An address before a port: `*`, IPv4, `[IPv6]` or a name.
pub(crate) fn bound_to(host: &str) -> Result<Address, String> {
    if matches!(host, "*" | "") {
        return Ok(Address::Any);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner
            .strip_suffix(']')
            .ok_or_else(|| format!("{host}: `]` is missing"))?;
        if inner.contains('%') {
            return Err(format!("{host}: httpd supports no scope in an address"));
        }
        let address: Ipv6Addr = inner
            .parse()
            .map_err(|_| format!("{host} is no IPv6 address"))?;
        return Ok(Address::Ip(address.into()));
    }
    Ok(host.parse::<Ipv4Addr>().map_or_else(
        |_| Address::Name(host.to_owned()),
        |address| Address::Ip(address.into()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Address, u16, String, Vec<String>), String> {
        parse(&super::super::lexer::words(text))
    }

    #[test]
    fn all_forms_of_the_article_are_wildcards() {
        for text in ["80", "*:80", "0.0.0.0:80", "[::]:80"] {
            let (address, port, protocol, _) = read(text).unwrap();
            assert!(address.is_wildcard(), "{text}");
            assert_eq!((port, protocol.as_str()), (80, "http"));
        }
        let (address, ..) = read("192.0.2.1:80").unwrap();
        assert_eq!(address, Address::Ip("192.0.2.1".parse().unwrap()));
        assert_eq!(
            read("www.example.org:80").unwrap().0,
            Address::Name("www.example.org".into())
        );
    }

    #[test]
    fn the_protocol_is_given_or_follows_from_the_port() {
        assert_eq!(read("443").unwrap().2, "https");
        assert_eq!(read("8443 HTTPS").unwrap().2, "https");
        assert_eq!(read("80 options=freebind").unwrap().2, "http");
    }

    #[test]
    fn what_httpd_refuses_is_refused() {
        for text in [
            "",
            "example.org",
            "*",
            "80a",
            "0",
            "70000",
            "[::1:80",
            "[fe80::1%em0]:80",
            "2001:db8::1:80",
            "[::x]:80",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
