//! Telling `weighbridge links run` which of its devices are filtered here, and have their hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use links::WantedLinks;
use links::status::Status;
use pf_engine::env::IfIndex;
use tracing::warn;

use crate::files;
use crate::links::{Claim, claim_path, read_status, remove_claim};

/// The claim of this daemon.
#[derive(Debug)]
pub(super) struct Claims {
    /// Of a daemon that filters devices of the kind; without, nothing is claimed.
    claim: Option<Claim>,
    /// That of a daemon before, as it was in the file.
    before: Option<Vec<u8>>,
    /// Whether the file is as the claim.
    is_told: bool,
}

impl Claims {
    /// Of the daemon with this TAP, which filters `managed`. Nobody is told yet.
    pub(super) fn new(
        tap: (String, u32),
        ends_with_daemon: bool,
        wanted: &WantedLinks,
        managed: &[String],
    ) -> Result<Self> {
        let there = read_status().unwrap_or_default();
        let made: BTreeSet<&str> = wanted.devices().chain(devices_of(&there)).collect();
        let names = managed.iter().filter(|name| made.contains(name.as_str()));
        let names: Vec<String> = names.cloned().collect();
        let is_claimed = !names.is_empty();
        let before = fs::read(claim_path()).ok();
        if !is_claimed {
            forget(&tap.0);
        }
        let claim = is_claimed.then(|| Claim::new(tap, ends_with_daemon, names));
        let claim = claim.transpose();
        Ok(Self {
            claim: claim.context("cannot look at the network namespace")?,
            before,
            is_told: false,
        })
    }

    /// Tells who has hooks, by name, if that is news.
    pub(super) fn tell(&mut self, hooked: &BTreeMap<String, IfIndex>) -> Result<()> {
        let Some(claim) = &mut self.claim else {
            return Ok(());
        };
        if claim.update(|name| hooked.get(name).map(|index| index.0)) || !self.is_told {
            self.is_told = false;
            let told = claim.write();
            told.with_context(|| {
                format!(
                    "cannot tell `weighbridge links run` what is filtered: {}",
                    claim_path().display()
                )
            })?;
            self.is_told = true;
        }
        Ok(())
    }

    /// The orderly end: nothing is claimed any more.
    pub(super) fn end(&mut self) {
        if self.claim.take().is_some()
            && let Err(error) = remove_claim()
        {
            warn!("{}: {error}", claim_path().display());
        }
    }

    /// The end of a start that failed: what was claimed before is claimed again.
    pub(super) fn abandon(&mut self) {
        let before = self.before.take();
        match before.filter(|_| self.claim.is_some()) {
            None => self.end(),
            Some(before) => {
                self.claim = None;
                if let Err(error) = files::replace(&claim_path(), &before, Some(0o644)) {
                    warn!("{}: {error}", claim_path().display());
                }
            }
        }
    }
}

/// Removes what a daemon with this TAP's name claimed that has died: nothing of it is filtered now.
fn forget(tap: &str) {
    let is_left = Claim::read().is_ok_and(|claim| claim.is_some_and(|claim| claim.is_of(tap)));
    if is_left && let Err(error) = remove_claim() {
        warn!("{}: {error}", claim_path().display());
    }
}

/// The laggs and VLANs of a process that is there.
fn devices_of(status: &Status) -> impl Iterator<Item = &str> {
    let laggs = status.laggs.iter().map(|lagg| lagg.name.as_str());
    laggs.chain(status.vlans.iter().map(|vlan| vlan.name.as_str()))
}
