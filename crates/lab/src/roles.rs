//! Who is in the lab, and under which addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A machine of the article's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Inside host 216.28.123.34, in the article's `dslnet`.
    H34,
    /// Inside host 216.28.123.99, in `dslnet`: the article's example.
    H99,
    /// Inside host 216.28.123.10, in `dslnet`.
    H10,
    /// Inside host 216.28.123.50, not in `dslnet`.
    H50,
    /// The switch.
    Switch,
    /// The bridge box.
    Box,
    /// The Cisco router with the T1.
    Cisco,
    /// The DSL modem on `em0`.
    Modem1,
    /// The DSL modem on `em3`.
    Modem2,
    /// The DSL modem on `em4`.
    Modem3,
    /// Everything behind the lines.
    Internet,
}

/// Addresses of the services on the internet host; each serves the same.
pub const SERVICES_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(198, 51, 100, 10),
    Ipv4Addr::new(198, 51, 100, 20),
    Ipv4Addr::new(198, 51, 100, 30),
];

/// The IPv6 twins of [`SERVICES_V4`].
pub const SERVICES_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0x10),
    Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0x20),
    Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0x30),
];

/// The box's own address in the article's hostname.fxp0.
pub const BOX_FXP0: Ipv4Addr = Ipv4Addr::new(216, 123, 123, 123);

/// The box's address on the DSL modem's network, in the article's hostname.em0.
pub const BOX_EM0: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 64);

/// One DSL line: the port of the box it is on, and its addresses.
#[derive(Clone, Copy, Debug)]
pub struct DslLine {
    /// The modem.
    pub modem: Role,
    /// The port of the box.
    pub port: &'static str,
    /// The box's address on the modem's network, with its prefix length.
    pub box_v4: &'static str,
    /// The modem's inside address, with its prefix length; the gateway of `route-to`.
    pub modem_v4: &'static str,
    /// What the internet sees: the modem's outside address (a /30; the internet has the one below).
    pub outside_v4: Ipv4Addr,
    /// Number in the line's IPv6 networks: `2001:db8:d<n>::/64` inside, `2001:db8:e<n>::/64`
    /// outside.
    pub number: u8,
}

impl DslLine {
    /// The three lines, in the order in which [`crate::LabConfig::dsl_lines`] takes them.
    pub const ALL: [Self; 3] = [
        Self {
            modem: Role::Modem1,
            port: "em0",
            box_v4: "192.168.1.64/16",
            modem_v4: "192.168.0.1/16",
            outside_v4: Ipv4Addr::new(203, 0, 113, 10),
            number: 1,
        },
        Self {
            modem: Role::Modem2,
            port: "em3",
            box_v4: "172.16.1.64/16",
            modem_v4: "172.16.0.1/16",
            outside_v4: Ipv4Addr::new(203, 0, 113, 14),
            number: 2,
        },
        Self {
            modem: Role::Modem3,
            port: "em4",
            box_v4: "172.17.1.64/16",
            modem_v4: "172.17.0.1/16",
            outside_v4: Ipv4Addr::new(203, 0, 113, 18),
            number: 3,
        },
    ];

    /// The internet's address on this line.
    #[must_use]
    pub fn provider_v4(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.outside_v4.to_bits() - 1)
    }

    /// The modem's inside IPv6 address.
    #[must_use]
    pub fn modem_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xd0 + u16::from(self.number), 0, 0, 0, 0, 1)
    }

    /// The IPv6 address that the box may take on the modem's network.
    #[must_use]
    pub fn box_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(
            0x2001,
            0xdb8,
            0xd0 + u16::from(self.number),
            0,
            0,
            0,
            0,
            0x64,
        )
    }

    /// The modem's outside IPv6 address; the internet has `::2` of the same /64.
    #[must_use]
    pub fn outside_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xe0 + u16::from(self.number), 0, 0, 0, 0, 1)
    }
}

impl Role {
    /// The inside hosts.
    pub const INSIDE: [Self; 4] = [Self::H34, Self::H99, Self::H10, Self::H50];

    /// The short name that its namespace carries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H34 => "h34",
            Self::H99 => "h99",
            Self::H10 => "h10",
            Self::H50 => "h50",
            Self::Switch => "sw",
            Self::Box => "box",
            Self::Cisco => "cisco",
            Self::Modem1 => "modem1",
            Self::Modem2 => "modem2",
            Self::Modem3 => "modem3",
            Self::Internet => "inet",
        }
    }

    /// The last byte of an inside host's IPv4 address.
    fn number(self) -> Option<u8> {
        match self {
            Self::H34 => Some(34),
            Self::H99 => Some(99),
            Self::H10 => Some(10),
            Self::H50 => Some(50),
            Self::Switch
            | Self::Box
            | Self::Cisco
            | Self::Modem1
            | Self::Modem2
            | Self::Modem3
            | Self::Internet => None,
        }
    }

    /// An inside host's IPv4 address.
    #[must_use]
    pub fn inside_v4(self) -> Option<Ipv4Addr> {
        self.number()
            .map(|number| Ipv4Addr::new(216, 28, 123, number))
    }

    /// An inside host's IPv6 address; its last group looks like the IPv4 address's last byte.
    #[must_use]
    pub fn inside_v6(self) -> Option<Ipv6Addr> {
        let group = match self.number()? {
            34 => 0x34,
            99 => 0x99,
            10 => 0x10,
            _ => 0x50,
        };
        Some(Ipv6Addr::new(0x2001, 0xdb8, 0x28, 0x123, 0, 0, 0, group))
    }

    /// An inside host's address of the same family as `peer`.
    #[must_use]
    pub fn inside_address(self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.inside_v4().map(IpAddr::V4),
            IpAddr::V6(_) => self.inside_v6().map(IpAddr::V6),
        }
    }
}
