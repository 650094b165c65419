//! Postfix' policy delegation protocol (`SMTPD_POLICY_README`): `name=value` lines up to an empty
//! one, answered by `action=…` and an empty line. The connection is kept.
//!
//! Each message gets one `PREPEND`; whatever is not understood is answered with `DUNNO`: a
//! question of ours never costs a mail.

use crate::answer::UNKNOWN;
use crate::connection::Peer;
use crate::line::Lines;
use crate::session::{Flow, Session, World};

/// Name of the header.
pub const HEADER: &str = "X-OS-Fingerprint";
/// Bytes of an instance that are kept; Postfix' are short.
const INSTANCE_MAX: usize = 128;

/// One Postfix process.
#[derive(Debug, Default)]
pub struct PolicySession {
    lines: Lines,
    request: Request,
    /// The message that had its header last: Postfix asks once for each recipient.
    answered: String,
}

#[derive(Debug, Default)]
struct Request {
    client_address: Option<std::net::IpAddr>,
    client_port: Option<u16>,
    server_address: Option<std::net::IpAddr>,
    server_port: Option<u16>,
    instance: String,
}

impl Session for PolicySession {
    fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, world: &mut World<'_>) -> Flow {
        let Self {
            lines,
            request,
            answered,
        } = self;
        // A sender or a HELO name may be as long as Postfix' lines are: such an attribute tells us nothing.
        lines.input_bounded(bytes, |line| {
            if line.is_empty() {
                let action = action(&std::mem::take(request), answered, world);
                output.extend_from_slice(format!("action={action}\n\n").as_bytes());
            } else {
                request.take(line);
            }
        });
        Flow::Continue
    }
}

impl Request {
    /// Attributes that nobody here knows are passed over, as the protocol asks.
    fn take(&mut self, line: &str) {
        let Some((name, value)) = line.split_once('=') else {
            return;
        };
        match name {
            "client_address" => self.client_address = value.parse().ok(),
            "client_port" => self.client_port = value.parse().ok(),
            "server_address" => self.server_address = value.parse().ok(),
            "server_port" => self.server_port = value.parse().ok(),
            "instance" => self.instance = value.chars().take(INSTANCE_MAX).collect(),
            _ => {}
        }
    }

    fn peer(&self) -> Option<Peer> {
        let address = self.client_address?;
        let Some(port) = self.client_port.filter(|port| *port != 0) else {
            return Some(Peer::address(address));
        };
        let peer = Peer::client(address, port);
        Some(match (self.server_address, self.server_port) {
            (Some(server), Some(port)) => peer.to_server(server, port),
            _ => peer,
        })
    }
}

fn action(request: &Request, answered: &mut String, world: &mut World<'_>) -> String {
    let again = !request.instance.is_empty() && request.instance == *answered;
    let Some(peer) = request.peer().filter(|_| !again) else {
        return "DUNNO".to_owned();
    };
    answered.clone_from(&request.instance);
    let text = match world.look_up(&peer) {
        Some(answer) => answer.header_text(),
        None => UNKNOWN.to_owned(),
    };
    format!("PREPEND {HEADER}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fakes, linux, seen};

    fn said(session: &mut PolicySession, fakes: &mut Fakes, request: &str) -> String {
        let mut output = Vec::new();
        let flow = session.input(request.as_bytes(), &mut output, &mut fakes.world());
        assert_eq!(flow, Flow::Continue);
        String::from_utf8(output).expect("text")
    }

    fn request(instance: &str) -> String {
        format!(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n\
             client_port=4711\nserver_address=192.0.2.9\nserver_port=25\ninstance={instance}\n\n"
        )
    }

    #[test]
    fn a_message_gets_one_header_however_many_recipients_it_has() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let mut session = PolicySession::default();
        assert_eq!(
            said(&mut session, &mut fakes, &request("a.1")),
            "action=PREPEND X-OS-Fingerprint: Linux 3.11 and newer (exact, distance 9, \
             link: DSL, up: 676 min)\n\n"
        );
        assert_eq!(
            said(&mut session, &mut fakes, &request("a.1")),
            "action=DUNNO\n\n"
        );
        let next = said(&mut session, &mut fakes, &request("a.2"));
        assert!(next.starts_with("action=PREPEND"));
        let peer = Peer::client([192, 0, 2, 1].into(), 4711).to_server([192, 0, 2, 9].into(), 25);
        assert_eq!(seen(&fakes), [peer, peer]);
    }

    #[test]
    fn what_is_not_understood_costs_no_mail() {
        let mut fakes = Fakes::default();
        let mut session = PolicySession::default();
        for nonsense in ["\n", "client_address=unknown\n\n", "=\nx\ny=z\n\n"] {
            assert_eq!(said(&mut session, &mut fakes, nonsense), "action=DUNNO\n\n");
        }
    }

    #[test]
    fn a_sender_of_any_length_costs_no_header() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let long = format!(
            "sender={}@example.org\n{}",
            "x".repeat(5_000),
            request("a.1")
        );
        let answer = said(&mut PolicySession::default(), &mut fakes, &long);
        assert!(
            answer.starts_with("action=PREPEND X-OS-Fingerprint: Linux"),
            "{answer}"
        );
    }

    #[test]
    fn a_client_that_was_never_seen_is_unknown() {
        let mut fakes = Fakes::default();
        let answer = said(&mut PolicySession::default(), &mut fakes, &request("a.1"));
        assert_eq!(answer, "action=PREPEND X-OS-Fingerprint: Unknown\n\n");
    }
}
