//! Who is measured.

use datapath::bench::At;

/// What carries the packets from one host to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// The kernel's bridge, without a filter.
    Bridge,
    /// The kernel's bridge with `br_netfilter`, connection tracking and nftables.
    Nftables,
    /// A program at the same hook as Weighbridge's that sends each frame to the other port: the
    /// limit of this method.
    Tcx,
    /// The same, and it counts each flow by itself: the limit of what knows flows.
    TcxCounting,
    /// Weighbridge, each packet by the daemon.
    Daemon,
    /// Weighbridge with its flow cache.
    Cache,
    /// A program in the driver that sends each frame to the other port.
    XdpRedirect,
    /// The same, and it counts each flow by itself.
    XdpCounting,
    /// Weighbridge with its flow cache in the driver.
    Xdp,
    /// The kernel as router with connection tracking, nftables and masquerading.
    NatNftables,
    /// Weighbridge with NAT and `route-to`, each packet by the daemon.
    NatDaemon,
    /// Weighbridge with NAT and `route-to`, with its flow cache.
    NatCache,
    /// Nobody: the generator's packets are dropped in the driver as they come in.
    DroppedInDriver,
    /// Nobody: they are dropped at the first hook that has an skb.
    DroppedAtTcx,
}

impl Contestant {
    pub(crate) const ALL: [Self; 14] = [
        Self::Bridge,
        Self::Nftables,
        Self::Tcx,
        Self::TcxCounting,
        Self::Daemon,
        Self::Cache,
        Self::XdpRedirect,
        Self::XdpCounting,
        Self::Xdp,
        Self::NatNftables,
        Self::NatDaemon,
        Self::NatCache,
        Self::DroppedInDriver,
        Self::DroppedAtTcx,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge, no filter",
            Self::Nftables => "bridge, nftables",
            Self::Tcx => "TCX redirect",
            Self::TcxCounting => "TCX redirect, counting flows",
            Self::Daemon => "fast-path off",
            Self::Cache => "fast-path on",
            Self::XdpRedirect => "XDP redirect",
            Self::XdpCounting => "XDP redirect, counting flows",
            Self::Xdp => "fast-path xdp",
            Self::NatNftables => "router, nftables, NAT",
            Self::NatDaemon => "NAT, fast-path off",
            Self::NatCache => "NAT, fast-path on",
            Self::DroppedInDriver => "dropped in the driver",
            Self::DroppedAtTcx => "dropped at TCX",
        }
    }

    /// Of Weighbridge: its setting `fast-path`.
    pub(crate) const fn fast_path(self) -> Option<&'static str> {
        match self {
            Self::Daemon | Self::NatDaemon => Some("off"),
            Self::Cache | Self::NatCache => Some("on"),
            Self::Xdp => Some("xdp"),
            Self::Bridge
            | Self::Nftables
            | Self::Tcx
            | Self::TcxCounting
            | Self::XdpRedirect
            | Self::XdpCounting
            | Self::NatNftables
            | Self::DroppedInDriver
            | Self::DroppedAtTcx => None,
        }
    }

    /// Whether the box is a router, not a bridge.
    pub(crate) const fn routes(self) -> bool {
        matches!(self, Self::NatNftables | Self::NatDaemon | Self::NatCache)
    }

    /// Of those that do nothing else: where they send frames on.
    pub(crate) const fn redirects(self) -> Option<At> {
        match self {
            Self::Tcx | Self::TcxCounting => Some(At::Tcx),
            Self::XdpRedirect | Self::XdpCounting => Some(At::Xdp),
            Self::Bridge
            | Self::Nftables
            | Self::Daemon
            | Self::Cache
            | Self::Xdp
            | Self::NatNftables
            | Self::NatDaemon
            | Self::NatCache
            | Self::DroppedInDriver
            | Self::DroppedAtTcx => None,
        }
    }

    /// Whether it counts each flow by itself, and does nothing else.
    pub(crate) const fn counts_flows(self) -> bool {
        matches!(self, Self::TcxCounting | Self::XdpCounting)
    }

    /// Whether all that happens to a packet happens on the generator's CPU.
    pub(crate) const fn is_in_kernel(self) -> bool {
        !matches!(self, Self::Daemon | Self::NatDaemon)
    }
}
