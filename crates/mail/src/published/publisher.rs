//! The writer's side: what is to be written where.

use std::net::{IpAddr, SocketAddr};

use pf_engine::osfp::features::Kind;

use super::slot::{Kind as Of, SLOT_LEN, SLOTS, Slot};
use super::texts::{Numbered, TEXT_LEN, Texts};
use super::{Header, page_offset};
use crate::answer::{Answer, Label, LookUp};
use crate::connection::{Connection, Peer};
use crate::store::{End, Event, Store, What};
use crate::time::Timestamp;

/// Bytes that go to one place of the file, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A text.
    Text(u64, Box<[u8; TEXT_LEN]>),
    /// A slot.
    Slot(u64, [u8; SLOT_LEN]),
}

impl Write {
    /// Where, in bytes from the beginning.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Text(offset, _) | Self::Slot(offset, _) => *offset,
        }
    }

    /// What.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(_, bytes) => bytes.as_slice(),
            Self::Slot(_, bytes) => bytes,
        }
    }
}

/// What was published and what had to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Slots that were written.
    pub written: u64,
    /// Slots that another took, in a page that was full.
    pub evicted: u64,
    /// Names that no room was left for: their systems are published as unknown.
    pub unnamed: u64,
}

/// What the writer remembers of a slot, so that it never reads its file.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Hash of the key; 0: free.
    key: u64,
    last_seen: u64,
    number: u32,
}

/// Keeps the file of a [`Header`].
#[derive(Debug)]
pub struct Publisher {
    header: Header,
    slots: Vec<Held>,
    texts: Texts,
    /// Connections that were opened.
    opened: u32,
    counts: Counts,
}

impl Publisher {
    /// Of an empty file.
    #[must_use]
    pub fn new(header: Header) -> Self {
        let pages = usize::try_from(header.pages).unwrap_or(0);
        Self {
            header,
            slots: vec![Held::default(); pages.saturating_mul(SLOTS)],
            texts: Texts::default(),
            opened: 0,
            counts: Counts::default(),
        }
    }

    /// The file's header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What was done so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Publishes what `events`, of one packet that came at `now`, have changed in `store`.
    pub fn events(
        &mut self,
        store: &mut Store,
        events: &[Event],
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) {
        let Some(first) = events.first() else {
            return;
        };
        let opens = events
            .iter()
            .any(|event| matches!(&event.what, What::Handshake(shown) if shown.kind == Kind::Syn));
        if opens {
            self.opened = self.opened.wrapping_add(1);
        }
        self.connection(store, first.connection, opens, now, writes);
        let about = |end| events.iter().any(|event| event.about == end);
        if about(End::Client) {
            self.address(store, first.connection.client.ip(), now, writes);
        }
        if about(End::Server) {
            self.address(store, first.connection.server.ip(), now, writes);
        }
    }

    /// Publishes everything that `store` knows, a restart's observations for example.
    pub fn all(&mut self, store: &mut Store, now: Timestamp, write: &mut impl FnMut(Write)) {
        let mut writes = Vec::new();
        for connection in store.connections() {
            self.opened = self.opened.wrapping_add(1);
            self.connection(store, connection, true, now, &mut writes);
            writes.drain(..).for_each(&mut *write);
        }
        for address in store.addresses() {
            self.address(store, address, now, &mut writes);
            writes.drain(..).for_each(&mut *write);
        }
    }

    /// Publishes what `store` knows of `connection`, which is the newest if it `opens`.
    fn connection(
        &mut self,
        store: &mut Store,
        connection: Connection,
        opens: bool,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) {
        let Connection { client, server } = connection;
        let peer = Peer::client(client.ip(), client.port()).to_server(server.ip(), server.port());
        let Some(answer) = store.look_up(&peer, now) else {
            return;
        };
        let texts = self.texts_of(&answer, writes);
        let key = self.header.hash(Of::Connection, &[client, server]);
        let page = self.header.page_of_client(client);
        let number = opens.then_some(self.opened);
        let (offset, number) = self.place(page, key, answer.last_seen, number);
        let slot = Slot::of_connection(connection, number, &answer, texts);
        writes.push(Write::Slot(offset, slot.bytes()));
    }

    /// Publishes what `store` knows of `address`.
    fn address(
        &mut self,
        store: &mut Store,
        address: IpAddr,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) {
        let Some(answer) = store.look_up(&Peer::address(address), now) else {
            return;
        };
        let texts = self.texts_of(&answer, writes);
        let end = SocketAddr::new(address, 0);
        let key = self.header.hash(Of::Address, &[end, end]);
        let page = self.header.page_of_address(address);
        let (offset, _) = self.place(page, key, answer.last_seen, None);
        let slot = Slot::of_address(address, &answer, texts);
        writes.push(Write::Slot(offset, slot.bytes()));
    }

    /// Numbers of the names of its system and its link.
    fn texts_of(&mut self, answer: &Answer, writes: &mut Vec<Write>) -> (u16, u16) {
        let label = answer.os.as_ref().map(|os| os.label.clone());
        let link = answer.link.as_ref().map(|link| Label {
            name: link.clone(),
            ..Label::default()
        });
        (
            label.map_or(0, |label| self.text(&label, writes)),
            link.map_or(0, |link| self.text(&link, writes)),
        )
    }

    fn text(&mut self, label: &Label, writes: &mut Vec<Write>) -> u16 {
        match self.texts.number(label) {
            Numbered::Known(number) => number,
            Numbered::New(number, offset, bytes) => {
                writes.push(Write::Text(offset, bytes));
                number
            }
            Numbered::Full => {
                self.counts.unnamed += 1;
                0
            }
        }
    }

    /// The slot of `key` in the page at `page`, and the number that its connection has: its old
    /// one without a new `number`.
    fn place(
        &mut self,
        page: u64,
        key: u64,
        last_seen: Timestamp,
        number: Option<u32>,
    ) -> (u64, u32) {
        let key = key.max(1);
        let first = page.saturating_sub(page_offset(0)) / SLOT_LEN as u64;
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let end = first.saturating_add(SLOTS);
        let slots = self.slots.get_mut(first..end).unwrap_or_default();
        let known = slots.iter().position(|held| held.key == key);
        let oldest = || {
            (0..)
                .zip(slots.iter())
                .min_by_key(|(_, held)| held.last_seen)
        };
        let at = known.unwrap_or_else(|| oldest().map_or(0, |(at, _)| at));
        let Some(held) = slots.get_mut(at) else {
            return (page, 0);
        };
        self.counts.written += 1;
        self.counts.evicted += u64::from(known.is_none() && held.key != 0);
        let number = number.unwrap_or(if known.is_some() { held.number } else { 0 });
        *held = Held {
            key,
            last_seen: last_seen.as_micros(),
            number,
        };
        (page.saturating_add((at * SLOT_LEN) as u64), number)
    }
}
