//! What all threads of a soak share: the network, the daemon, the book, who is connected.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::SoakConfig;
use super::ledger::{Ledger, prove};
use super::rules::{Variant, Way};
use crate::roles::{SERVICES_V4, SERVICES_V6};
use crate::service::PseudoRandom;
use crate::{FastPath, Host, Lab, Role, Weighbridge};

/// Who has not been answered after this long will not be. A busy machine restarts a daemon in a
/// few seconds, and what is lost then is repeated after twice that.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that others may try to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// The client as the server sees it.
    pub(super) seen: SocketAddr,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) struct World {
    // Dropped first: it runs in the lab.
    daemon: RwLock<Weighbridge>,
    pub(super) lab: Lab,
    pub(super) binary: PathBuf,
    pub(super) fast_path: Option<FastPath>,
    pub(super) ledger: Ledger,
    /// `pfctl -sr` of each variant.
    pub(super) printed: [String; 2],
    sessions: Mutex<Vec<Session>>,
    /// Counts beginnings and ends of reloads: odd while one runs.
    reloads: AtomicU64,
}

impl World {
    /// The daemon runs with [`Variant::Old`].
    pub(super) fn new(
        config: &SoakConfig,
        lab: Lab,
        daemon: Weighbridge,
        printed: [String; 2],
    ) -> Self {
        Self {
            daemon: RwLock::new(daemon),
            lab,
            binary: config.binary.clone(),
            fast_path: config.fast_path,
            ledger: Ledger::new(),
            printed,
            sessions: Mutex::default(),
            reloads: AtomicU64::new(0),
        }
    }

    /// A host that waits for [`PATIENCE`].
    pub(super) fn host(&self, role: Role) -> Host {
        self.lab.host(role).with_patience(PATIENCE)
    }

    /// What the filter and both kernels know of a connection by a client's port, for whoever reads
    /// why it stands still.
    pub(super) fn evidence(&self, ends: [Role; 2], port: u16) -> String {
        let states = self.daemon().pfctl_ok(&["-vvss"]).unwrap_or_default();
        let of_port = |line: &str| line.split([' ', '(', ')']).any(|word| ends_in(word, port));
        let indented = |line: &&str| line.starts_with([' ', '\t']);
        let mut evidence = String::new();
        let mut lines = states.lines().peekable();
        while let Some(line) = lines.next() {
            let details: Vec<_> = std::iter::from_fn(|| lines.next_if(indented)).collect();
            if of_port(line) {
                let _ = write!(evidence, "\n  {line}\n  {}", details.join("\n  "));
            }
        }
        let log = self.daemon().log();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            if line.contains("BAD state") && of_port(line) {
                let _ = write!(evidence, "\n  {line}");
                let _ = lines.peek().map(|why| write!(evidence, "\n  {why}"));
            }
        }
        for role in ends {
            let read = |file| self.lab.namespace(role).read(file).unwrap_or_default();
            let sockets = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
            let sockets = sockets.map(read).concat();
            let hex = format!(":{port:04X} ");
            for line in sockets.lines().filter(|line| line.contains(&hex)) {
                let _ = write!(evidence, "\n  {}: {}", role.name(), line.trim());
            }
        }
        evidence
    }

    /// The daemon, which does not end while it is looked at.
    pub(super) fn daemon(&self) -> RwLockReadGuard<'_, Weighbridge> {
        self.daemon.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The daemon, once nobody looks at it.
    pub(super) fn daemon_to_replace(&self) -> RwLockWriteGuard<'_, Weighbridge> {
        self.daemon.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beginnings and ends of reloads so far.
    pub(super) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::SeqCst)
    }

    pub(super) fn step_reload(&self) {
        self.reloads.fetch_add(1, Ordering::SeqCst);
    }

    /// The ruleset in force when no reload runs.
    pub(super) fn variant(&self) -> Variant {
        Self::variant_of(self.reloads())
    }

    fn variant_of(reloads: u64) -> Variant {
        if (reloads / 2).is_multiple_of(2) {
            Variant::Old
        } else {
            Variant::New
        }
    }

    /// What may have been in force since [`World::reloads`] was `before`.
    fn variants_since(&self, before: u64) -> Vec<Variant> {
        let variant = Self::variant_of(before);
        if before == self.reloads() && before.is_multiple_of(2) {
            vec![variant]
        } else {
            vec![variant, variant.other()]
        }
    }

    /// Whether a server that was asked after `before` reloads saw the client as it should.
    pub(super) fn check_way(
        &self,
        target: &Target,
        before: u64,
        seen: SocketAddr,
    ) -> anyhow::Result<()> {
        let own = target.role.inside_address(target.server.ip());
        let due = target.way.addresses(own, &self.variants_since(before));
        let seen = seen.ip();
        prove(due.contains(&seen), || {
            format!("the server saw {seen}, not one of {due:?}: the wrong way")
        })
    }

    pub(super) fn register(&self, session: Session) {
        self.sessions().push(session);
    }

    pub(super) fn deregister(&self, session: Session) {
        self.sessions().retain(|other| *other != session);
    }

    /// One of the open connections.
    pub(super) fn any_session(&self, random: &mut PseudoRandom) -> Option<Session> {
        let sessions = self.sessions();
        (!sessions.is_empty()).then(|| *pick(random, &sessions))
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an address of pfctl's ends in this port, which that of IPv6 has in brackets.
fn ends_in(word: &str, port: u16) -> bool {
    let tail = match word.strip_suffix(']') {
        Some(word) => word.rsplit_once('['),
        None => word.rsplit_once(':'),
    };
    tail.map(|(_, tail)| tail.parse()) == Some(Ok(port))
}

/// Whom a host talks to, and which way that must go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) role: Role,
    pub(super) server: SocketAddr,
    pub(super) way: Way,
}

impl Target {
    /// `role` to one of the servers by IPv4.
    pub(super) fn v4(random: &mut PseudoRandom, role: Role, port: u16, way: Way) -> Self {
        let server = SocketAddr::from((*pick(random, &SERVICES_V4), port));
        Self { role, server, way }
    }

    /// By IPv6, which goes by the T1.
    pub(super) fn v6(random: &mut PseudoRandom, port: u16) -> Self {
        Self {
            role: *pick(random, &Role::INSIDE),
            server: SocketAddr::from((*pick(random, &SERVICES_V6), port)),
            way: Way::T1,
        }
    }

    /// By IPv6 to a server with IPv4, behind the well-known prefix (RFC 6052, section 2.1).
    pub(super) fn nat64(random: &mut PseudoRandom, port: u16) -> Self {
        let [a, b, c, d] = pick(random, &SERVICES_V4).octets();
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
        address[12..].copy_from_slice(&[a, b, c, d]);
        Self {
            role: *pick(random, &Role::INSIDE),
            server: SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port),
            way: Way::Nat64,
        }
    }
}

/// One of `items`, which are not none.
pub(super) fn pick<'a, T>(random: &mut PseudoRandom, items: &'a [T]) -> &'a T {
    &items[below(random, items.len())]
}

/// A number below `limit`, which is not 0.
pub(super) fn below(random: &mut PseudoRandom, limit: usize) -> usize {
    usize::try_from(random.draw() % limit as u64).unwrap_or_default()
}

/// A time between two, in milliseconds.
pub(super) fn between(random: &mut PseudoRandom, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + random.draw() % (to - from).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_in_its_port_in_either_family() {
        assert!(ends_in("216.28.123.99:443", 443));
        assert!(ends_in("2001:db8:99::30[80]", 80));
        assert!(!ends_in("2001:db8:99::30[80]", 30));
        assert!(!ends_in("216.28.123.99:4430", 443));
        assert!(!ends_in("modulator=0]", 0));
    }
}
