//! The milter protocol of Sendmail and Postfix (versions 2 to 6), one connection of a mail server.
//!
//! Each message loses the `X-OS-Fingerprint` headers that came with it and gets ours on top. What
//! became of messages is reported too: those whose recipients were all refused as rejected or
//! deferred, those that reach their end as accepted. What the server does afterwards a milter
//! never learns: where that matters, follow the log instead.

pub mod wire;

use std::net::IpAddr;
use std::time::Duration;

use crate::answer::UNKNOWN;
use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::policy::HEADER;
use crate::session::{Flow, Session, World};
use crate::text::message_id;

use self::wire::{Command, Frames, Negotiation, Reply};

/// Who reports.
const REPORTER: &str = "milter";
/// How long the server may be silent, as with libmilter (`MI_TIMEOUT`): while a client sends its text nothing
/// comes, and who sends slowly must not get rid of us that way.
const SILENCE: Duration = Duration::from_secs(7_210);
/// Forged headers that are counted and removed in one message; a mail with more is not from
/// somebody who gets a kind word anyway, and the scanner reads the first, which is ours.
pub const FORGED_MAX: u32 = 1000;

/// What an administrator can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MilterOptions {
    /// Whether outcomes are reported.
    pub outcomes: bool,
}

/// One connection: one SMTP session after another.
#[derive(Debug)]
pub struct MilterSession {
    options: MilterOptions,
    frames: Frames,
    negotiation: Negotiation,
    client: Client,
    message: Message,
}

/// Who is connected to the mail server.
#[derive(Debug, Default)]
struct Client {
    address: Option<IpAddr>,
    port: Option<u16>,
    server: Option<IpAddr>,
    server_port: Option<u16>,
}

/// The message at hand.
#[derive(Debug, Default)]
struct Message {
    begun: bool,
    id: Option<String>,
    /// Recipients that were taken.
    recipients: u32,
    /// The verdict on the last recipient that was refused.
    refused: Option<Verdict>,
    /// The recipient that the server names next was refused so: macros come before their step.
    next_refused: Option<Verdict>,
    forged: u32,
}

impl MilterSession {
    /// A new connection.
    #[must_use]
    pub fn new(options: MilterOptions) -> Self {
        Self {
            options,
            frames: Frames::default(),
            negotiation: Negotiation::default(),
            client: Client::default(),
            message: Message::default(),
        }
    }

    fn handle(&mut self, command: Command<'_>, out: &mut Vec<u8>, world: &mut World<'_>) -> Flow {
        match command {
            Command::Negotiate(offer) => {
                if !offer.is_spoken() {
                    return Flow::Close;
                }
                self.negotiation = offer;
                Reply::Negotiate(offer.chosen()).write(out);
                return Flow::Continue;
            }
            Command::Macros(macros) => {
                self.learn(&macros);
                return Flow::Continue;
            }
            Command::Connect { address, port } => {
                self.client.address = address.or(self.client.address);
                self.client.port = self.client.port.or(port);
            }
            Command::Mail => self.begin(),
            Command::Recipient => self.recipient(),
            Command::Header { name } => self.header(name),
            Command::EndOfMessage => {
                self.finish(out, world);
                return Flow::Continue;
            }
            Command::Abort => {
                self.abandon(world);
                return Flow::Continue;
            }
            Command::Quit => {
                self.abandon(world);
                return Flow::Close;
            }
            Command::QuitNewConnection => {
                self.abandon(world);
                self.client = Client::default();
                return Flow::Continue;
            }
            Command::Other(_) => {}
        }
        if self.negotiation.wants_reply(command.code()) {
            Reply::Continue.write(out);
        }
        Flow::Continue
    }

    fn learn(&mut self, macros: &wire::Macros<'_>) {
        for (name, value) in macros.pairs() {
            match name {
                "{client_port}" => self.client.port = value.parse().ok(),
                "{client_addr}" => {
                    self.client.address = address(value).or(self.client.address);
                }
                "{daemon_addr}" => self.client.server = address(value),
                "{daemon_port}" => self.client.server_port = value.parse().ok(),
                "i" => self.message.id = Some(message_id(value)),
                "{rcpt_mailer}" if value == "error" => {
                    self.message.next_refused = Some(Verdict::Rejected);
                }
                // The status of a refused recipient: `4.x.y` is for now.
                "{rcpt_host}" if value.starts_with('4') => {
                    let refused = &mut self.message.next_refused;
                    *refused = refused.map(|_| Verdict::Deferred);
                }
                _ => {}
            }
        }
    }

    fn begin(&mut self) {
        let id = self.message.id.take();
        self.message = Message {
            begun: true,
            id,
            ..Message::default()
        };
    }

    fn recipient(&mut self) {
        match self.message.next_refused.take() {
            Some(verdict) => self.message.refused = Some(verdict),
            None => self.message.recipients = self.message.recipients.saturating_add(1),
        }
    }

    fn header(&mut self, name: &str) {
        if name.eq_ignore_ascii_case(HEADER) && self.message.forged < FORGED_MAX {
            self.message.forged += 1;
        }
    }

    fn peer(&self) -> Option<Peer> {
        let address = self.client.address?;
        let Some(port) = self.client.port.filter(|port| *port != 0) else {
            return Some(Peer::address(address));
        };
        let peer = Peer::client(address, port);
        let server_port = self.client.server_port.filter(|port| *port != 0);
        Some(match (self.client.server, server_port) {
            (Some(server), Some(port)) => peer.to_server(server, port),
            _ => peer,
        })
    }

    /// The end of the text: forged headers go, from the last, so that the numbers of those before
    /// stay; ours comes first.
    fn finish(&mut self, out: &mut Vec<u8>, world: &mut World<'_>) {
        let forged = if self.negotiation.may_change() {
            self.message.forged
        } else {
            0
        };
        for number in (1..=forged).rev() {
            Reply::DeleteHeader {
                name: HEADER,
                number,
            }
            .write(out);
        }
        if let Some(peer) = self.peer()
            && self.negotiation.may_add()
        {
            let answer = world.look_up(&peer);
            let value = answer.map_or_else(|| UNKNOWN.to_owned(), |answer| answer.header_text());
            Reply::InsertHeader {
                name: HEADER,
                value: &value,
            }
            .write(out);
        }
        Reply::Continue.write(out);
        self.report(Verdict::Accepted, Stage::EndOfData, world);
        self.message = Message::default();
    }

    /// A message that did not reach its end. It was refused only if all its recipients were;
    /// otherwise the client gave up, which is no outcome.
    fn abandon(&mut self, world: &mut World<'_>) {
        if let Some(verdict) = self.message.refused
            && self.message.begun
            && self.message.recipients == 0
        {
            self.report(verdict, Stage::Rcpt, world);
        }
        self.message = Message::default();
    }

    fn report(&self, verdict: Verdict, stage: Stage, world: &mut World<'_>) {
        if let Some(peer) = self.peer().filter(|_| self.options.outcomes) {
            world.record(Outcome {
                at: world.now,
                peer,
                verdict,
                stage: Some(stage),
                message: self.message.id.clone(),
                reporter: REPORTER,
            });
        }
    }
}

impl Session for MilterSession {
    fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, world: &mut World<'_>) -> Flow {
        self.frames.push(bytes);
        loop {
            let frame = match self.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Flow::Continue,
                Err(_) => return Flow::Close,
            };
            let flow = match Command::parse(&frame) {
                Some(command) => self.handle(command, output, world),
                None => Flow::Close,
            };
            if flow == Flow::Close {
                return Flow::Close;
            }
        }
    }

    fn end(&mut self, _: &mut Vec<u8>, world: &mut World<'_>) {
        self.abandon(world);
    }

    fn silence(&self) -> Duration {
        SILENCE
    }
}

/// An address as Sendmail writes it in macros: of IPv6 with `IPv6:` in front.
fn address(value: &str) -> Option<IpAddr> {
    let bare = value.strip_prefix("IPv6:").unwrap_or(value);
    bare.parse().ok()
}

#[cfg(test)]
mod tests;
