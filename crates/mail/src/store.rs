//! What was seen of TCP handshakes, by connection and by address.
//!
//! [`Store::handle`] takes the packets of handshakes, in the order in which they came; [`crate::answer::LookUp`]
//! answers from what they showed: by the connection if it was seen, else by the newest of the
//! address. Both take the same time at any size, and what is kept is bounded by [`Limits`]: when
//! it is full, what was seen longest ago goes.

mod answers;
mod event;
mod host;
mod keep;
mod recent;
mod sharing;
mod sight;
mod uptime;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pf_engine::osfp::features::{Features, Kind, Later, Segment};
use pf_engine::osfp::p0f::{Database, Mode};
use pf_engine::rule::tcp_flags;

pub use self::event::{End, Event, Handshake, What};
pub use self::keep::{ImportError, KeepCursor};
pub use self::sharing::{Hits, Reasons};

use self::host::{ClientEnd, Clock, Entry, Host};
use self::recent::{Order, Recent};
use self::sharing::{Before, Conclusion, score};
use self::sight::{Labels, Sight, is_probe};
use self::uptime::{Measured, measure};
use crate::connection::Connection;
use crate::time::Timestamp;

/// Addresses and connections that may be kept at most, each about 300 bytes.
pub const KEPT_MAX: usize = 1_000_000;
/// Addresses and connections that are kept unless a setting says otherwise.
pub const KEPT: usize = 100_000;
/// How long a connection is remembered after its last packet that was seen: longer than mail
/// servers keep one open (RFC 5321, section 4.5.3.2: ten minutes for the longest reply).
pub const CONNECTION_AGE: Duration = Duration::from_hours(2);
/// How long an address is: p0f's own two hours are too short for a statistic of the day.
pub const HOST_AGE: Duration = Duration::from_hours(24);
/// A SYN with the same number so long after the last is a repetition. Linux gives up after 127
/// seconds (`tcp_syn_retries` 6).
const REPEATED: Duration = Duration::from_secs(130);
/// Connections and addresses that p0f remembers unless its option `-m` says otherwise.
pub const KEPT_P0F: Limits = Limits {
    hosts: 10_000,
    connections: 1_000,
};
/// The same of p0f, which forgets a connection after this time from its beginning.
const REPEATED_P0F: Duration = Duration::from_secs(30);
/// Forgotten entries that each packet removes at most: more than it adds.
const EXPIRED_AT_ONCE: usize = 4;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses, 1 to [`KEPT_MAX`].
    pub hosts: usize,
    /// Connections, 1 to [`KEPT_MAX`].
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hosts: KEPT,
            connections: KEPT,
        }
    }
}

/// What the store holds and what it had to let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses that are known.
    pub hosts: usize,
    /// Connections that are.
    pub connections: usize,
    /// Addresses that were forgotten for want of room.
    pub hosts_evicted: u64,
    /// Connections that were.
    pub connections_evicted: u64,
    /// SYNs that came.
    pub syns: u64,
    /// Those of them that repeated one.
    pub repeated: u64,
    /// SYN+ACKs to a SYN that was seen.
    pub syn_acks: u64,
    /// SYN+ACKs without one.
    pub unasked: u64,
}

/// The observations.
#[derive(Debug)]
pub struct Store {
    database: Database,
    labels: Labels,
    mode: Mode,
    hosts: Recent<Host>,
    connections: Recent<Entry>,
    ends: Recent<ClientEnd>,
    counts: Counts,
}

impl Store {
    /// An empty one. `secret` must be random: it keeps others from choosing addresses that are
    /// slow to find.
    #[must_use]
    pub fn new(database: Database, mode: Mode, limits: Limits, secret: (u64, u64)) -> Self {
        let order = match mode {
            Mode::Parity => Order::Arrival,
            Mode::Better => Order::Use,
        };
        Self {
            labels: Labels::of(&database),
            database,
            mode,
            hosts: Recent::new(limits.hosts.min(KEPT_MAX), Order::Use, secret),
            connections: Recent::new(limits.connections.min(KEPT_MAX), order, secret),
            ends: Recent::new(limits.connections.min(KEPT_MAX), Order::Use, secret),
            counts: Counts::default(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            hosts: self.hosts.len(),
            connections: self.connections.len(),
            ..self.counts
        }
    }

    /// Takes a packet that came at `now`; what it showed is added to `events`.
    pub fn handle(&mut self, segment: &Segment, now: Timestamp, events: &mut Vec<Event>) {
        self.expire(now);
        match segment {
            Segment::Handshake(features) => match features.kind {
                Kind::Syn => self.syn(features, now, events),
                Kind::SynAck => self.syn_ack(features, now, events),
            },
            Segment::Later(later) => self.later(later, now, events),
        }
    }

    fn expire(&mut self, now: Timestamp) {
        for _ in 0..EXPIRED_AT_ONCE {
            let old = |seen: Option<Timestamp>, age| {
                seen.is_some_and(|seen| now.saturating_since(seen) > age)
            };
            let oldest = self.connections.oldest();
            let (connection, age) = match self.mode {
                Mode::Parity => (oldest.map(|entry| entry.sight.at), REPEATED_P0F),
                Mode::Better => (oldest.map(|entry| entry.last_seen), CONNECTION_AGE),
            };
            if old(connection, age) {
                self.connections.remove_oldest();
            }
            if old(self.hosts.oldest().map(|host| host.last_seen), HOST_AGE) {
                self.hosts.remove_oldest();
            }
        }
    }

    fn syn(&mut self, features: &Features, now: Timestamp, events: &mut Vec<Event>) {
        let connection = Connection {
            client: features.source,
            server: features.destination,
        };
        self.counts.syns += 1;
        if self.repeats(connection, features.seq, now) {
            self.counts.repeated += 1;
            return;
        }
        let sight = Sight::new(&self.database, self.mode, features, None, now);
        let probe = is_probe(features);
        let mut told = Told::new(connection, End::Client, events);
        told.tell(What::Handshake(self.handshake(features, &sight, probe)));
        let tells_of_host = !probe && !sight.is_of_program();
        // p0f forgets the connection of a program at once.
        let over = self.mode == Mode::Parity && sight.is_of_program();
        let entry = Entry {
            connection,
            last_seen: now,
            seq: features.seq,
            syns: 1,
            answered: None,
            server_seq: 0,
            rtt: None,
            over,
            probe,
            client_clock: Clock::Unmeasured,
            server_clock: Clock::Unmeasured,
            sight: sight.clone(),
        };
        self.open(entry, now);
        if tells_of_host {
            self.compare(sight, &mut told);
        }
        if over {
            self.connections.forget(&connection);
        }
    }

    /// Counts the SYN if it repeats one.
    fn repeats(&mut self, connection: Connection, seq: u32, now: Timestamp) -> bool {
        let parity = self.mode == Mode::Parity;
        let Some(entry) = self.connections.used(&connection) else {
            return false;
        };
        let (since, most) = if parity {
            (entry.sight.at, REPEATED_P0F)
        } else {
            (entry.last_seen, REPEATED)
        };
        if entry.over || entry.seq != seq || now.saturating_since(since) > most {
            return false;
        }
        entry.syns = entry.syns.saturating_add(1);
        entry.last_seen = now;
        self.ends.used(&connection.client);
        self.seen(connection.client.ip(), now);
        true
    }

    /// A new connection of a client.
    fn open(&mut self, entry: Entry, now: Timestamp) {
        let connection = entry.connection;
        self.counts.connections_evicted += count(self.connections.insert(entry));
        self.ends.insert(ClientEnd(connection));
        let host = self.seen(connection.client.ip(), now);
        if let Some(host) = host {
            host.connections = host.connections.saturating_add(1);
            host.newest = Some(connection);
        }
    }

    /// The host at `address`, which was seen `now`.
    fn seen(&mut self, address: IpAddr, now: Timestamp) -> Option<&mut Host> {
        if self.hosts.get(&address).is_none() {
            let evicted = self.hosts.insert(Host::new(address, now));
            self.counts.hosts_evicted += count(evicted);
        }
        let host = self.hosts.used(&address)?;
        host.last_seen = now;
        Some(host)
    }

    fn syn_ack(&mut self, features: &Features, now: Timestamp, events: &mut Vec<Event>) {
        let connection = Connection {
            client: features.destination,
            server: features.source,
        };
        let known = self.connections.used(&connection);
        let Some(entry) = known.filter(|entry| !entry.over) else {
            self.counts.unasked += 1;
            return;
        };
        entry.last_seen = now;
        self.ends.used(&connection.client);
        if entry.answered.is_some() {
            return;
        }
        let peer_mss = Some(entry.sight.mss).filter(|mss| *mss != 0);
        let sight = Sight::new(&self.database, self.mode, features, peer_mss, now);
        entry.answered = Some(now);
        entry.server_seq = features.seq;
        entry.over = self.mode == Mode::Parity && (entry.probe || sight.is_of_program());
        let probe = entry.probe;
        let over = entry.over;
        self.counts.syn_acks += 1;
        let mut told = Told::new(connection, End::Server, events);
        told.tell(What::Handshake(self.handshake(features, &sight, probe)));
        self.seen(connection.server.ip(), now);
        if !probe && !sight.is_of_program() {
            self.compare(sight, &mut told);
        }
        if over {
            self.connections.forget(&connection);
        }
    }

    fn handshake(&self, features: &Features, sight: &Sight, probe: bool) -> Handshake {
        let os = sight.matched.and_then(|matched| matched.os(&self.labels));
        Handshake {
            kind: features.kind,
            probe,
            generic: sight.matched.is_some_and(|matched| matched.generic),
            fuzzy: sight.matched.is_some_and(sight::Matched::is_fuzzy),
            random_ttl: sight.matched.is_some_and(|matched| matched.random_ttl),
            confidence: os.as_ref().map(|os| os.confidence),
            label: os.map(|os| Arc::new(os.label)),
            distance: sight.distance,
            dscp: features.dscp(),
            raw_signature: Arc::clone(&sight.raw),
        }
    }

    /// Compares the packet with what was known of its host, and keeps it as the host's newest.
    fn compare(&mut self, sight: Sight, told: &mut Told<'_>) {
        let client = told.about == End::Client;
        let port = told.connection.client.port();
        let Some(host) = self.hosts.used(&told.address()) else {
            return;
        };
        let last = if client {
            host.syn.as_ref()
        } else {
            host.syn_ack.as_deref()
        };
        let before = Before {
            sight: last,
            label: host.matched.map(|matched| matched.label),
            port: host.last_port,
            of_client: client,
        };
        let points = score(&self.labels, &before, &sight, port);
        match host.history.conclude(points) {
            Conclusion::OneHost => {}
            Conclusion::Changed(reasons, hits) => {
                host.last_change = Some(sight.at);
                told.tell(What::Changed(reasons, hits));
            }
            Conclusion::Shared(reasons, hits) => {
                host.last_nat = Some(sight.at);
                told.tell(What::Shared(reasons, hits));
            }
        }
        host.matched = sight.matched.or(host.matched);
        host.distance = sight.known_distance().or(host.distance);
        host.last_port = port;
        if let Some(mtu) = sight.mtu {
            let link = self.database.link(mtu).map(Arc::from);
            told.tell(What::Link { link, mtu });
        }
        self.clock(sight.timestamp, sight.at, true, told);
        if let Some(host) = self.hosts.used(&told.address()) {
            if client {
                host.syn = Some(sight);
            } else {
                host.syn_ack = Some(Box::new(sight));
            }
        }
    }

    /// Measures the clock of the told end's host by a timestamp of it.
    fn clock(&mut self, timestamp: u32, now: Timestamp, handshake: bool, told: &mut Told<'_>) {
        let (Some(entry), Some(host)) = (
            self.connections.used(&told.connection),
            self.hosts.used(&told.address()),
        ) else {
            return;
        };
        let client = told.about == End::Client;
        let last = if client {
            host.syn.as_ref()
        } else {
            host.syn_ack.as_deref()
        };
        let clock = if client {
            &mut entry.client_clock
        } else {
            &mut entry.server_clock
        };
        let Some(last) = last.filter(|last| last.timestamp != 0 && timestamp != 0) else {
            return;
        };
        if *clock == Clock::Done || entry.probe {
            return;
        }
        match measure(last.timestamp, timestamp, now.saturating_since(last.at)) {
            Measured::Nothing => {}
            // A SYN may just be another host's.
            Measured::NoClock if handshake && client => {}
            Measured::NoClock => *clock = Clock::Done,
            Measured::Clock(uptime, rate) => {
                *clock = Clock::Done;
                host.uptime = Some(uptime);
                told.tell(What::Uptime(uptime, rate));
            }
        }
    }

    fn later(&mut self, later: &Later, now: Timestamp, events: &mut Vec<Event>) {
        let (connection, about) = self.side(later);
        let Some(entry) = self.connections.used(&connection) else {
            return;
        };
        if entry.over {
            return;
        }
        entry.last_seen = now;
        self.ends.used(&connection.client);
        let mut told = Told::new(connection, about, events);
        let ends = later.flags & (tcp_flags::FIN | tcp_flags::RST) != 0;
        if about == End::Client && !ends && entry.rtt.is_none() {
            let acknowledges =
                later.flags & tcp_flags::ACK != 0 && later.ack == entry.server_seq.wrapping_add(1);
            if let Some(answered) = entry.answered.filter(|_| acknowledges) {
                let rtt = now.saturating_since(answered);
                entry.rtt = Some(rtt);
                told.tell(What::RoundTrip(rtt));
            }
        }
        let parity = self.mode == Mode::Parity;
        let strange = parity && entry.answered.is_none();
        entry.over = ends || strange;
        if ends || !strange {
            self.clock(later.timestamp.unwrap_or(0), now, false, &mut told);
        }
        if parity && (ends || strange) {
            self.connections.forget(&connection);
        }
    }

    /// Whose packet of which connection it is.
    fn side(&self, later: &Later) -> (Connection, End) {
        let forth = Connection {
            client: later.source,
            server: later.destination,
        };
        if self.connections.get(&forth).is_some() {
            return (forth, End::Client);
        }
        let back = Connection {
            client: later.destination,
            server: later.source,
        };
        (back, End::Server)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Where events go that are about one end of one connection.
#[derive(Debug)]
struct Told<'a> {
    connection: Connection,
    about: End,
    events: &'a mut Vec<Event>,
}

impl<'a> Told<'a> {
    const fn new(connection: Connection, about: End, events: &'a mut Vec<Event>) -> Self {
        Self {
            connection,
            about,
            events,
        }
    }

    const fn address(&self) -> IpAddr {
        match self.about {
            End::Client => self.connection.client.ip(),
            End::Server => self.connection.server.ip(),
        }
    }

    fn tell(&mut self, what: What) {
        self.events.push(Event {
            connection: self.connection,
            about: self.about,
            what,
        });
    }
}
