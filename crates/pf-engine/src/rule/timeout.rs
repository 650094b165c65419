//! `set timeout`: the names, what a fresh PF has, and the values of a ruleset.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names of `set timeout`, in the order that `pfctl -st` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timeout {
    /// `tcp.first`: after the first packet.
    TcpFirst,
    /// `tcp.opening`: before the destination has acknowledged.
    TcpOpening,
    /// `tcp.established`.
    TcpEstablished,
    /// `tcp.closing`: after the first FIN.
    TcpClosing,
    /// `tcp.finwait`: after both FINs.
    TcpFinWait,
    /// `tcp.closed`: after an RST.
    TcpClosed,
    /// `tcp.tsdiff`: allowed timestamp difference.
    TcpTsDiff,
    /// `sctp.first`: after the first packet.
    SctpFirst,
    /// `sctp.opening`: before the association is established.
    SctpOpening,
    /// `sctp.established`.
    SctpEstablished,
    /// `sctp.closing`: after the first SHUTDOWN.
    SctpClosing,
    /// `sctp.closed`: after SHUTDOWN COMPLETE or ABORT.
    SctpClosed,
    /// `udp.first`.
    UdpFirst,
    /// `udp.single`.
    UdpSingle,
    /// `udp.multiple`.
    UdpMultiple,
    /// `icmp.first`.
    IcmpFirst,
    /// `icmp.error`.
    IcmpError,
    /// `other.first`.
    OtherFirst,
    /// `other.single`.
    OtherSingle,
    /// `other.multiple`.
    OtherMultiple,
    /// `frag`: an unassembled fragment.
    Frag,
    /// `interval` between purges.
    Interval,
    /// `adaptive.start`, in states.
    AdaptiveStart,
    /// `adaptive.end`, in states.
    AdaptiveEnd,
    /// `src.track`: a source node without states.
    SrcTrack,
}

impl Timeout {
    /// Those that a connection goes through once somebody has answered.
    pub(crate) const OF_TCP: [Self; 5] = [
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
    ];
    /// All of them, in the order of `pfctl -st`.
    pub const ALL: [Self; 25] = [
        Self::TcpFirst,
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
        Self::TcpTsDiff,
        Self::SctpFirst,
        Self::SctpOpening,
        Self::SctpEstablished,
        Self::SctpClosing,
        Self::SctpClosed,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
        Self::IcmpFirst,
        Self::IcmpError,
        Self::OtherFirst,
        Self::OtherSingle,
        Self::OtherMultiple,
        Self::Frag,
        Self::Interval,
        Self::AdaptiveStart,
        Self::AdaptiveEnd,
        Self::SrcTrack,
    ];

    /// Whether it is `adaptive.start` or `adaptive.end`.
    #[must_use]
    pub const fn is_adaptive(self) -> bool {
        matches!(self, Self::AdaptiveStart | Self::AdaptiveEnd)
    }

    /// The name in `set timeout` and in `pfctl -st`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpFirst => "tcp.first",
            Self::TcpOpening => "tcp.opening",
            Self::TcpEstablished => "tcp.established",
            Self::TcpClosing => "tcp.closing",
            Self::TcpFinWait => "tcp.finwait",
            Self::TcpClosed => "tcp.closed",
            Self::TcpTsDiff => "tcp.tsdiff",
            Self::SctpFirst => "sctp.first",
            Self::SctpOpening => "sctp.opening",
            Self::SctpEstablished => "sctp.established",
            Self::SctpClosing => "sctp.closing",
            Self::SctpClosed => "sctp.closed",
            Self::UdpFirst => "udp.first",
            Self::UdpSingle => "udp.single",
            Self::UdpMultiple => "udp.multiple",
            Self::IcmpFirst => "icmp.first",
            Self::IcmpError => "icmp.error",
            Self::OtherFirst => "other.first",
            Self::OtherSingle => "other.single",
            Self::OtherMultiple => "other.multiple",
            Self::Frag => "frag",
            Self::Interval => "interval",
            Self::AdaptiveStart => "adaptive.start",
            Self::AdaptiveEnd => "adaptive.end",
            Self::SrcTrack => "src.track",
        }
    }

    /// The value of a fresh PF: seconds, or states for the `adaptive.*` pair with the default
    /// state limit (pf.conf(5), `set timeout`).
    #[must_use]
    pub const fn default_value(self) -> u32 {
        match self {
            Self::TcpFirst | Self::SctpFirst => 120,
            Self::TcpOpening
            | Self::SctpOpening
            | Self::TcpTsDiff
            | Self::UdpSingle
            | Self::OtherSingle
            | Self::Frag => 30,
            Self::TcpEstablished | Self::SctpEstablished => 24 * 60 * 60,
            Self::TcpClosing | Self::SctpClosing => 15 * 60,
            Self::TcpFinWait => 45,
            Self::TcpClosed | Self::SctpClosed => 90,
            Self::UdpFirst | Self::UdpMultiple | Self::OtherFirst | Self::OtherMultiple => 60,
            Self::IcmpFirst => 20,
            Self::IcmpError | Self::Interval => 10,
            Self::AdaptiveStart => 60_000,
            Self::AdaptiveEnd => 120_000,
            Self::SrcTrack => 0,
        }
    }
}

/// Values of `set timeout`, one for each [`Timeout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts([u32; Timeout::ALL.len()]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(Timeout::ALL.map(Timeout::default_value))
    }
}

impl Timeouts {
    /// The raw value: seconds, or states for the `adaptive.*` pair.
    #[must_use]
    pub const fn value(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize]
    }

    /// Sets the raw value.
    pub const fn set(&mut self, timeout: Timeout, value: u32) {
        self.0[timeout as usize] = value;
    }

    /// The value as a duration.
    #[must_use]
    pub const fn duration(&self, timeout: Timeout) -> Duration {
        Duration::from_secs(self.value(timeout) as u64)
    }
}
