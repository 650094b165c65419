//! What outcomes say of hosts: one account that is filled by the thread that counts outcomes, and
//! read by the DNS list and by who feeds the packet filter's table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mail::outcome::Outcome;
use mail::throttle::{Explanation, Kept, Throttle, ThrottleRules};
use mail::time::Timestamp;
use nix::ifaddrs::getifaddrs;
use pf_engine::addr::Prefix;

use super::settings::MailSettings;
use crate::text::parse_prefix;

/// Networks of nobody in particular (RFC 1918, 6598, 3927, 4193, 4291): what they send is of our
/// own machines.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

/// The account. Clones share it.
#[derive(Clone, Debug)]
pub struct Reputation(Arc<Mutex<Account>>);

#[derive(Debug)]
struct Account {
    throttle: Throttle,
    /// Counts changes of who is throttled.
    version: u64,
}

impl Reputation {
    /// An empty one, by these settings; it never throttles the machine's own addresses.
    #[must_use]
    pub fn new(settings: &MailSettings) -> Self {
        Self(Arc::new(Mutex::new(Account {
            throttle: Throttle::new(rules(settings)),
            version: 1,
        })))
    }

    /// Takes outcomes; returns what is to be kept of the hosts that they are of.
    pub(super) fn record<'o>(&self, outcomes: impl Iterator<Item = &'o Outcome>) -> Vec<Kept> {
        let mut account = self.held();
        let full = account.throttle.without_room();
        let mut touched = BTreeSet::new();
        for outcome in outcomes {
            let (address, at) = (outcome.peer.address, outcome.at);
            let change = account.throttle.record(address, outcome.verdict, at);
            account.version += u64::from(change.is_some());
            touched.insert(address);
        }
        if full == 0 && account.throttle.without_room() != 0 {
            tracing::warn!("more hosts than [throttle] has entries for: some are not throttled");
        }
        let kept = touched.into_iter();
        kept.filter_map(|address| account.throttle.kept(address))
            .collect()
    }

    /// Takes back what was kept before a restart.
    pub(super) fn restore(&self, kept: &[Kept], now: Timestamp) {
        let mut account = self.held();
        for kept in kept {
            account.throttle.restore(kept, now);
        }
        account.version += 1;
    }

    /// What is known of `address`, if anything.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now: Timestamp) -> Option<Explanation> {
        self.held().throttle.explain(address, now)
    }

    /// Who is throttled now, with the number of this state; nothing if it is still `seen`.
    pub(super) fn throttled_since(
        &self,
        seen: u64,
        now: Timestamp,
    ) -> Option<(u64, BTreeSet<Prefix>)> {
        let mut account = self.held();
        let left = account.throttle.expire(now);
        account.version += u64::from(!left.is_empty());
        (account.version != seen).then(|| {
            let throttled = account.throttle.throttled(now).into_iter();
            (account.version, throttled.map(|one| one.host).collect())
        })
    }

    /// What panicked has left nothing half done that matters: a weight more or less.
    fn held(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules of `settings`, without the machine's own addresses. Without `[throttle]` nobody is
/// throttled.
#[must_use]
pub(super) fn rules(settings: &MailSettings) -> ThrottleRules {
    let private = PRIVATE.iter().filter_map(|text| parse_prefix(text));
    let mut rules = ThrottleRules {
        half_life: settings.reputation.half_life,
        never: private
            .chain(own_addresses())
            .chain(settings.reputation.never.clone())
            .collect(),
        most: 0,
        ..ThrottleRules::default()
    };
    if let Some(throttle) = &settings.throttle {
        rules.least_rejected = throttle.least_rejected;
        rules.ratio = throttle.ratio;
        rules.duration = throttle.duration;
        rules.most = throttle.entries;
    }
    rules
}

/// Where they cannot be found out, `never` has to name them.
fn own_addresses() -> impl Iterator<Item = Prefix> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| four.ip().into());
        four.or_else(|| address.as_sockaddr_in6().map(|six| six.ip().into()))
    });
    addresses.map(Prefix::host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::settings::parse;
    use crate::mail::testing::rejected;

    fn reputation() -> Reputation {
        let text = "[throttle]\ntable = \"t\"\nleast-rejected = 2\nduration = \"10s\"\n\
                    [reputation]\nnever = [\"198.51.100.0/24\"]";
        Reputation::new(&parse("mail.toml", text).expect("it reads"))
    }

    #[test]
    fn who_is_throttled_is_told_once_for_each_change() {
        let reputation = reputation();
        let at = Timestamp::from_secs;
        let (seen, nobody) = reputation.throttled_since(0, at(100)).expect("new");
        assert!(nobody.is_empty());
        assert_eq!(reputation.throttled_since(seen, at(100)), None);
        let kept = reputation.record(rejected("203.0.113.1", 3, at(100)).iter());
        assert_eq!(kept.len(), 1);
        let (seen, one) = reputation.throttled_since(seen, at(101)).expect("changed");
        assert_eq!(one.len(), 1);
        let (_, nobody) = reputation.throttled_since(seen, at(111)).expect("over");
        assert!(nobody.is_empty());
        // A restart.
        let again = self::reputation();
        again.restore(&kept, at(105));
        let (_, one) = again.throttled_since(0, at(106)).expect("new");
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn own_private_and_trusted_networks_are_never_throttled() {
        let reputation = reputation();
        for address in ["10.1.2.3", "127.0.0.1", "198.51.100.7", "fd00::1", "::1"] {
            let now = Timestamp::from_secs(100);
            reputation.record(rejected(address, 9, now).iter());
            let known = reputation.explain(address.parse().expect("an address"), now);
            assert!(known.expect("known").never, "{address}");
        }
        let throttled = reputation.throttled_since(0, Timestamp::from_secs(100));
        assert!(throttled.expect("new").1.is_empty());
    }
}
