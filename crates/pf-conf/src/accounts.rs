//! Users and groups by name.

use std::collections::BTreeMap;
use std::io;

use crate::names::owners;

/// Tells the number of an account; `None` where there is none of that name.
///
/// # Errors
/// What the system said when it could not look.
pub type Lookup = fn(&str) -> io::Result<Option<u32>>;

/// Where the numbers of users and groups come from (`user`, `group`).
///
/// The default knows the accounts of FreeBSD's base system and nothing of the machine: for tests
/// and conformance. Rules that are to be installed want the machine's own.
#[derive(Clone, Copy, Debug)]
pub struct Accounts {
    /// The number of a user.
    pub user: Lookup,
    /// The number of a group.
    pub group: Lookup,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            user: |name| Ok(owners::number(false, name)),
            group: |name| Ok(owners::number(true, name)),
        }
    }
}

/// Why a name has no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoNumber {
    /// There is no such account.
    Unknown,
    /// What the system said.
    Unreadable(String),
}

/// Accounts that are asked for each name only once: a name service may be slow.
#[derive(Clone, Debug)]
pub(crate) struct KnownAccounts {
    accounts: Accounts,
    /// By whether it is a group, and its name.
    known: BTreeMap<(bool, String), Result<u32, NoNumber>>,
}

impl KnownAccounts {
    pub(crate) fn new(accounts: Accounts) -> Self {
        Self {
            accounts,
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn number(&mut self, group: bool, name: &str) -> Result<u32, NoNumber> {
        let accounts = self.accounts;
        let known = self.known.entry((group, name.to_owned()));
        let number = known.or_insert_with(|| {
            let lookup = if group { accounts.group } else { accounts.user };
            match lookup(name) {
                Ok(number) => number.ok_or(NoNumber::Unknown),
                Err(error) => Err(NoNumber::Unreadable(error.to_string())),
            }
        });
        number.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_of_one_name_are_kept_apart() {
        let mut known = KnownAccounts::new(Accounts {
            user: |name| Ok((name == "tor").then_some(43)),
            group: |_| Err(io::ErrorKind::TimedOut.into()),
        });
        assert_eq!(known.number(false, "tor"), Ok(43));
        assert_eq!(known.number(false, "unbound"), Err(NoNumber::Unknown));
        let error = known.number(true, "tor");
        assert_eq!(error, Err(NoNumber::Unreadable("timed out".to_owned())));
        assert_eq!(known.number(false, "tor"), Ok(43));
    }

    #[test]
    fn the_default_is_freebsds_base_system() {
        let mut known = KnownAccounts::new(Accounts::default());
        assert_eq!(known.number(false, "proxy"), Ok(62));
        assert_eq!(known.number(true, "mail"), Ok(6));
    }
}
