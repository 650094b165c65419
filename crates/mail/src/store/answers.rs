//! Answers out of the store.

use std::net::{IpAddr, SocketAddr};

use super::host::{Entry, Host};
use super::sight::{Matched, Sight};
use super::{CONNECTION_AGE, HOST_AGE, Store};
use crate::answer::{Answer, Basis, LookUp};
use crate::connection::{Connection, Peer};
use crate::time::Timestamp;

impl LookUp for Store {
    fn look_up(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer> {
        if let Some(entry) = self.connection_of(peer, now) {
            let host = self.hosts.get(&peer.address);
            return Some(self.of_connection(entry, host));
        }
        let host = self.hosts.get(&peer.address)?;
        (now.saturating_since(host.last_seen) <= HOST_AGE).then(|| self.of_address(host))
    }
}

impl Store {
    /// The connections that are kept, the one that was used longest ago first.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let all = self.connections.iter();
        all.map(|entry| entry.connection).collect()
    }

    /// The addresses that are, in the same order.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.hosts.iter().map(|host| host.address).collect()
    }

    /// The connection that is meant, if it was seen.
    fn connection_of(&self, peer: &Peer, now: Timestamp) -> Option<&Entry> {
        let client = SocketAddr::new(peer.address, peer.port?);
        let both = peer.server.map(|server| Connection { client, server });
        let fits = |entry: &&Entry| now.saturating_since(entry.last_seen) <= CONNECTION_AGE;
        let exact = both.and_then(|connection| self.connections.get(&connection));
        // Behind rdr or a proxy the server knows another address of itself.
        exact.filter(fits).or_else(|| {
            let newest = self.ends.get(&client)?.0;
            self.connections.get(&newest).filter(fits)
        })
    }

    fn of_connection(&self, entry: &Entry, host: Option<&Host>) -> Answer {
        let of_sight = self.of_sight(&entry.sight, entry.sight.matched);
        let answer = Answer {
            basis: Basis::Connection,
            rtt: entry.rtt,
            syns: entry.syns,
            first_seen: entry.sight.at,
            last_seen: entry.last_seen,
            connections: 1,
            ..of_sight
        };
        match host {
            Some(host) => with_host(answer, host),
            None => answer,
        }
    }

    /// By the newest connection of the address; its system is the last that was recognised.
    fn of_address(&self, host: &Host) -> Answer {
        let newest = host.newest.and_then(|newest| self.connections.get(&newest));
        let sight = newest.map(|entry| &entry.sight);
        let sight = sight.or(host.syn.as_ref()).or(host.syn_ack.as_deref());
        let by_sight = sight.and_then(|sight| sight.matched);
        let matched = host.matched.or(by_sight.filter(|matched| !matched.program));
        let answer = match sight {
            Some(sight) => self.of_sight(sight, matched),
            None => Answer {
                os: matched.and_then(|matched| matched.os(&self.labels)),
                ..Answer::nothing(Basis::Address)
            },
        };
        let answer = Answer {
            basis: Basis::Address,
            rtt: newest.and_then(|entry| entry.rtt),
            syns: newest.map_or(answer.syns, |entry| entry.syns),
            distance: host.distance.or(answer.distance),
            ..answer
        };
        with_host(answer, host)
    }

    fn of_sight(&self, sight: &Sight, matched: Option<Matched>) -> Answer {
        let link = sight.mtu.and_then(|mtu| self.database.link(mtu));
        Answer {
            os: matched.and_then(|matched| matched.os(&self.labels)),
            distance: sight.known_distance(),
            link: link.map(str::to_owned),
            mtu: sight.mtu,
            mss: (sight.mss != 0).then_some(sight.mss),
            window: sight.window,
            raw_signature: sight.raw.to_string(),
            ..Answer::nothing(Basis::Address)
        }
    }
}

fn with_host(answer: Answer, host: &Host) -> Answer {
    Answer {
        uptime: host.uptime,
        first_seen: host.first_seen,
        last_seen: host.last_seen,
        connections: host.connections,
        last_nat: host.last_nat,
        last_change: host.last_change,
        ..answer
    }
}
