//! `-k`: which states to kill, and what is said about it.

use pf_engine::addr::Prefix;
use pf_engine::view::HostPort;

use super::Failure;
use super::hosts::{self, Lookup};
use crate::control::protocol::{KillTarget, PrefixText};
use crate::text::protocol_number;

/// Which states one or two `-k` name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// What goes to the daemon.
    pub targets: Vec<KillTarget>,
    /// Numbers of sources and of destinations, where hosts are named.
    hosts: Option<(usize, usize)>,
}

impl Kill {
    /// What `words` (one or two) mean.
    ///
    /// # Errors
    /// When a host stands for nothing, or a word lacks what should follow.
    pub fn read(words: &[String], lookup: Lookup) -> Result<Self, Failure> {
        let (first, second) = match words {
            [] => return Err(Failure::Message("nothing to kill".into())),
            [first] => (first.as_str(), None),
            [first, second, ..] => (first.as_str(), Some(second.as_str())),
        };
        let of = |what: &str| second.ok_or_else(|| Failure::Usage(format!("no {what} specified")));
        match first {
            "label" => Ok(Self::one(KillTarget::Label(of("label")?.to_owned()))),
            "id" => Ok(Self::one(id(of("id")?)?)),
            "key" => Ok(Self::one(key(of("key")?)?)),
            "gateway" => Self::of_networks(of("gateway")?, KillTarget::Gateway, lookup),
            "nat" => Self::of_networks(of("nat IP")?, KillTarget::Nat, lookup),
            host => Self::of_hosts(host, second, lookup),
        }
    }

    fn one(target: KillTarget) -> Self {
        Self {
            targets: vec![target],
            hosts: None,
        }
    }

    fn of_networks(
        text: &str,
        target: fn(PrefixText) -> KillTarget,
        lookup: Lookup,
    ) -> Result<Self, Failure> {
        let networks = hosts::resolve(text, lookup).map_err(Failure::Message)?;
        let targets = networks
            .into_iter()
            .map(|network| target(PrefixText(network)));
        Ok(Self {
            targets: targets.collect(),
            hosts: None,
        })
    }

    fn of_hosts(source: &str, destination: Option<&str>, lookup: Lookup) -> Result<Self, Failure> {
        let sources = hosts::resolve(source, lookup).map_err(Failure::Message)?;
        let destinations = destination
            .map(|host| hosts::resolve(host, lookup))
            .transpose();
        let destinations = destinations.map_err(Failure::Message)?;
        Ok(Self {
            targets: pairs(&sources, destinations.as_deref(), KillTarget::Hosts),
            hosts: Some((sources.len(), destinations.map_or(0, |all| all.len()))),
        })
    }

    /// What PF says when `killed` states were killed.
    #[must_use]
    pub fn message(&self, killed: usize) -> String {
        match self.hosts {
            Some((sources, destinations)) => format!(
                "killed {killed} states from {sources} sources and {destinations} destinations"
            ),
            None => format!("killed {killed} states"),
        }
    }
}

/// Every pair of one family.
pub(super) fn pairs<T>(
    sources: &[Prefix],
    destinations: Option<&[Prefix]>,
    make: impl Fn(PrefixText, Option<PrefixText>) -> T,
) -> Vec<T> {
    let pair = |source: &Prefix, destination: Option<&Prefix>| {
        make(
            PrefixText(*source),
            destination.map(|prefix| PrefixText(*prefix)),
        )
    };
    let mut targets = Vec::new();
    for source in sources {
        match destinations {
            None => targets.push(pair(source, None)),
            Some(all) => {
                let same = all.iter().filter(|to| to.family() == source.family());
                targets.extend(same.map(|to| pair(source, Some(to))));
            }
        }
    }
    targets
}

/// `ID` or `ID/CREATOR`, both hexadecimal.
fn id(text: &str) -> Result<KillTarget, Failure> {
    let (id, creator) = match text.split_once('/') {
        Some((id, creator)) => (id, Some(creator)),
        None => (text, None),
    };
    let wrong = || Failure::Usage("wrong id format specified".into());
    let id = u64::from_str_radix(id, 16).map_err(|_| wrong())?;
    let creator = creator.map(|creator| u32::from_str_radix(creator, 16));
    let creator = creator.transpose().map_err(|_| wrong())?;
    if id == 0 {
        return Err(Failure::Usage("cannot kill id 0".into()));
    }
    Ok(KillTarget::Id(id, creator))
}

/// `tcp 10.0.0.1:80 <- 10.0.0.101:32123`, as `-ss` prints it.
fn key(text: &str) -> Result<KillTarget, Failure> {
    let wrong = || Failure::Usage("wrong key format specified".into());
    let words: Vec<&str> = text.split_whitespace().collect();
    let [protocol, left, arrow, right] = words[..] else {
        return Err(wrong());
    };
    let protocol = protocol_number(protocol).ok_or_else(wrong)?;
    let ends = [end(left).ok_or_else(wrong)?, end(right).ok_or_else(wrong)?];
    let inbound = match arrow {
        "<-" => true,
        "->" => false,
        _ => return Err(wrong()),
    };
    Ok(KillTarget::Key(protocol, ends, inbound))
}

/// `10.0.0.1:80`, `2001:db8::1[80]`, or either without a port.
fn end(text: &str) -> Option<HostPort> {
    let bare = |address: &str, port: &str| {
        Some(HostPort {
            address: address.parse().ok()?,
            port: port.parse().ok()?,
        })
    };
    if let Some((address, port)) = text.split_once('[') {
        return bare(address, port.strip_suffix(']')?);
    }
    bare(text, "0").or_else(|| {
        let (address, port) = text.rsplit_once(':')?;
        bare(address, port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_prefix;

    fn all(texts: &[&str]) -> Vec<Prefix> {
        let parse = |text: &&str| parse_prefix(text).expect("valid");
        texts.iter().map(parse).collect()
    }

    fn read(words: &[&str]) -> Result<Kill, Failure> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Kill::read(&words, Lookup::Names)
    }

    #[test]
    fn sources_and_destinations_are_paired_within_a_family() {
        let sources = all(&["192.0.2.1", "2001:db8::1"]);
        let targets = pairs(
            &sources,
            Some(&all(&["198.51.100.0/24"])),
            KillTarget::Hosts,
        );
        assert_eq!(targets.len(), 1);
        assert!(matches!(
            &targets[0],
            KillTarget::Hosts(source, Some(_)) if source.0.to_string() == "192.0.2.1"
        ));
        assert_eq!(pairs(&sources, None, KillTarget::Hosts).len(), 2);
    }

    #[test]
    fn words_take_what_follows_them() {
        let target = |words: &[&str]| read(words).expect("valid").targets.remove(0);
        assert_eq!(target(&["label", "web"]), KillTarget::Label("web".into()));
        assert_eq!(
            target(&["id", "4823e84500000003/58075cf3"]),
            KillTarget::Id(0x4823_e845_0000_0003, Some(0x5807_5cf3))
        );
        let end = |address: &str, port| HostPort {
            address: address.parse().expect("address"),
            port,
        };
        assert_eq!(
            target(&["key", "tcp 10.0.0.1:80 <- 10.0.0.101:32123"]),
            KillTarget::Key(6, [end("10.0.0.1", 80), end("10.0.0.101", 32123)], true)
        );
        assert_eq!(
            target(&["key", "udp 2001:db8::1[53] -> 2001:db8::2"]),
            KillTarget::Key(17, [end("2001:db8::1", 53), end("2001:db8::2", 0)], false)
        );
        assert!(matches!(
            target(&["gateway", "192.0.2.0/24"]),
            KillTarget::Gateway(_)
        ));
        assert!(matches!(target(&["nat", "192.0.2.1"]), KillTarget::Nat(_)));
    }

    #[test]
    fn words_that_lack_something_get_the_usage() {
        for (words, expected) in [
            (&["label"] as &[&str], "no label specified"),
            (&["gateway"], "no gateway specified"),
            (&["id", "xyz"], "wrong id format specified"),
            (&["id", "0"], "cannot kill id 0"),
            (
                &["key", "tcp 10.0.0.1:80 10.0.0.2:1"],
                "wrong key format specified",
            ),
            (
                &["key", "nonsense 10.0.0.1 -> 10.0.0.2"],
                "wrong key format specified",
            ),
        ] {
            let Err(Failure::Usage(message)) = read(words) else {
                panic!("{words:?} was taken");
            };
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn hosts_are_counted_in_the_message() {
        let hosts = read(&["192.0.2.1", "198.51.100.1"]).expect("valid");
        assert_eq!(
            hosts.message(3),
            "killed 3 states from 1 sources and 1 destinations"
        );
        let label = read(&["label", "web"]).expect("valid");
        assert_eq!(label.message(1), "killed 1 states");
    }
}
