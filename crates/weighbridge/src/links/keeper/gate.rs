//! Devices that pass nothing until the daemon that claims them has its hooks on them.
//!
//! All that crosses a device of ours goes through this program; so it is shut without the kernel's help:
//! it has no carrier, and what comes is dropped on both sides of it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use datapath::device::Device;
use datapath::netlink::Netlink;

use super::super::claim::Claim;
use super::frames::BATCH;
use super::{Keeper, report};

/// Between two looks at the claim while a device is shut.
const SHUT_LOOK: Duration = Duration::from_millis(10);
/// The same when none is, or one has been for [`PATIENCE`].
const LOOK: Duration = Duration::from_millis(250);
/// How long a device may be shut before that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device with its gate.
#[derive(Debug)]
pub(super) struct Gated {
    device: Device,
    is_open: bool,
    /// Whether what it is made of can carry frames.
    carrier: bool,
    /// What the kernel was told last.
    told: Option<bool>,
    /// Since when it is shut, and whether somebody was told.
    shut: Option<(Duration, bool)>,
}

impl Gated {
    /// A device that was just made: shut.
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            is_open: false,
            carrier: false,
            told: None,
            shut: None,
        }
    }

    /// One that the program before this one has left.
    pub(super) fn inherited(device: Device, carrier: bool) -> Self {
        Self {
            is_open: true,
            carrier,
            ..Self::new(device)
        }
    }

    pub(super) fn name(&self) -> &str {
        self.device.name()
    }

    pub(super) fn index(&self) -> u32 {
        self.device.index()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// As [`Device::read`]; what a shut one has is dropped.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if self.is_open {
            return self.device.read(buffer);
        }
        for _ in 0..BATCH {
            if self.device.read(buffer)?.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// As [`Device::write`]; a shut one drops it.
    pub(super) fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if self.is_open {
            self.device.write(pieces)
        } else {
            Ok(())
        }
    }

    /// Says whether what it is made of has a carrier.
    pub(super) fn set_carrier(&mut self, on: bool) {
        self.carrier = on;
        self.tell_carrier();
    }

    fn tell_carrier(&mut self) {
        let on = self.carrier && self.is_open;
        if self.told == Some(on) {
            return;
        }
        match self.device.set_carrier(on) {
            Ok(()) => self.told = Some(on),
            Err(error) => report(&error, self.name()),
        }
    }

    /// Opens or shuts it; whether that is a change.
    fn set_open(&mut self, open: bool, now: Duration, buffer: &mut [u8]) -> bool {
        if !open {
            let (since, told) = *self.shut.get_or_insert((now, false));
            if !told && now >= since + PATIENCE {
                self.shut = Some((since, true));
                tracing::warn!(
                    "{name} passes nothing: the daemon that filters it has no hooks on it yet\n  hint: \
                     start `weighbridge run` (again), or let packets pass unfiltered if it is dead: \
                     `weighbridge unhook {name}`",
                    name = self.name()
                );
            }
        }
        if open == self.is_open {
            return false;
        }
        if open {
            // What waits was sent before there were hooks.
            let _ = self.read(buffer);
            if self.shut.take().is_some_and(|(_, told)| told) {
                tracing::warn!("{} passes frames", self.name());
            }
        }
        self.is_open = open;
        self.tell_carrier();
        true
    }

    /// When the claim has to be looked at for it.
    fn look_after(&self) -> Duration {
        match self.shut {
            Some((_, false)) => SHUT_LOOK,
            Some((_, true)) | None => LOOK,
        }
    }
}

impl AsFd for Gated {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Keeper {
    /// Opens and shuts the devices as the daemon claims them, if it is time to look or
    /// `at_once`.
    pub(in super::super) fn look_at_claims(&mut self, netlink: &Netlink, at_once: bool) {
        let now = self.now();
        if !at_once && now < self.claims_at {
            return;
        }
        let claim = Claim::read();
        if let Err(error) = &claim
            && !std::mem::replace(&mut self.claim_is_wrong, true)
        {
            tracing::warn!("what the daemon filters cannot be read, and nothing passes: {error}");
        }
        self.claim_is_wrong = claim.is_err();
        let alive = claim.as_ref().is_ok_and(|claim| {
            let claim = claim.as_ref();
            claim.is_some_and(|claim| claim.is_alive(netlink))
        });
        let mut next = LOOK;
        let laggs = self.laggs.iter_mut().map(|kept| &mut kept.device);
        let vlans = self.vlans.iter_mut().map(|kept| &mut kept.device);
        for device in laggs.chain(vlans) {
            let open = claim.as_ref().is_ok_and(|claim| {
                let claim = claim.as_ref();
                claim.is_none_or(|claim| claim.lets_pass(device.name(), device.index(), alive))
            });
            self.news |= device.set_open(open, now, &mut self.buffer);
            next = next.min(device.look_after());
        }
        self.claims_at = now + next;
    }
}
