//! The text socket: one line asked, one answer, then the connection is closed, as Exim's
//! `${readsocket}` wants it. No answer ends with a newline.
//!
//! ```text
//! os ADDRESS [PORT [SERVER-ADDRESS SERVER-PORT]]       Linux 3.11 and newer
//! header ADDRESS [PORT [SERVER-ADDRESS SERVER-PORT]]   Linux 3.11 and newer (exact, distance 9)
//! json ADDRESS [PORT [SERVER-ADDRESS SERVER-PORT]]     {"os":"Linux 3.11 and newer",...}
//! outcome VERDICT STAGE ADDRESS [PORT [ID]]            ok
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::SplitAsciiWhitespace;

use crate::answer::UNKNOWN;
use crate::connection::Peer;
use crate::json;
use crate::line::Lines;
use crate::outcome::{MESSAGE_ID_MAX, Outcome, Stage, Verdict};
use crate::session::{Flow, Session, World};
use crate::time::Timestamp;

/// Who reports by this socket.
const REPORTER: &str = "text";

/// One client.
#[derive(Debug, Default)]
pub struct TextSession {
    lines: Lines,
}

impl Session for TextSession {
    fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, world: &mut World<'_>) -> Flow {
        let mut answered = false;
        let taken = self.lines.input(bytes, |line| {
            output.extend_from_slice(answer(line, world).as_bytes());
            answered = true;
            false
        });
        if taken.is_err() {
            output.extend_from_slice(b"error: the line is too long");
        }
        if answered || taken.is_err() {
            Flow::Close
        } else {
            Flow::Continue
        }
    }

    /// A line may end with the client's half of the connection.
    fn end(&mut self, output: &mut Vec<u8>, world: &mut World<'_>) {
        if let Some(line) = self.lines.rest() {
            output.extend_from_slice(answer(&line, world).as_bytes());
        }
    }
}

/// The answer to one line.
#[must_use]
pub fn answer(line: &str, world: &mut World<'_>) -> String {
    let mut words = line.split_ascii_whitespace();
    let result = match words.next() {
        Some("os") => about(words, |peer| match world.look_up(&peer) {
            Some(answer) => answer.os_text(),
            None => UNKNOWN.to_owned(),
        }),
        Some("header") => about(words, |peer| match world.look_up(&peer) {
            Some(answer) => answer.header_text(),
            None => UNKNOWN.to_owned(),
        }),
        Some("json") => about(words, |peer| {
            json::text(&peer, world.look_up(&peer).as_ref())
        }),
        Some("outcome") => outcome(words, world),
        _ => Err("expected os, header, json or outcome"),
    };
    result.unwrap_or_else(|problem| format!("error: {problem}"))
}

fn about(
    words: SplitAsciiWhitespace<'_>,
    tell: impl FnOnce(Peer) -> String,
) -> Result<String, &'static str> {
    Ok(tell(peer(words)?))
}

/// Whom `ADDRESS [PORT [SERVER-ADDRESS SERVER-PORT]]` means.
///
/// # Errors
/// What is expected instead.
pub fn peer<'w>(mut words: impl Iterator<Item = &'w str>) -> Result<Peer, &'static str> {
    let client = address(words.next())?;
    let Some(client_port) = words.next() else {
        return Ok(Peer::address(client));
    };
    let peer = Peer::client(client, port(client_port)?);
    let Some(server) = words.next() else {
        return Ok(peer);
    };
    let server = address(Some(server))?;
    let server_port = port(words.next().ok_or("expected the server's port")?)?;
    match words.next() {
        None => Ok(peer.to_server(server, server_port)),
        Some(_) => Err("too many words"),
    }
}

/// `peer` as [`peer`] reads it: `ADDRESS [PORT [SERVER-ADDRESS SERVER-PORT]]`.
#[must_use]
pub fn words(peer: &Peer) -> String {
    let mut words = peer.address.to_string();
    if let Some(port) = peer.port {
        let _ = write!(words, " {port}");
        if let Some(server) = peer.server {
            let _ = write!(words, " {} {}", server.ip(), server.port());
        }
    }
    words
}

/// The line, with its end, that tells `outcome`.
#[must_use]
pub fn report(outcome: &Outcome) -> String {
    let client = Peer {
        server: None,
        ..outcome.peer
    };
    let stage = outcome.stage.unwrap_or(Stage::EndOfData);
    let (verdict, stage) = (outcome.verdict.name(), stage.name());
    let mut line = format!("outcome {verdict} {stage} {}", words(&client));
    if let Some(message) = &outcome.message {
        // The name stands behind a port: no connection has this one.
        let port = if client.port.is_some() { "" } else { " 0" };
        let _ = write!(line, "{port} {}", message_id(message));
    }
    line.push('\n');
    line
}

fn outcome(words: SplitAsciiWhitespace<'_>, world: &mut World<'_>) -> Result<String, &'static str> {
    world.record(reported(words, world.now, REPORTER)?);
    Ok("ok".to_owned())
}

/// What `VERDICT STAGE ADDRESS [PORT [ID]]` tells, as [`report`] writes it behind `outcome`.
///
/// # Errors
/// What is expected instead.
pub fn reported<'w>(
    mut words: impl Iterator<Item = &'w str>,
    at: Timestamp,
    reporter: &'static str,
) -> Result<Outcome, &'static str> {
    let verdict = words.next().and_then(Verdict::parse);
    let verdict = verdict.ok_or("expected accept, reject or defer")?;
    let stage = words.next().and_then(Stage::parse);
    let stage = stage.ok_or("expected connect, helo, mail, rcpt, data or eom")?;
    let client = address(words.next())?;
    let peer = match words.next() {
        Some(client_port) => Peer::client(client, port(client_port)?),
        None => Peer::address(client),
    };
    let message = words.next().map(message_id);
    if words.next().is_some() {
        return Err("too many words");
    }
    Ok(Outcome {
        at,
        peer,
        verdict,
        stage: Some(stage),
        message,
        reporter,
    })
}

/// A message's id as it is kept: printable ASCII, bounded.
#[must_use]
pub fn message_id(word: &str) -> String {
    let printable = word.chars().filter(char::is_ascii_graphic);
    printable.take(MESSAGE_ID_MAX).collect()
}

/// An address as mail servers write it: bare, in brackets, or with `IPv6:` in front.
fn address(word: Option<&str>) -> Result<IpAddr, &'static str> {
    let word = word.ok_or("expected an address")?;
    let bare = word
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(word);
    let bare = bare.strip_prefix("IPv6:").unwrap_or(bare);
    bare.parse()
        .map_err(|_| "expected an address of IPv4 or IPv6")
}

fn port(word: &str) -> Result<u16, &'static str> {
    word.parse().map_err(|_| "expected a port from 0 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fakes, linux, seen};

    #[test]
    fn what_is_written_is_read_the_same() {
        let address = Peer::address([192, 0, 2, 1].into());
        let client = Peer::client([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 4711);
        let whole = Peer::client([192, 0, 2, 1].into(), 4711).to_server([192, 0, 2, 9].into(), 25);
        for wanted in [address, client, whole] {
            assert_eq!(peer(words(&wanted).split(' ')), Ok(wanted));
        }
        let told = Outcome {
            at: Timestamp::from_secs(1),
            peer: whole,
            verdict: Verdict::Deferred,
            stage: Some(Stage::Rcpt),
            message: Some("m 1".to_owned()),
            reporter: "somebody",
        };
        let line = report(&told);
        assert_eq!(line, "outcome deferred rcpt 192.0.2.1 4711 m1\n");
        let portless = Outcome {
            peer: address,
            ..told
        };
        let portless = report(&portless);
        assert_eq!(portless, "outcome deferred rcpt 192.0.2.1 0 m1\n");
        let mut fakes = Fakes::default();
        for line in [line, portless] {
            assert_eq!(answer(&line, &mut fakes.world()), "ok");
        }
        let names = fakes.outcomes().iter().map(|told| told.message.as_deref());
        assert!(names.eq([Some("m1"), Some("m1")]));
    }

    fn said(fakes: &mut Fakes, pieces: &[&str]) -> (String, Flow) {
        let mut session = TextSession::default();
        let (mut output, mut flow) = (Vec::new(), Flow::Continue);
        for piece in pieces {
            flow = session.input(piece.as_bytes(), &mut output, &mut fakes.world());
        }
        (String::from_utf8(output).expect("text"), flow)
    }

    #[test]
    fn a_question_is_answered_without_a_newline_and_closed() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let (text, flow) = said(&mut fakes, &["os 192.0", ".2.1 4711 192.0.2.9 25\r\n"]);
        assert_eq!((text.as_str(), flow), ("Linux 3.11 and newer", Flow::Close));
        let peer = Peer::client([192, 0, 2, 1].into(), 4711).to_server([192, 0, 2, 9].into(), 25);
        assert_eq!(seen(&fakes), [peer]);
    }

    #[test]
    fn the_three_forms_of_an_answer() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let mut ask = |line: &str| answer(line, &mut fakes.world());
        assert_eq!(ask("os 192.0.2.1"), "Linux 3.11 and newer");
        assert_eq!(
            ask("header [192.0.2.1]"),
            "Linux 3.11 and newer (exact, distance 9, link: DSL, up: 676 min)"
        );
        assert!(ask("json 192.0.2.1").starts_with("{\"address\":\"192.0.2.1\""));
        assert_eq!(ask("os IPv6:2001:db8::7"), "Unknown");
    }

    #[test]
    fn a_line_without_its_end_is_answered_when_the_client_has_closed() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let mut session = TextSession::default();
        let mut output = Vec::new();
        let flow = session.input(b"os 192.0.2.1", &mut output, &mut fakes.world());
        assert_eq!((flow, output.len()), (Flow::Continue, 0));
        session.end(&mut output, &mut fakes.world());
        assert_eq!(output, b"Linux 3.11 and newer");
    }

    #[test]
    fn an_outcome_is_recorded_with_what_was_told() {
        let mut fakes = Fakes::default();
        let line = "outcome reject rcpt 192.0.2.1 4711 1r9Abc-0001\n";
        assert_eq!(said(&mut fakes, &[line]).0, "ok");
        let outcome = &fakes.outcomes()[0];
        assert_eq!(outcome.verdict, Verdict::Rejected);
        assert_eq!(outcome.stage, Some(Stage::Rcpt));
        assert_eq!(outcome.peer, Peer::client([192, 0, 2, 1].into(), 4711));
        assert_eq!(outcome.message.as_deref(), Some("1r9Abc-0001"));
        assert_eq!(outcome.at.as_secs(), 5_000);
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_recorded() {
        let mut fakes = Fakes::default();
        for (line, problem) in [
            ("", "expected os, header, json or outcome"),
            ("os", "expected an address"),
            ("os example.org", "expected an address of IPv4 or IPv6"),
            ("os 192.0.2.1 99999", "expected a port from 0 to 65535"),
            ("os 192.0.2.1 1 192.0.2.9", "expected the server's port"),
            ("os 192.0.2.1 1 192.0.2.9 25 x", "too many words"),
            (
                "outcome perhaps rcpt 192.0.2.1",
                "expected accept, reject or defer",
            ),
        ] {
            assert_eq!(
                answer(line, &mut fakes.world()),
                format!("error: {problem}")
            );
        }
        assert_eq!(fakes.outcomes(), []);
    }
}
