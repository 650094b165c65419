//! pf.os: PF's list of what the SYNs of operating systems look like (pf.os(5)).
//!
//! A [`Fingerprints`] is read once and then answers two questions: which systems a SYN is one of
//! ([`Fingerprints::systems_of`]), and which systems a name in pf.conf stands for
//! ([`Fingerprints::find`]). Matching is PF's: the first signature in the order of the file
//! decides, and it has as many names as lines of the file are equal but for their names.

mod load;
mod matching;
mod names;
mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

pub use self::read::ReadError;

use self::matching::Signature;
use self::names::Names;
use super::features::Features;

/// Hops that a packet may have come: a signature's TTL less the packet's (PF's
/// `PF_OSFP_MAXTTL_OFFSET`).
pub const MAX_DISTANCE: u8 = 40;
/// Signatures of one file, after ranges have been expanded, once for each family. pf.os has about
/// 700; a line such as `1-99:1-999` alone would make two hundred thousand.
pub const MAX_ENTRIES: usize = 50_000;

/// The file that comes with this program.
static STOCK: LazyLock<Arc<Fingerprints>> = LazyLock::new(|| {
    let text = include_str!("../../../../data/pf.os");
    // A test reads it without an error; if one ever came, it would have no signature.
    Arc::new(Fingerprints::read(text).unwrap_or_default())
});

/// A name of a system: class, version and subtype.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct System {
    /// `Windows`, `Linux`, `FreeBSD`.
    pub class: String,
    /// `XP`, `2.4`. Without one there is no subtype either.
    pub version: Option<String>,
    /// `SP1`, `ts`.
    pub subtype: Option<String>,
}

impl System {
    /// Whether a rule that asks for `self` takes one of the kind `other`: what `self` leaves out
    /// may be anything.
    fn takes(&self, other: &Self) -> bool {
        let part = |wanted: &Option<String>, found: &Option<String>| {
            let Some(wanted) = wanted else {
                return true;
            };
            found
                .as_ref()
                .is_some_and(|found| wanted.eq_ignore_ascii_case(found))
        };
        self.class.eq_ignore_ascii_case(&other.class)
            && part(&self.version, &other.version)
            && part(&self.subtype, &other.subtype)
    }
}

/// As PF prints it: a number behind a version with a point is joined by a point.
impl fmt::Display for System {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.class)?;
        let Some(version) = &self.version else {
            return Ok(());
        };
        write!(out, " {version}")?;
        let Some(subtype) = &self.subtype else {
            return Ok(());
        };
        let is_number = subtype.starts_with(|first: char| first.is_ascii_digit());
        let is_point = is_number && version.contains('.') && !version.contains(' ');
        write!(out, "{}{subtype}", if is_point { '.' } else { ' ' })
    }
}

/// `os …` of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SystemMatch {
    /// `os "unknown"`: no signature matches; also every TCP packet that is no SYN.
    Unknown,
    /// A system by name.
    Named(Arc<System>),
}

impl SystemMatch {
    /// Whether a packet matches that may be of any of `systems`.
    #[must_use]
    pub fn matches(&self, systems: &[System]) -> bool {
        match self {
            Self::Unknown => systems.is_empty(),
            Self::Named(wanted) => systems.iter().any(|system| wanted.takes(system)),
        }
    }
}

impl fmt::Display for SystemMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("unknown"),
            Self::Named(system) => system.fmt(out),
        }
    }
}

/// What is compared exactly: options and their number, DF, and a timestamp of zero.
type Key = (u64, u8, bool, bool);

/// Number of a signature, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureId(usize);

/// A list of signatures and their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    signatures: Vec<Signature>,
    /// Which signatures may match, in the order of the file.
    index: BTreeMap<Key, Vec<usize>>,
    names: Names,
    entries: usize,
}

impl Fingerprints {
    /// The list that comes with this program.
    #[must_use]
    pub fn stock() -> Arc<Self> {
        Arc::clone(&STOCK)
    }

    /// The signature that a SYN matches. Nothing for a SYN+ACK, and for a SYN with options that
    /// PF does not know.
    #[must_use]
    pub fn matching(&self, features: &Features) -> Option<SignatureId> {
        let probe = matching::Probe::of(features)?;
        let candidates = self.index.get(&probe.key())?;
        let found = candidates.iter().copied().find(|&number| {
            let signature = self.signatures.get(number);
            signature.is_some_and(|signature| signature.matches(&probe))
        });
        found.map(SignatureId)
    }

    /// The names of a signature, the last line of the file first, as PF keeps them.
    #[must_use]
    pub fn systems(&self, signature: SignatureId) -> &[System] {
        let found = self.signatures.get(signature.0);
        found.map_or(&[], |signature| &signature.systems)
    }

    /// What a SYN may be of: nothing when it is unknown.
    #[must_use]
    pub fn systems_of(&self, features: &Features) -> &[System] {
        self.matching(features)
            .map_or(&[], |signature| self.systems(signature))
    }

    /// What `os "name"` asks for (pf.conf(5)): a class, class and version, or all three, with a
    /// point, a blank, a tab or a hyphen between version and subtype; upper and lower case are the
    /// same.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<SystemMatch> {
        if name.eq_ignore_ascii_case("unknown") {
            return Some(SystemMatch::Unknown);
        }
        let system = self.names.find(name)?;
        Some(SystemMatch::Named(Arc::new(system)))
    }

    /// Every name that [`Fingerprints::find`] finds, sorted as PF sorts them: by class, then
    /// version, then subtype, whatever their case. Each comes before those that begin with it.
    #[must_use]
    pub fn list(&self) -> Vec<System> {
        self.names.list()
    }

    /// How many signatures were loaded, as PF counts them: each line for IPv4 and for IPv6, and
    /// once more for each member of a range.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}
