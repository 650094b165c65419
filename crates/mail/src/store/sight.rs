//! One SYN or SYN+ACK as it is kept: what it was found to be, and what later ones of the same host
//! are compared with.

use std::sync::Arc;

use pf_engine::osfp::features::{Features, Kind, OptionLayout, Quirks};
use pf_engine::osfp::p0f::{self, Database, Mode, Quality, Ttl};
use serde::{Deserialize, Serialize};

use crate::answer::{Confidence, Label, Os};
use crate::time::Timestamp;

/// Window and MSS of the probes of p0f-sendsyn.
const PROBE: (u16, u16) = (1337, 1331);

/// The labels that sights refer to by number: those of the signatures, and those of a file from
/// before a restart.
#[derive(Debug)]
pub(super) struct Labels(Vec<Arc<Label>>);

/// Labels at most: what a file may bring beside those of the signatures.
const LABELS_MAX: usize = 131_072;

impl Labels {
    /// In the order of the database, so that its numbers are ours.
    pub(super) fn of(database: &Database) -> Self {
        Self(database.labels().iter().cloned().map(Arc::new).collect())
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<Label>> {
        self.0.get(usize::try_from(number).ok()?)
    }

    pub(super) fn all(&self) -> &[Arc<Label>] {
        &self.0
    }

    /// The number of `label`, which is added where it is new and there is room.
    pub(super) fn number_of(&mut self, label: Label) -> Option<u32> {
        let known = self.0.iter().position(|known| **known == label);
        let number = known.unwrap_or(self.0.len());
        if known.is_none() {
            if self.0.len() >= LABELS_MAX {
                return None;
            }
            self.0.push(Arc::new(label));
        }
        u32::try_from(number).ok()
    }

    /// Whether both name one system, whatever its version.
    pub(super) fn same_system(&self, one: u32, other: u32) -> bool {
        let name = |number| self.get(number).map(|label| label.name.as_str());
        name(one) == name(other)
    }
}

/// The signature that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Matched {
    /// Number in [`Labels`].
    pub(super) label: u32,
    /// Its place in the database; of an earlier process it means nothing but itself.
    pub(super) signature: u32,
    pub(super) quality: Quality,
    pub(super) generic: bool,
    /// The sender's initial TTL is random.
    pub(super) random_ttl: bool,
    /// It is that of a program, not of a system.
    pub(super) program: bool,
}

impl Matched {
    pub(super) fn is_fuzzy(self) -> bool {
        self.quality == Quality::Fuzzy
    }

    /// As it is told.
    pub(super) fn os(self, labels: &Labels) -> Option<Os> {
        let mut label = labels.get(self.label)?.as_ref().clone();
        if self.quality == Quality::Family {
            label.flavor.clear();
        }
        Some(Os {
            label,
            confidence: match self.quality {
                Quality::Exact => Confidence::Exact,
                Quality::Generic => Confidence::Generic,
                Quality::Fuzzy => Confidence::Similar,
                Quality::Family => Confidence::Family,
            },
            fuzzy: self.is_fuzzy(),
            generic: self.generic,
        })
    }
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sight {
    pub(super) at: Timestamp,
    pub(super) matched: Option<Matched>,
    pub(super) distance: u8,
    pub(super) ttl: u8,
    /// 0 for none.
    pub(super) mss: u16,
    pub(super) mtu: Option<u32>,
    pub(super) window: u16,
    /// The sender's clock; 0 for none.
    pub(super) timestamp: u32,
    pub(super) quirks: Quirks,
    pub(super) layout: OptionLayout,
    #[serde(with = "shared_text")]
    pub(super) raw: Arc<str>,
}

impl Sight {
    /// Matches `features`. `peer_mss` is that of the SYN which a SYN+ACK answers.
    pub(super) fn new(
        database: &Database,
        mode: Mode,
        features: &Features,
        peer_mss: Option<u16>,
        at: Timestamp,
    ) -> Self {
        let verdict = database.look_up(features, peer_mss, mode);
        let quirks = match mode {
            Mode::Parity => features.p0f_quirks,
            Mode::Better => features.quirks,
        };
        Self {
            at,
            matched: verdict.found.and_then(|found| matched(database, found)),
            distance: verdict.distance,
            ttl: features.ttl,
            mss: features.mss.unwrap_or(0),
            mtu: p0f::mtu(features),
            window: features.window,
            timestamp: features.timestamp.unwrap_or(0),
            quirks,
            layout: features.layout,
            raw: Database::raw_signature(features, peer_mss, mode)
                .to_string()
                .into(),
        }
    }

    /// Whether a program with a stack of its own sent it: that tells nothing of the host.
    pub(super) fn is_of_program(&self) -> bool {
        self.matched.is_some_and(|matched| matched.program)
    }

    /// Routers passed, where the signature tells.
    pub(super) fn known_distance(&self) -> Option<u8> {
        let random = self.matched.is_some_and(|matched| matched.random_ttl);
        (!random).then_some(self.distance)
    }
}

fn matched(database: &Database, found: p0f::Found) -> Option<Matched> {
    let signature = database.signature(found.signature)?;
    let label = database.label_of(found.signature)?;
    Some(Matched {
        label: signature.label,
        signature: found.signature,
        quality: found.quality,
        generic: signature.generic,
        random_ttl: matches!(signature.ttl, Ttl::AtMost(_)),
        program: label.is_program(),
    })
}

/// Whether p0f-sendsyn sent this SYN, to see what answers.
pub(super) fn is_probe(features: &Features) -> bool {
    features.kind == Kind::Syn && (features.window, features.mss) == (PROBE.0, Some(PROBE.1))
}

/// Text that sights share.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    /// It is told to terminals and in headers.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        let text = String::deserialize(from)?;
        if text.chars().all(|c| c.is_ascii_graphic()) {
            return Ok(text.into());
        }
        Err(serde::de::Error::custom("no signature"))
    }
}
