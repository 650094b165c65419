//! The flow cache at the driver (`bpf/xdp.bpf.h`): on which interfaces it may be, and where what it
//! passes may leave.

use std::collections::{BTreeMap, BTreeSet};

use aya::programs::xdp::XdpLinkId;

use crate::netlink::link::Link;
use crate::offload::offloads;
use crate::program::Program;

/// `fast-path = "xdp"`: where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdpConfig {
    /// These interfaces alone; without it all that the driver and their settings suit.
    pub interfaces: Option<Vec<String>>,
    /// Also on virtual pairs (veth), whose other ends are trusted to complete checksums and to send
    /// neither tags nor super-packets.
    pub on_veth: bool,
}

/// The interfaces on which it is.
#[derive(Debug)]
pub(crate) struct Xdp {
    config: XdpConfig,
    attached: BTreeMap<u32, XdpLinkId>,
}

impl Xdp {
    pub(crate) const fn new(config: XdpConfig) -> Self {
        Self {
            config,
            attached: BTreeMap::new(),
        }
    }

    /// Puts the program on an interface, if that can be; otherwise its packets meet the hooks, and
    /// the log says why.
    pub(crate) fn attach(&mut self, link: &Link, program: &mut Program) {
        let wanted = self.config.interfaces.as_ref();
        if wanted.is_some_and(|names| !names.contains(&link.name)) {
            return;
        }
        let attached = self
            .refusal(link)
            .map_or_else(|| program.attach_xdp(&link.name), Err);
        match attached {
            Ok(id) => {
                self.attached.insert(link.index, id);
            }
            Err(reason) => {
                tracing::warn!("{}: no XDP, the hooks do it: {reason}", link.name);
            }
        }
    }

    /// Why packets of an interface cannot be told apart or sent on there.
    fn refusal(&self, link: &Link) -> Option<String> {
        if link.is_veth {
            let reason = "what comes over a virtual pair may have no checksum yet, and be larger than \
                 a frame; if its other end has `ethtool -K … tx off tso off gso off`, say \
                 on-veth = true below [xdp]";
            return (!self.config.on_veth).then(|| reason.to_owned());
        }
        offloads(&link.name).vlan.then(|| {
            format!(
                "its tags are taken off before XDP sees frames; `ethtool -K {} rxvlan off`",
                link.name
            )
        })
    }

    /// The program goes with the interface or is taken off.
    pub(crate) fn detach(&mut self, index: u32, program: &mut Program) {
        if let Some(id) = self.attached.remove(&index) {
            program.detach_xdp(id);
        }
    }

    pub(crate) fn detach_all(&mut self, program: &mut Program) {
        for (_, id) in std::mem::take(&mut self.attached) {
            program.detach_xdp(id);
        }
    }

    /// Of the interfaces that fused flows may leave by, those by which they may at the driver: a
    /// driver with the program on it sends frames too, and queues would not be asked.
    pub(crate) fn ports(
        &self,
        exits: &BTreeSet<u32>,
        has_queues: impl Fn(u32) -> bool,
    ) -> BTreeSet<u32> {
        let known = exits.iter().copied();
        known
            .filter(|port| self.attached.contains_key(port) && !has_queues(*port))
            .collect()
    }
}
