//! Logs of mail servers: lines to what became of messages.
//!
//! Clients choose some of the words in a line: the HELO name, the sender, the name of their
//! address. Only what stands where the server itself writes it is believed, and a line in which
//! that is not certain is no outcome.

use std::net::{IpAddr, SocketAddr};

use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::time::Timestamp;

pub mod exim;
pub mod postfix;

/// The reader of one server's log.
pub trait Follow {
    /// Takes one line, without its end; outcomes are appended to `outcomes`.
    fn line(&mut self, line: &str, now: Timestamp, outcomes: &mut Vec<Outcome>);
}

/// What a line told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    peer: Peer,
    verdict: Verdict,
    stage: Stage,
    message: Option<String>,
}

impl Told {
    fn outcome(self, now: Timestamp, reporter: &'static str) -> Outcome {
        Outcome {
            at: now,
            peer: self.peer,
            verdict: self.verdict,
            stage: Some(self.stage),
            message: self.message,
            reporter,
        }
    }
}

/// `[ADDRESS]` or `[ADDRESS]:PORT` at the beginning of `text`, and what follows.
fn end(text: &str) -> Option<(IpAddr, Option<u16>, &str)> {
    let (address, rest) = text.strip_prefix('[')?.split_once(']')?;
    let address = address.parse().ok()?;
    let Some(rest) = rest.strip_prefix(':') else {
        return Some((address, None, rest));
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (port, rest) = rest.split_at_checked(digits)?;
    Some((address, Some(port.parse().ok()?), rest))
}

/// The client's end of a connection, as far as it is told.
fn client(address: IpAddr, port: Option<u16>) -> Peer {
    port.map_or(Peer::address(address), |port| Peer::client(address, port))
}

fn with_server(peer: Peer, server: Option<SocketAddr>) -> Peer {
    server.map_or(peer, |server| peer.to_server(server.ip(), server.port()))
}
