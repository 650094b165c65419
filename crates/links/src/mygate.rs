//! OpenBSD's `mygate` (mygate(5)): the first address of each family is a default router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rcconf::routes;
use crate::{ParseError, WantedRoute, line};

/// Reads the file.
///
/// # Errors
/// Every line that cannot be carried out, with its place.
pub fn parse(text: &str) -> Result<Vec<WantedRoute>, Vec<ParseError>> {
    let lines = line::lines(text).map_err(|error| vec![error])?;
    let mut found: Vec<WantedRoute> = Vec::new();
    let mut errors = Vec::new();
    for words in &lines {
        let Some((word, rest)) = words.split_first() else {
            continue;
        };
        if word.text.starts_with('!') {
            errors.push(word.error("not supported: commands in start-up files", None));
            continue;
        }
        if let Some(extra) = rest.first() {
            errors.push(extra.error("expected one address a line", None));
            continue;
        }
        match routes::gateway(word, word.text.contains(':')) {
            // Of several of a family the first one counts, as in netstart(8).
            Ok((gateway, _))
                if found
                    .iter()
                    .any(|r| r.gateway.is_ipv4() == gateway.is_ipv4()) => {}
            Ok(next) => found.push(default_route(next)),
            Err(error) => errors.push(error),
        }
    }
    line::unless_faulty(found, errors)
}

fn default_route((gateway, interface): (IpAddr, Option<String>)) -> WantedRoute {
    let destination = if gateway.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    WantedRoute {
        destination,
        prefix_len: 0,
        gateway,
        interface,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::places;

    #[test]
    fn the_first_address_of_each_family_counts() {
        let routes = parse("# gate\n192.0.2.1\n2001:db8::1\n192.0.2.2\n").unwrap();
        let gateways: Vec<String> = routes.iter().map(|r| r.gateway.to_string()).collect();
        assert_eq!(gateways, ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_place() {
        let seen = places(parse("gate.example.org\n192.0.2.1 x\n!route\n"));
        assert_eq!(seen, [(1, 1), (2, 11), (3, 1)]);
    }
}
