//! What a packet showed, for who wants to be told at once.

use std::sync::Arc;
use std::time::Duration;

use pf_engine::osfp::features::Kind;
use pf_engine::osfp::p0f::MAX_DISTANCE;

use super::sharing::{Hits, Reasons};
use crate::answer::{Confidence, Label, Uptime};
use crate::connection::Connection;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that sent the SYN.
    Client,
    /// The other one.
    Server,
}

/// Something was found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// By a packet of this connection.
    pub connection: Connection,
    /// About this end of it.
    pub about: End,
    /// What.
    pub what: What,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A SYN or SYN+ACK came, and what it is.
    Handshake(Handshake),
    /// The MTU, in bytes, and the type of link that has it.
    Link {
        /// Its name, where one is known.
        link: Option<Arc<str>>,
        /// In bytes.
        mtu: u32,
    },
    /// How long it has been up, and the rate of its clock in hertz.
    Uptime(Uptime, f64),
    /// The address became another host.
    Changed(Reasons, Hits),
    /// Several hosts share the address.
    Shared(Reasons, Hits),
    /// The client has answered the SYN+ACK.
    RoundTrip(Duration),
}

/// A SYN or SYN+ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one word of p0f's `params`, and any may stand with any"
)]
pub struct Handshake {
    /// Which of them.
    pub kind: Kind,
    /// It is a probe of p0f-sendsyn, or answers one.
    pub probe: bool,
    /// What sent it.
    pub label: Option<Arc<Label>>,
    /// How sure that is.
    pub confidence: Option<Confidence>,
    /// The signature is a generic one.
    pub generic: bool,
    /// The signature fits only roughly.
    pub fuzzy: bool,
    /// The sender's initial TTL is random: the distance is at most what is told.
    pub random_ttl: bool,
    /// Routers passed.
    pub distance: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// The packet in the words of a signature.
    pub raw_signature: Arc<str>,
}

impl Handshake {
    /// Whether a program with a stack of its own sent it.
    #[must_use]
    pub fn is_of_program(&self) -> bool {
        self.label.as_ref().is_some_and(|label| label.is_program())
    }

    /// p0f's `params`: `generic fuzzy`, `none`.
    #[must_use]
    pub fn parameters(&self) -> String {
        let mut words = Vec::new();
        for (holds, word) in [
            (self.generic, "generic"),
            (self.fuzzy, "fuzzy"),
            (self.random_ttl, "random_ttl"),
            (self.distance > MAX_DISTANCE, "excess_dist"),
        ] {
            if holds {
                words.push(word.to_owned());
            }
        }
        if self.dscp != 0 {
            words.push(format!("tos:0x{:02x}", self.dscp));
        }
        if words.is_empty() {
            words.push("none".to_owned());
        }
        words.join(" ")
    }
}
