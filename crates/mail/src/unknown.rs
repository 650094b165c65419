//! Handshakes that no signature fits, collected so that somebody can say what sent them.
//!
//! What is kept is bounded: [`SIGNATURES_MAX`] of SYNs and as many of SYN+ACKs. When it is full the
//! one that was seen least often goes, of these the one that was not seen for longest: a flood of
//! invented handshakes does not push out what comes every day.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use pf_engine::osfp::features::Kind;
use serde::{Deserialize, Serialize};

use crate::answer::Confidence;
use crate::store::{End, Event, Handshake, What};
use crate::time::Timestamp;

/// Signatures of each kind that are kept.
pub const SIGNATURES_MAX: usize = 1_000;
/// Bytes of a signature: 24 options, twenty quirks and some numbers.
const SIGNATURE_MAX: usize = 512;
/// Initial TTLs that systems have.
const INITIAL_TTLS: [u16; 4] = [32, 64, 128, 255];

/// Which section of a file of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// SYNs: `[tcp:request]`.
    Request,
    /// SYN+ACKs: `[tcp:response]`.
    Response,
}

impl Section {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Request, Self::Response];

    /// As in a file of signatures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "tcp:request",
            Self::Response => "tcp:response",
        }
    }
}

impl From<Kind> for Section {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Syn => Self::Request,
            Kind::SynAck => Self::Response,
        }
    }
}

/// A signature that has no label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Where it belongs.
    pub section: Section,
    /// What goes behind `sig =`: any MSS, and the initial TTL that is likely.
    pub signature: String,
    /// The newest packet's own, with its MSS and TTL.
    pub raw: String,
    /// How often it was seen.
    pub count: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
    /// From whom last.
    pub example: IpAddr,
    /// The family that it looks like.
    pub family: Option<String>,
}

/// The collection.
#[derive(Clone, Debug, Default)]
pub struct Unknown {
    requests: Collected,
    responses: Collected,
    evicted: u64,
}

/// Signatures of one section.
#[derive(Clone, Debug, Default)]
struct Collected {
    seen: BTreeMap<String, Seen>,
    /// By how often and when they were seen.
    order: BTreeSet<(u64, Timestamp, String)>,
}

/// A line of a file is none that [`Unknown::export`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is no unknown signature")]
pub struct ImportError(pub usize);

impl Unknown {
    /// Takes what an event shows, if nothing fits it or its family alone.
    pub fn note(&mut self, event: &Event, now: Timestamp) {
        let What::Handshake(handshake) = &event.what else {
            return;
        };
        let known = handshake.label.is_some() && handshake.confidence != Some(Confidence::Family);
        if known || handshake.probe {
            return;
        }
        let example = match event.about {
            End::Client => event.connection.client.ip(),
            End::Server => event.connection.server.ip(),
        };
        if let Some(seen) = seen(handshake, example, now) {
            self.add(seen);
        }
    }

    fn add(&mut self, new: Seen) {
        let collected = match new.section {
            Section::Request => &mut self.requests,
            Section::Response => &mut self.responses,
        };
        let evicted = collected.add(new);
        self.evicted = self.evicted.saturating_add(u64::from(evicted));
    }

    /// How many had to go for want of room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Those of a section, the most frequent first.
    pub fn of(&self, section: Section) -> impl Iterator<Item = &Seen> {
        let collected = match section {
            Section::Request => &self.requests,
            Section::Response => &self.responses,
        };
        let order = collected.order.iter().rev();
        order.filter_map(|(.., signature)| collected.seen.get(signature))
    }

    /// Lines that [`Self::import`] reads.
    #[must_use]
    pub fn export(&self) -> String {
        let mut text = String::new();
        for seen in Section::ALL
            .into_iter()
            .flat_map(|section| self.of(section))
        {
            if let Ok(line) = serde_json::to_string(seen) {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }

    /// Reads what [`Self::export`] has written.
    ///
    /// # Errors
    /// Which line is wrong. What stands before it was read.
    pub fn import(&mut self, text: &str) -> Result<(), ImportError> {
        for (number, line) in (1..).zip(text.lines()) {
            let seen: Seen = serde_json::from_str(line).map_err(|_| ImportError(number))?;
            let family = seen.family.as_deref().unwrap_or("x");
            let plain = is_plain(&seen.signature) && is_plain(&seen.raw) && is_plain(family);
            if !plain || seen.count == 0 {
                return Err(ImportError(number));
            }
            self.add(seen);
        }
        Ok(())
    }
}

impl Collected {
    /// Whether another had to go.
    fn add(&mut self, new: Seen) -> bool {
        let mut evicted = false;
        let seen = if let Some(old) = self.seen.remove(&new.signature) {
            self.order.remove(&(old.count, old.last, old.signature));
            Seen {
                count: old.count.saturating_add(new.count),
                first: old.first.min(new.first),
                ..new
            }
        } else {
            evicted = self.make_room();
            new
        };
        let signature = seen.signature.clone();
        self.order
            .insert((seen.count, seen.last, signature.clone()));
        self.seen.insert(signature, seen);
        evicted
    }

    fn make_room(&mut self) -> bool {
        if self.seen.len() < SIGNATURES_MAX {
            return false;
        }
        let least = self.order.pop_first();
        least.is_some_and(|(.., signature)| self.seen.remove(&signature).is_some())
    }
}

/// It goes to terminals and into files of signatures.
fn is_plain(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    !text.is_empty() && text.len() <= SIGNATURE_MAX && printable
}

fn seen(handshake: &Handshake, example: IpAddr, now: Timestamp) -> Option<Seen> {
    let raw: &str = &handshake.raw_signature;
    Some(Seen {
        section: handshake.kind.into(),
        signature: signature(raw)?,
        raw: raw.to_owned(),
        count: 1,
        first: now,
        last: now,
        example,
        family: handshake.label.as_ref().map(|label| label.name.clone()),
    })
}

/// The signature that a packet's raw one suggests: `4:55+9:0:1452:…` becomes `4:64:0:*:…`.
#[must_use]
pub fn signature(raw: &str) -> Option<String> {
    let fields: Vec<&str> = raw.split(':').collect();
    let [version, ttl, options, _, rest @ ..] = fields.as_slice() else {
        return None;
    };
    let (ttl, distance) = ttl.split_once('+')?;
    let ttl: u16 = ttl.parse().ok()?;
    let initial = match distance {
        "?" => *INITIAL_TTLS.iter().find(|initial| **initial >= ttl)?,
        distance => ttl.checked_add(distance.parse().ok()?)?,
    };
    let line = format!("{version}:{initial}:{options}:*:{}", rest.join(":"));
    is_plain(&line).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::answer::Label;
    use crate::connection::Connection;

    fn event(raw: &str, label: Option<Confidence>, client: u32) -> Event {
        let client = Ipv4Addr::from(client);
        Event {
            connection: Connection {
                client: (client, 4711).into(),
                server: ([192, 0, 2, 25], 25).into(),
            },
            about: End::Client,
            what: What::Handshake(Handshake {
                kind: Kind::Syn,
                probe: false,
                label: label.map(|_| {
                    Arc::new(Label {
                        name: "Linux".to_owned(),
                        ..Label::default()
                    })
                }),
                confidence: label,
                generic: false,
                fuzzy: false,
                random_ttl: false,
                distance: 0,
                dscp: 0,
                raw_signature: raw.into(),
            }),
        }
    }

    const RAW: &str = "4:55+9:0:1452:mss*20,7:mss,sok,ts,nop,ws:df,id+:0";

    #[test]
    fn a_raw_signature_becomes_one_of_a_file() {
        let line = signature(RAW).expect("a signature");
        assert_eq!(line, "4:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0");
        assert_eq!(
            signature("4:200+?:0:0:1024,0::seq-:0").as_deref(),
            Some("4:255:0:*:1024,0::seq-:0")
        );
        for wrong in ["", "4:64", "4:x+1:0:0:1,0:::0", "4:9:0:0:1,0:::0"] {
            assert_eq!(signature(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_unknown_is_counted_by_its_signature_and_what_is_known_is_not() {
        let mut unknown = Unknown::default();
        let other_mss = RAW.replace("1452", "1460").replace("55+9", "60+4");
        unknown.note(&event(RAW, None, 1), Timestamp::from_secs(10));
        unknown.note(&event(&other_mss, None, 2), Timestamp::from_secs(20));
        let family = event("4:64+0:0:1:1,0:mss::0", Some(Confidence::Family), 3);
        unknown.note(&family, Timestamp::from_secs(30));
        unknown.note(
            &event(RAW, Some(Confidence::Exact), 4),
            Timestamp::from_secs(40),
        );
        let all: Vec<&Seen> = unknown.of(Section::Request).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].count, all[0].raw.as_str()), (2, other_mss.as_str()));
        assert_eq!(all[0].example, IpAddr::from([0, 0, 0, 2]));
        assert_eq!((all[0].first.as_secs(), all[0].last.as_secs()), (10, 20));
        assert_eq!(all[1].family.as_deref(), Some("Linux"));
        assert_eq!(unknown.of(Section::Response).count(), 0);

        let mut again = Unknown::default();
        again.import(&unknown.export()).expect("it reads");
        assert_eq!(again.export(), unknown.export());
        assert_eq!(again.import("{}"), Err(ImportError(1)));
        let escape = unknown.export().replace("mss*20", "\\u001b[2J");
        assert!(Unknown::default().import(&escape).is_err());
    }

    #[test]
    fn a_flood_of_invented_ones_does_not_push_out_what_comes_often() {
        let mut unknown = Unknown::default();
        for second in 0..3 {
            unknown.note(&event(RAW, None, 1), Timestamp::from_secs(second));
        }
        for number in 0..3_000_u32 {
            let raw = format!("4:64+0:0:1460:{number},0:mss::0");
            unknown.note(&event(&raw, None, number), Timestamp::from_secs(10));
        }
        assert_eq!(unknown.of(Section::Request).count(), SIGNATURES_MAX);
        assert_eq!(unknown.evicted(), 2_001);
        let first = unknown.of(Section::Request).next().expect("some");
        assert_eq!(first.count, 3);
        let requests = &unknown.requests;
        assert_eq!(requests.seen.len(), requests.order.len());
    }
}
