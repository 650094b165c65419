//! Requests to rtnetlink and their answers, one at a time.

use std::cell::Cell;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// How often a dump is repeated that changed while it was read.
const DUMP_ATTEMPTS: usize = 5;

/// An open connection, bound to the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    sequence: Cell<u32>,
}

impl Connection {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Has something done; `flags` in addition to those of every request.
    pub(crate) fn act(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map(drop)
    }

    /// Asks for one object.
    pub(crate) fn ask(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let (answers, _) = self.exchange(message, NLM_F_REQUEST | NLM_F_ACK)?;
        Ok(answers)
    }

    /// Asks for all objects, as they were at one moment.
    pub(crate) fn dump(
        &self,
        message: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let (answers, whole) = self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if whole {
                return Ok(answers);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the list changed each time it was read",
        ))
    }

    /// Sends and reads until the end; false if what was read changed meanwhile.
    fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        self.socket.send(&encode(message, flags, sequence), 0)?;
        let mut answers = Answers::default();
        while !answers.complete {
            let (datagram, _) = self.socket.recv_from_full()?;
            answers.add(&datagram, sequence)?;
        }
        Ok((answers.messages, !answers.interrupted))
    }
}

fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What has come of the answers to a question.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) messages: Vec<RouteNetlinkMessage>,
    complete: bool,
    interrupted: bool,
}

impl Answers {
    /// Reads one more datagram.
    pub(super) fn add(&mut self, mut datagram: &[u8], sequence: u32) -> io::Result<()> {
        while !datagram.is_empty() {
            let message = NetlinkMessage::deserialize(datagram).map_err(io::Error::other)?;
            let aligned = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(aligned..).unwrap_or_default();
            // What is left of a request that was given up.
            if message.header.sequence_number == sequence {
                self.add_message(message)?;
            }
        }
        Ok(())
    }

    fn add_message(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> io::Result<()> {
        let (header, payload) = message.into_parts();
        self.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
        match payload {
            NetlinkPayload::InnerMessage(message) => self.messages.push(message),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => self.complete = true,
            NetlinkPayload::Overrun(_) => {
                return Err(io::Error::other("netlink answers were lost"));
            }
            NetlinkPayload::Noop | _ => {}
        }
        Ok(())
    }
}
