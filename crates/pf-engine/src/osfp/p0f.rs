//! Signatures in the grammar of p0f 3 (`p0f.fp`), and what a handshake matches.
//!
//! [`Mode::Parity`] answers as p0f 3.09b does for the same packet. [`Mode::Better`] repairs where
//! p0f is plainly wrong and goes on where it gives up:
//!
//! - a flow label of IPv6, which every modern host sets, does not make a packet unknown;
//! - quirks are those that p0f documents, not those that it finds (see [`Features::p0f_quirks`]);
//! - what fits no signature is told by its family, if all signatures with its order of options
//!   and its initial TTL are of one family.

mod database;
mod label;
mod signature;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::database::{Database, ParseError, Section};
pub use self::label::{Label, PROGRAM, plain};
pub use self::signature::{Match, Signature, Ttl, Version, Window};

use self::window::multiple;
use super::features::{Features, Kind, Quirks};
use crate::addr::Family;

/// Routers that a packet may have passed; more and the TTL was another one (p0f's `MAX_DIST`).
pub const MAX_DISTANCE: u8 = 35;
/// MSS of p0f-sendsyn's probes, which some systems echo.
const PROBE_MSS: u16 = 1331;
/// IPv4 and TCP header without options, in bytes.
const HEADERS_V4: u16 = 40;
/// IPv6 and TCP header without options, in bytes.
const HEADERS_V6: u16 = 60;

/// Whose answers are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// p0f's, equal for the same packet.
    Parity,
    /// The best that the signatures allow.
    #[default]
    Better,
}

/// How well a signature fits. In order: the first is the surest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quality {
    /// A specific signature, in everything.
    Exact,
    /// A generic signature, in everything.
    Generic,
    /// But for details that networks change: TTL, DF, ECN.
    Fuzzy,
    /// By order of options and initial TTL alone: the label's flavour means nothing.
    Family,
}

/// What a handshake was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Place of the signature in the database.
    pub signature: u32,
    /// How well it fits.
    pub quality: Quality,
}

/// The answer for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What fits, if anything does.
    pub found: Option<Found>,
    /// Routers between the sender and here: by the signature's TTL, else by the next usual one.
    pub distance: u8,
}

impl Database {
    /// What `features` are those of. `peer_mss` is the MSS of the SYN that a SYN+ACK answers: some
    /// systems make their window of it.
    #[must_use]
    pub fn look_up(&self, features: &Features, peer_mss: Option<u16>, mode: Mode) -> Verdict {
        let observed = Observed::new(features, peer_mss, mode);
        let candidates = self.candidates(features.kind, &features.layout);
        let mut generic = None;
        let mut fuzzy = None;
        for &place in candidates {
            let Some(signature) = self.signature(place) else {
                continue;
            };
            match signature.compare(&observed, fuzzy.is_some()) {
                Match::No => {}
                Match::Exact if signature.generic => generic = generic.or(Some(place)),
                Match::Exact => return self.verdict(place, Quality::Exact, &observed),
                Match::Fuzzy => fuzzy = fuzzy.or(Some(place)),
            }
        }
        if let Some(place) = generic {
            return self.verdict(place, Quality::Generic, &observed);
        }
        match fuzzy {
            Some(place) if !self.is_program(place) => {
                self.verdict(place, Quality::Fuzzy, &observed)
            }
            // p0f gives up at a fuzzy match of a program, with the distance as it was: 0.
            Some(_) if mode == Mode::Parity => Verdict {
                found: None,
                distance: 0,
            },
            _ => self.by_family(candidates, &observed, mode),
        }
    }

    /// What p0f's `raw_sig` says of `features`.
    #[must_use]
    pub fn raw_signature(features: &Features, peer_mss: Option<u16>, mode: Mode) -> RawSignature {
        RawSignature {
            features: *features,
            peer_mss,
            mode,
        }
    }

    fn verdict(&self, place: u32, quality: Quality, observed: &Observed<'_>) -> Verdict {
        let distance = self.signature(place).map_or(0, |signature| {
            let ttl = observed.features.ttl;
            match signature.ttl.distance(ttl) {
                Some(distance) => distance,
                None => usual_distance(ttl),
            }
        });
        Verdict {
            found: Some(Found {
                signature: place,
                quality,
            }),
            distance,
        }
    }

    /// Nothing fits: the family, where there is no doubt.
    fn by_family(&self, candidates: &[u32], observed: &Observed<'_>, mode: Mode) -> Verdict {
        let ttl = observed.features.ttl;
        let unknown = Verdict {
            found: None,
            distance: usual_distance(ttl),
        };
        if mode == Mode::Parity {
            return unknown;
        }
        let initial = ttl.saturating_add(usual_distance(ttl));
        let mut family = None;
        for &place in candidates {
            let (Some(signature), Some(label)) = (self.signature(place), self.label_of(place))
            else {
                continue;
            };
            if signature.ttl.initial() != initial || !signature.version.takes(observed.family()) {
                continue;
            }
            match family {
                None => family = Some((place, &label.name)),
                Some((_, name)) if *name == label.name => {}
                Some(_) => return unknown,
            }
        }
        Verdict {
            found: family.map(|(signature, _)| Found {
                signature,
                quality: Quality::Family,
            }),
            ..unknown
        }
    }

    fn is_program(&self, place: u32) -> bool {
        self.label_of(place).is_some_and(Label::is_program)
    }
}

/// A packet as signatures look at it.
#[derive(Debug)]
struct Observed<'a> {
    features: &'a Features,
    quirks: Quirks,
    mode: Mode,
    /// The window as a multiple of MSS or MTU, if it is one.
    multiple: Option<window::Multiple>,
}

impl<'a> Observed<'a> {
    fn new(features: &'a Features, peer_mss: Option<u16>, mode: Mode) -> Self {
        Self {
            features,
            quirks: quirks(features, mode),
            mode,
            multiple: multiple(features, peer_mss),
        }
    }

    fn family(&self) -> Family {
        self.features.family
    }
}

fn quirks(features: &Features, mode: Mode) -> Quirks {
    match mode {
        Mode::Parity => features.p0f_quirks,
        Mode::Better => features.quirks,
    }
}

/// Routers up to the next TTL that systems begin with: 32, 64, 128 or 255.
#[must_use]
pub fn usual_distance(ttl: u8) -> u8 {
    let initial = match ttl {
        0..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        129..=255 => 255,
    };
    u8::saturating_sub(initial, ttl)
}

/// The sender's MTU by its MSS, in bytes; `None` when it announces none.
#[must_use]
pub fn mtu(features: &Features) -> Option<u32> {
    let headers = match features.family {
        Family::Inet => HEADERS_V4,
        Family::Inet6 => HEADERS_V6,
    };
    let mss = features.mss.filter(|mss| *mss != 0)?;
    Some(u32::from(mss).saturating_add(u32::from(headers)))
}

/// A packet in the words of a signature: p0f's `raw_sig`.
#[derive(Clone, Copy, Debug)]
pub struct RawSignature {
    features: Features,
    peer_mss: Option<u16>,
    mode: Mode,
}

impl fmt::Display for RawSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features = &self.features;
        let version = match features.family {
            Family::Inet => 4,
            Family::Inet6 => 6,
        };
        let distance = usual_distance(features.ttl);
        write!(f, "{version}:{}+", features.ttl)?;
        if distance > MAX_DISTANCE {
            f.write_str("?")?;
        } else {
            write!(f, "{distance}")?;
        }
        write!(f, ":{}:", features.ip_options_len)?;
        let mss = features.mss.unwrap_or(0);
        if mss == PROBE_MSS && features.kind == Kind::SynAck {
            f.write_str("*:")?;
        } else {
            write!(f, "{mss}:")?;
        }
        match multiple(features, self.peer_mss) {
            Some(multiple) => write!(f, "{multiple}")?,
            None => write!(f, "{}", features.window)?,
        }
        write!(
            f,
            ",{}:{}:{}:{}",
            features.window_scale.unwrap_or(0),
            features.layout,
            quirks(features, self.mode),
            if features.has_payload() { "+" } else { "0" }
        )
    }
}
