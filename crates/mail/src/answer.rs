//! What is told about a client, whatever protocol asked.

use std::time::Duration;

pub use pf_engine::osfp::p0f::{Label, plain};
use serde::{Deserialize, Serialize};

use crate::connection::Peer;
use crate::time::Timestamp;

/// How sure an answer is. In order: the first is the surest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// A specific signature fits in everything.
    Exact,
    /// A generic signature of the family fits in everything.
    Generic,
    /// A signature fits but for details that networks change (TTL, DF, ECN).
    Similar,
    /// Only the shape of the handshake is that of the family.
    Family,
}

impl Confidence {
    /// Its name in every output: `exact`, `generic`, `similar`, `family`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Generic => "generic",
            Self::Similar => "similar",
            Self::Family => "family",
        }
    }
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The very connection that was asked about.
    Connection,
    /// Another connection of the address: behind NAT that may be another host.
    Address,
}

/// How long a host says it has been up, by the clock of its TCP timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Uptime {
    /// In minutes.
    pub minutes: u32,
    /// The clock wraps around after so many days.
    pub modulo_days: u32,
}

/// An operating system and how well it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Os {
    /// Which.
    pub label: Label,
    /// How sure.
    pub confidence: Confidence,
    /// p0f's quality: the signature fits only roughly (TTL, quirks).
    pub fuzzy: bool,
    /// p0f's quality: the signature is a generic one.
    pub generic: bool,
}

/// Everything that is known of a client. Texts come from signature files and hold printable
/// ASCII alone; nothing in them comes from the network but numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it rests on.
    pub basis: Basis,
    /// The operating system; `None`: the handshake was seen, no signature fits.
    pub os: Option<Os>,
    /// Routers between the client and here.
    pub distance: Option<u8>,
    /// Link type by the client's MTU: `Ethernet or modem`, `DSL`.
    pub link: Option<String>,
    /// The client's MTU in bytes, from its MSS.
    pub mtu: Option<u32>,
    /// MSS that it announced, in bytes.
    pub mss: Option<u16>,
    /// Window of its SYN, in bytes, unscaled.
    pub window: u16,
    /// Time from our SYN+ACK to its ACK.
    pub rtt: Option<Duration>,
    /// SYNs that it sent for this connection; more than one means loss or impatience.
    pub syns: u8,
    /// Its uptime, where the clock means anything.
    pub uptime: Option<Uptime>,
    /// p0f's raw signature of the SYN.
    pub raw_signature: String,
    /// When the address was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Its connections so far.
    pub connections: u32,
    /// When several hosts were last seen behind the address.
    pub last_nat: Option<Timestamp>,
    /// When the address last became another host.
    pub last_change: Option<Timestamp>,
}

/// Text for a client whose operating system nobody knows, in the article's word.
pub const UNKNOWN: &str = "Unknown";

/// Whether every character is printable ASCII: such a text can go to terminals and into headers.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

impl Answer {
    /// An answer that tells nothing, to be filled in.
    #[must_use]
    pub const fn nothing(basis: Basis) -> Self {
        Self {
            basis,
            os: None,
            distance: None,
            link: None,
            mtu: None,
            mss: None,
            window: 0,
            rtt: None,
            syns: 0,
            uptime: None,
            raw_signature: String::new(),
            first_seen: Timestamp::from_micros(0),
            last_seen: Timestamp::from_micros(0),
            connections: 0,
            last_nat: None,
            last_change: None,
        }
    }

    /// `Windows 7 or 8`, or `Unknown`: what the article's `get_os.sh` prints.
    #[must_use]
    pub fn os_text(&self) -> String {
        match &self.os {
            Some(os) => os.label.to_string(),
            None => UNKNOWN.to_owned(),
        }
    }

    /// The value of a mail's `X-OS-Fingerprint` header: the system, then what is known of how and
    /// from where, as `Linux 3.11 and newer (exact, distance 9, link: DSL)`.
    #[must_use]
    pub fn header_text(&self) -> String {
        let mut details = Vec::new();
        if let Some(os) = &self.os {
            details.push(os.confidence.name().to_owned());
        }
        if let Some(distance) = self.distance {
            details.push(format!("distance {distance}"));
        }
        if let Some(link) = &self.link {
            details.push(format!("link: {}", plain(link)));
        }
        if let Some(uptime) = self.uptime {
            details.push(format!("up: {} min", uptime.minutes));
        }
        if details.is_empty() {
            return self.os_text();
        }
        format!("{} ({})", self.os_text(), details.join(", "))
    }
}

/// Who can be asked. `now` is when the question came.
pub trait LookUp {
    /// What is known of `peer`; `None`: it was never seen, or too long ago.
    fn look_up(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::linux;

    fn answer() -> Answer {
        Answer::nothing(Basis::Connection)
    }

    #[test]
    fn an_unknown_client_is_called_unknown() {
        assert_eq!(answer().os_text(), "Unknown");
        assert_eq!(answer().header_text(), "Unknown");
    }

    #[test]
    fn the_header_tells_the_system_then_how_and_from_where() {
        let known = Answer {
            uptime: None,
            ..linux()
        };
        assert_eq!(
            known.header_text(),
            "Linux 3.11 and newer (exact, distance 9, link: DSL)"
        );
    }
}
