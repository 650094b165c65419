//! Whose a socket is: asked of the kernel by `sock_diag(7)`, one packet at a time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::SystemTime;

use datapath::netlink::Sockets;
use pf_engine::env::{SocketOwner, SocketQuery};
use tracing::warn;

/// Users and their primary groups (passwd(5)).
const ACCOUNTS: &str = "/etc/passwd";

/// Looks up owners of sockets.
#[derive(Debug)]
pub(super) struct Owners {
    sockets: Option<Sockets>,
    groups: RefCell<Groups>,
    /// That it failed was told.
    told: Cell<bool>,
}

impl Owners {
    /// Where the kernel has no `sock_diag` every owner is unknown; that is told when one is asked
    /// for.
    pub(super) fn new() -> Self {
        Self {
            sockets: Sockets::open().ok(),
            groups: RefCell::default(),
            told: Cell::new(false),
        }
    }

    /// Nothing if no socket of this box has anything to do with the packet.
    pub(super) fn owner(&self, query: &SocketQuery) -> Option<SocketOwner> {
        let user = match self.user(query) {
            Ok(user) => user?,
            Err(error) => {
                if !self.told.replace(true) {
                    warn!("cannot look up who owns sockets, `user` and `group` see none: {error}");
                }
                return None;
            }
        };
        let group = self.groups.borrow_mut().primary(user);
        Some(SocketOwner { user, group })
    }

    fn user(&self, query: &SocketQuery) -> io::Result<Option<u32>> {
        let sockets = self.sockets.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        sockets.user(query)
    }
}

/// The kernel does not tell the group of a socket: it is the primary group of its user.
#[derive(Debug, Default)]
struct Groups {
    read: Option<SystemTime>,
    primary: BTreeMap<u32, u32>,
}

impl Groups {
    fn primary(&mut self, user: u32) -> Option<u32> {
        let changed = fs::metadata(ACCOUNTS).and_then(|file| file.modified()).ok();
        if changed != self.read {
            self.read = changed;
            self.primary = parse(&fs::read_to_string(ACCOUNTS).unwrap_or_default());
        }
        self.primary.get(&user).copied()
    }
}

/// The first line of a user counts, as for getpwuid(3).
fn parse(accounts: &str) -> BTreeMap<u32, u32> {
    let mut primary = BTreeMap::new();
    for line in accounts.lines() {
        let mut fields = line.split(':').skip(2).map(str::parse);
        if let (Some(Ok(user)), Some(Ok(group))) = (fields.next(), fields.next()) {
            primary.entry(user).or_insert(group);
        }
    }
    primary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_user_tells_the_group() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n# no account\nwww:x:33:34::/:/bin/false\n\
                        toor:x:0:99::/:/bin/sh\nbroken:x:y:1::/:\n";
        assert_eq!(parse(accounts), BTreeMap::from([(0, 0), (33, 34)]));
    }
}
