//! What the daemon claims: the devices of others that it filters, and which of them have its hooks. Who
//! makes such a device lets nothing pass there before that.
//!
//! It is a file beside the status of the links, so that it holds whoever of the two is started again;
//! a claim outlives a daemon that has died, as its hooks do, and goes with an orderly stop.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use datapath::netlink::Netlink;
use serde::{Deserialize, Serialize};

use super::state::status_path;
use crate::config::read_text;
use crate::files;
use crate::text::reason;

/// Version of the format; a reader lets nothing pass by others.
const VERSION: u32 = 1;
/// What its file ends in, in place of the status' `json`.
const EXTENSION: &str = "filtered.json";
/// The network namespace of the thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What a daemon claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    version: u32,
    /// Of the daemon's network namespace, the number of its inode.
    namespace: u64,
    /// Name and number of its TAP, which lives as long as it.
    tap: (String, u32),
    /// `fail-policy = "pass"`: it is to hold no longer than the daemon lives.
    ends_with_daemon: bool,
    /// What is claimed: with the number of the device that has hooks, if one has them.
    hooked: BTreeMap<String, Option<u32>>,
}

/// Where the claim is.
pub(crate) fn claim_path() -> PathBuf {
    status_path().with_extension(EXTENSION)
}

impl Claim {
    /// On these devices, none of which has hooks yet, by the daemon with this TAP, which is in the network
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// When the namespace is not to be found.
    pub(crate) fn new(
        tap: (String, u32),
        ends_with_daemon: bool,
        names: impl IntoIterator<Item = String>,
    ) -> io::Result<Self> {
        Ok(Self {
            version: VERSION,
            namespace: namespace()?,
            tap,
            ends_with_daemon,
            hooked: names.into_iter().map(|name| (name, None)).collect(),
        })
    }

    /// The claim that concerns the calling thread's network namespace; nothing where there is none.
    ///
    /// # Errors
    /// Why what is there cannot be read.
    pub(crate) fn read() -> Result<Option<Self>, String> {
        let path = claim_path();
        let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(&reason(&error))),
        };
        let claim: Self = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        if claim.version != VERSION {
            return Err(wrong(&format!(
                "version {}; this program reads version {VERSION}",
                claim.version
            )));
        }
        let here = namespace().map_err(|error| wrong(&reason(&error)))?;
        Ok((claim.namespace == here).then_some(claim))
    }

    /// Writes it for everybody to read; a reader sees the old one or the new one.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self) -> io::Result<()> {
        let path = claim_path();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        files::replace(&path, &serde_json::to_vec_pretty(self)?, Some(0o644))
    }

    /// Whether the daemon whose claim it is lives.
    pub(crate) fn is_alive(&self, netlink: &Netlink) -> bool {
        let (name, index) = &self.tap;
        netlink.is_called(*index, name)
    }

    /// Whether it is of a daemon with the TAP of this name.
    pub(crate) fn is_of(&self, tap: &str) -> bool {
        self.tap.0 == tap
    }

    /// Takes note of which devices have hooks; false if that is nothing new.
    pub(crate) fn update(&mut self, number: impl Fn(&str) -> Option<u32>) -> bool {
        let mut changed = false;
        for (name, hooked) in &mut self.hooked {
            let now = number(name);
            changed |= *hooked != now;
            *hooked = now;
        }
        changed
    }

    /// Gives up what is claimed of `names`, of everything if there are none. Returns what that is, and
    /// whether something is still claimed.
    pub(crate) fn give_up(&mut self, names: &[String]) -> (Vec<String>, bool) {
        let all = std::mem::take(&mut self.hooked).into_iter();
        let (given, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(name, _)| names.is_empty() || names.contains(name));
        self.hooked = kept;
        (given.into_keys().collect(), !self.hooked.is_empty())
    }

    /// Whether frames may pass the device of this name and number; `alive`: whether the daemon is.
    pub(crate) fn lets_pass(&self, name: &str, index: u32, alive: bool) -> bool {
        match self.hooked.get(name) {
            None => true,
            Some(hooked) => *hooked == Some(index) || (self.ends_with_daemon && !alive),
        }
    }
}

/// Removes the claim.
///
/// # Errors
/// What the system says, but that there is none.
pub(crate) fn remove_claim() -> io::Result<()> {
    match fs::remove_file(claim_path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn namespace() -> io::Result<u64> {
    Ok(fs::metadata(Path::new(NAMESPACE))?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(ends_with_daemon: bool) -> Claim {
        let tap = ("weighbridge0".to_owned(), 7);
        let names = ["lagg0", "vlan5"].map(str::to_owned);
        Claim::new(tap, ends_with_daemon, names).expect("a namespace")
    }

    #[test]
    fn what_is_claimed_passes_with_hooks_on_this_very_device_alone() {
        let mut claim = claim(false);
        assert!(claim.lets_pass("em0", 3, true), "nobody claims it");
        assert!(!claim.lets_pass("lagg0", 9, true));
        assert!(claim.update(|name| (name == "lagg0").then_some(9)));
        assert!(!claim.update(|name| (name == "lagg0").then_some(9)));
        assert!(claim.lets_pass("lagg0", 9, true) && claim.lets_pass("lagg0", 9, false));
        assert!(!claim.lets_pass("lagg0", 10, true), "it was made anew");
        assert!(!claim.lets_pass("vlan5", 11, true));
    }

    #[test]
    fn a_dead_daemons_claim_holds_unless_its_policy_is_to_pass() {
        assert!(!claim(false).lets_pass("lagg0", 9, false));
        assert!(claim(true).lets_pass("lagg0", 9, false));
        assert!(!claim(true).lets_pass("lagg0", 9, true), "it may hang");
    }

    #[test]
    fn what_is_given_up_is_no_longer_claimed() {
        let mut claim = claim(false);
        let names = ["lagg0", "em0"].map(str::to_owned);
        assert_eq!(claim.give_up(&names), (vec!["lagg0".to_owned()], true));
        assert!(claim.lets_pass("lagg0", 9, false) && !claim.lets_pass("vlan5", 9, false));
        assert_eq!(claim.give_up(&[]), (vec!["vlan5".to_owned()], false));
    }
}
