//! A store that knows one client, and a sink that keeps what it is told: for tests of codecs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::answer::{Answer, Basis, Confidence, Label, LookUp, Os, Uptime};
use crate::connection::Peer;
use crate::outcome::{Outcome, OutcomeSink};
use crate::session::World;
use crate::time::Timestamp;

/// What a test's world is made of.
#[derive(Debug, Default)]
pub(crate) struct Fakes {
    lookup: Known,
    outcomes: Told,
}

#[derive(Debug, Default)]
struct Known {
    answers: BTreeMap<IpAddr, Answer>,
    asked: Vec<Peer>,
}

#[derive(Debug, Default)]
struct Told(Vec<Outcome>);

impl Fakes {
    /// A world that has seen `address`.
    pub(crate) fn knowing(address: &str, answer: Answer) -> Self {
        let address = address.parse().expect("an address");
        let mut fakes = Self::default();
        fakes.lookup.answers.insert(address, answer);
        fakes
    }

    pub(crate) fn world(&mut self) -> World<'_> {
        World {
            lookup: &mut self.lookup,
            outcomes: &mut self.outcomes,
            now: Timestamp::from_secs(5_000),
        }
    }

    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes.0
    }
}

/// Whom was asked about, in order.
pub(crate) fn seen(fakes: &Fakes) -> Vec<Peer> {
    fakes.lookup.asked.clone()
}

impl LookUp for Known {
    fn look_up(&mut self, peer: &Peer, _: Timestamp) -> Option<Answer> {
        self.asked.push(*peer);
        self.answers.get(&peer.address).cloned()
    }
}

impl OutcomeSink for Told {
    fn record(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }
}

/// A Linux host behind a DSL line.
pub(crate) fn linux() -> Answer {
    Answer {
        basis: Basis::Connection,
        os: Some(Os {
            label: Label {
                class: "unix".to_owned(),
                name: "Linux".to_owned(),
                flavor: "3.11 and newer".to_owned(),
            },
            confidence: Confidence::Exact,
            fuzzy: false,
            generic: false,
        }),
        distance: Some(9),
        link: Some("DSL".to_owned()),
        mtu: Some(1492),
        mss: Some(1452),
        window: 29_040,
        rtt: Some(Duration::from_millis(12)),
        syns: 1,
        uptime: Some(Uptime {
            minutes: 676,
            modulo_days: 198,
        }),
        raw_signature: "4:55+9:0:1452:mss*20,7:mss,sok,ts,nop,ws:df,id+:0".to_owned(),
        first_seen: Timestamp::from_secs(1_000),
        last_seen: Timestamp::from_secs(2_000),
        connections: 3,
        last_nat: None,
        last_change: None,
    }
}
