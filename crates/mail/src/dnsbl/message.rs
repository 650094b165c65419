//! Questions and answers of the DNS on the wire (RFC 1035, RFC 6891): what a list needs of them.
//!
//! A question is read without regard for what else the message holds, but for EDNS. Names in
//! questions are never compressed, so nothing in a message can lead the reader back.

use std::net::Ipv4Addr;

/// Octets of a message's header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// Octets of a name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;
/// Octets of a label.
const LABEL_MAX: u8 = 63;
/// Octets of an answer in a datagram to who does not speak EDNS (RFC 1035, section 2.3.4).
pub const PLAIN_MAX: u16 = 512;
/// Octets of an answer in a datagram to who does: none is fragmented on the way (RFC 9715).
pub const EDNS_MAX: u16 = 1232;
/// Octets of a question that are read; longer ones are none of ours.
pub const QUERY_MAX: usize = 1232;
/// Records beside the question in which EDNS is looked for.
const ADDITIONAL_MAX: u16 = 4;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
/// DNSSEC OK, in the flags of EDNS (RFC 3225): copied.
const DNSSEC_OK: u32 = 0x8000;

const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;
const TYPE_OPT: u16 = 41;
/// Beginning of a pointer to a name that stands before (RFC 1035, section 4.1.4).
const POINTER: u16 = 0xc000;

/// How a question ended (RFC 1035, section 4.1.1; RFC 6891, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rcode {
    /// NOERROR.
    NoError,
    /// FORMERR.
    FormErr,
    /// NXDOMAIN.
    NxDomain,
    /// NOTIMP.
    NotImp,
    /// REFUSED.
    Refused,
    /// BADVERS: a version of EDNS that we do not speak.
    BadVers,
}

impl Rcode {
    const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
        }
    }
}

/// What a question says of EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edns {
    size: u16,
    version: u8,
    dnssec_ok: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    id: u16,
    flags: u16,
    /// Labels of its name, from the leftmost. One that is no text is a question mark, which is in
    /// no zone.
    pub labels: Vec<String>,
    /// Number of the type asked for.
    pub kind: u16,
    class: u16,
    edns: Option<Edns>,
    /// The question as it came.
    question: Vec<u8>,
}

/// Why a message is not answered as a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is none: nothing is answered.
    Silence,
    /// This is answered.
    Answer(Vec<u8>),
}

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// What to answer instead.
    pub fn read(message: &[u8]) -> Result<Self, Unread> {
        let mut reader = Reader { message, at: 0 };
        let head = reader.head().ok_or(Unread::Silence)?;
        if head.flags & RESPONSE != 0 {
            return Err(Unread::Silence);
        }
        let refused = |rcode| Unread::Answer(bare(head.id, head.flags, rcode));
        if head.flags & OPCODE != 0 {
            return Err(refused(Rcode::NotImp));
        }
        if head.counts[0] != 1 {
            return Err(refused(Rcode::FormErr));
        }
        let query = reader.query(&head);
        query.ok_or_else(|| refused(Rcode::FormErr))
    }

    /// Whether it asks in the class of the internet, or in any.
    #[must_use]
    pub const fn is_of_internet(&self) -> bool {
        matches!(self.class, CLASS_IN | CLASS_ANY)
    }

    /// Whether it speaks a version of EDNS that we do not.
    #[must_use]
    pub const fn is_of_later_edns(&self) -> bool {
        matches!(self.edns, Some(Edns { version: 1.., .. }))
    }

    /// Octets of an answer in a datagram.
    #[must_use]
    pub fn datagram_max(&self) -> usize {
        let size = self.edns.map_or(PLAIN_MAX, |edns| edns.size);
        usize::from(size.clamp(PLAIN_MAX, EDNS_MAX))
    }

    /// An answer without records.
    #[must_use]
    pub fn refuse(&self, rcode: Rcode) -> Vec<u8> {
        self.answer(&Response {
            rcode,
            ..Response::default()
        })
    }

    /// An answer that says: ask again by TCP.
    #[must_use]
    pub fn truncate(&self) -> Vec<u8> {
        self.message(TRUNCATED, Rcode::NoError, &[], &[])
    }

    /// The answer on the wire.
    #[must_use]
    pub fn answer(&self, response: &Response) -> Vec<u8> {
        let flags = if response.authoritative {
            AUTHORITATIVE
        } else {
            0
        };
        let (answers, authority) = (&response.answers, &response.authority);
        self.message(flags, response.rcode, answers, authority)
    }

    fn message(
        &self,
        flags: u16,
        rcode: Rcode,
        answers: &[Record],
        authority: &[Record],
    ) -> Vec<u8> {
        let flags = RESPONSE | self.flags & RECURSION_DESIRED | flags | rcode.number() & 0xf;
        let count = |records: &[Record]| u16::try_from(records.len()).unwrap_or(u16::MAX);
        let edns = u16::from(self.edns.is_some());
        let head = [self.id, flags, 1, count(answers), count(authority), edns];
        let mut message: Vec<u8> = head.into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend(&self.question);
        for record in answers.iter().chain(authority) {
            record.write(&mut message);
        }
        if let Some(edns) = self.edns {
            write_edns(edns, rcode, &mut message);
        }
        message
    }

    /// Where in the message the name begins that lacks the first `labels` labels of the question.
    #[must_use]
    pub fn place_behind(&self, labels: usize) -> u16 {
        let octets = &self.question;
        let mut at = 0;
        for _ in 0..labels {
            let length = octets.get(at).copied().unwrap_or(0);
            at += 1 + usize::from(length);
        }
        u16::try_from(HEADER + at).unwrap_or(0)
    }
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it ended.
    pub rcode: Rcode,
    /// Whether the zone is ours.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            rcode: Rcode::NoError,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
        }
    }
}

/// A resource record of the class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where in the message its owner's name stands.
    pub owner: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An address.
    A(Ipv4Addr),
    /// A text of at most 255 octets; what is longer is cut.
    Txt(String),
    /// A name server.
    Ns(Name),
    /// The beginning of a zone: name server, mailbox, and serial, refresh, retry, expire, minimum.
    Soa(Name, Name, [u32; 5]),
}

/// A name on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// The name of these labels, from the leftmost; nothing when it is none.
    #[must_use]
    pub fn of<'l>(labels: impl IntoIterator<Item = &'l str>) -> Option<Self> {
        let mut octets = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).ok()?;
            if length == 0 || length > LABEL_MAX {
                return None;
            }
            octets.push(length);
            octets.extend(label.as_bytes());
        }
        octets.push(0);
        (octets.len() <= NAME_MAX).then_some(Self(octets))
    }
}

impl Record {
    fn write(&self, message: &mut Vec<u8>) {
        let (kind, data) = match &self.data {
            Data::A(address) => (1, address.octets().to_vec()),
            Data::Ns(name) => (2, name.0.clone()),
            Data::Soa(server, mailbox, numbers) => {
                let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
                let names = server.0.iter().chain(&mailbox.0).copied();
                (6, names.chain(numbers).collect())
            }
            Data::Txt(text) => {
                let text = text.as_bytes();
                let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
                let cut = text.iter().take(usize::from(length));
                (16, [length].iter().chain(cut).copied().collect::<Vec<u8>>())
            }
        };
        message.extend((POINTER | self.owner).to_be_bytes());
        message.extend(u16::to_be_bytes(kind));
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(self.ttl.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        message.extend(data);
    }
}

fn write_edns(edns: Edns, rcode: Rcode, message: &mut Vec<u8>) {
    message.push(0);
    message.extend(TYPE_OPT.to_be_bytes());
    message.extend(EDNS_MAX.to_be_bytes());
    let dnssec_ok = if edns.dnssec_ok { DNSSEC_OK } else { 0 };
    let high = u32::from(rcode.number() >> 4) << 24;
    message.extend((high | dnssec_ok).to_be_bytes());
    message.extend(0_u16.to_be_bytes());
}

/// A header alone.
fn bare(id: u16, flags: u16, rcode: Rcode) -> Vec<u8> {
    let flags = RESPONSE | flags & (OPCODE | RECURSION_DESIRED) | rcode.number();
    let head = [id, flags, 0, 0, 0, 0];
    head.into_iter().flat_map(u16::to_be_bytes).collect()
}

struct Head {
    id: u16,
    flags: u16,
    counts: [u16; 4],
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn head(&mut self) -> Option<Head> {
        Some(Head {
            id: self.word()?,
            flags: self.word()?,
            counts: [self.word()?, self.word()?, self.word()?, self.word()?],
        })
    }

    fn query(&mut self, head: &Head) -> Option<Query> {
        let labels = self.name()?;
        let (kind, class) = (self.word()?, self.word()?);
        let question = self.message.get(HEADER..self.at)?.to_vec();
        let [_, answers, authority, additional] = head.counts;
        // A question answers nothing.
        if answers != 0 || authority != 0 {
            return None;
        }
        let edns = self.edns(additional)?;
        Some(Query {
            id: head.id,
            flags: head.flags,
            labels,
            kind,
            class,
            edns,
            question,
        })
    }

    fn name(&mut self) -> Option<Vec<String>> {
        let begin = self.at;
        let mut labels = Vec::new();
        loop {
            let length = self.octet()?;
            if length == 0 {
                return Some(labels);
            }
            if length > LABEL_MAX {
                return None;
            }
            let label = self.take(usize::from(length))?;
            if self.at - begin >= NAME_MAX {
                return None;
            }
            let text = std::str::from_utf8(label).ok();
            let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
            labels.push(text.unwrap_or("?").to_owned());
        }
    }

    /// What the records behind the question say of EDNS; two of them are an error.
    #[expect(clippy::option_option, reason = "an error, none, or one")]
    fn edns(&mut self, additional: u16) -> Option<Option<Edns>> {
        let mut found = None;
        for _ in 0..additional.min(ADDITIONAL_MAX) {
            let owner = self.name()?;
            let (kind, class) = (self.word()?, self.word()?);
            let [_, version, flags, _] = *self.take(4)? else {
                return None;
            };
            let length = self.word()?;
            self.take(usize::from(length))?;
            if kind != TYPE_OPT {
                continue;
            }
            if found.is_some() || !owner.is_empty() {
                return None;
            }
            found = Some(Edns {
                size: class,
                version,
                dnssec_ok: flags & 0x80 != 0,
            });
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, kind: u16, edns: &[u8]) -> Vec<u8> {
        let additional = u16::from(!edns.is_empty());
        let head = [0xbeef, RECURSION_DESIRED, 1, 0, 0, additional];
        let mut message: Vec<u8> = head.into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend(Name::of(name.split('.')).expect("a name").0);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(edns);
        message
    }

    const EDNS: [u8; 11] = [0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0];

    #[test]
    fn a_question_is_read_and_answered_with_what_it_asked() {
        let query = Query::read(&question("1.0.bl.example", 16, &[])).expect("a question");
        assert_eq!(query.labels, ["1", "0", "bl", "example"]);
        assert_eq!((query.kind, query.datagram_max()), (16, 512));
        let answer = query.answer(&Response {
            authoritative: true,
            answers: vec![Record {
                owner: query.place_behind(0),
                ttl: 300,
                data: Data::Txt("why".to_owned()),
            }],
            ..Response::default()
        });
        let (head, rest) = answer.split_at(HEADER);
        assert_eq!(head, [0xbe, 0xef, 0x85, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        let asked = b"\x011\x010\x02bl\x07example\0\0\x10\0\x01";
        let said = b"\xc0\x0c\0\x10\0\x01\0\0\x01\x2c\0\x04\x03why";
        assert_eq!(rest, [&asked[..], said].concat());
        assert_eq!(query.place_behind(2), 16);
    }

    #[test]
    fn edns_is_answered_with_edns_and_a_later_version_is_refused() {
        let query = Query::read(&question("bl.example", 1, &EDNS)).expect("a question");
        assert_eq!(query.datagram_max(), 1232);
        let answer = query.refuse(Rcode::BadVers);
        assert_eq!(answer[3] & 0xf, 0);
        assert!(answer.ends_with(&[0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0]));
        let mut later = EDNS;
        later[6] = 1;
        let query = Query::read(&question("bl.example", 1, &later)).expect("a question");
        assert!(query.is_of_later_edns());
    }

    #[test]
    fn what_is_no_question_is_refused_or_not_answered() {
        let good = question("bl.example", 1, &[]);
        assert_eq!(Query::read(&good[..11]), Err(Unread::Silence));
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(Query::read(&response), Err(Unread::Silence));
        let rcode = |message: &[u8]| match Query::read(message) {
            Err(Unread::Answer(answer)) => answer[3],
            other => panic!("{other:?}"),
        };
        let mut update = good.clone();
        update[2] |= 5 << 3;
        assert_eq!(rcode(&update), 4);
        let mut pointer = good.clone();
        pointer[HEADER] = 0xc0;
        let mut two = good.clone();
        two[5] = 2;
        let mut cut = good.clone();
        cut.pop();
        let twice = [&EDNS[..], &EDNS].concat();
        let mut twice = question("bl.example", 1, &twice);
        twice[11] = 2;
        for message in [pointer, two, cut, twice] {
            assert_eq!(rcode(&message), 1, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(query) = Query::read(&bytes) {
                prop_assert!(query.refuse(Rcode::Refused).len() <= bytes.len() + 11);
                let _ = query.place_behind(200);
            }
        }

        #[test]
        fn nor_does_what_stands_behind_a_header(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            additional in 0_u8..8,
        ) {
            let head = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, additional];
            let _ = Query::read(&[&head[..], &bytes].concat());
        }
    }
}
