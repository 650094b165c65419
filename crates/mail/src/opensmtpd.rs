//! `OpenSMTPD`'s filter protocol (smtpd-filters(7)), versions 0.4 (of `OpenSMTPD` 6.6) to 0.7: reports and
//! requests as lines on standard input, answers on standard output.
//!
//! Each message loses the `X-OS-Fingerprint` headers that came with it and gets ours on top; what
//! became of it is reported. A rollback alone is no rejection: a client that gives up after a
//! good recipient leaves the same trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::answer::UNKNOWN;
use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::policy::HEADER;
use crate::session::World;
use crate::text::message_id;
use crate::time::Timestamp;

/// Who reports.
const REPORTER: &str = "opensmtpd";
/// SMTP sessions that are followed at the same time, above `smtpd`'s own limit of descriptors;
/// further ones get a header by their address but no outcome.
pub const SESSIONS_MAX: usize = 16_384;
/// What is reported to us.
const REPORTS: [&str; 10] = [
    "link-connect",
    "link-disconnect",
    "tx-begin",
    "tx-mail",
    "tx-rcpt",
    "tx-data",
    "tx-commit",
    "tx-rollback",
    "tx-reset",
    "filter-response",
];
/// The first minor version of protocol 0 in which an answer names the session before the token.
const SESSION_FIRST: u32 = 5;
/// The first in which a report tells the result before the address, which alone may have `|` in it.
const RESULT_FIRST: u32 = 6;

/// What the filter needs of its surroundings. It runs as a child of `smtpd`, where the answers are
/// another process's.
pub trait Surroundings {
    /// The text of the header for `peer`; nothing when it is not known or nobody answers.
    fn header(&mut self, peer: &Peer) -> Option<String>;

    /// Takes what became of a message.
    fn record(&mut self, outcome: Outcome);

    /// The time.
    fn now(&self) -> Timestamp;
}

impl Surroundings for World<'_> {
    fn header(&mut self, peer: &Peer) -> Option<String> {
        self.look_up(peer).map(|answer| answer.header_text())
    }

    fn record(&mut self, outcome: Outcome) {
        World::record(self, outcome);
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// What an administrator can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterOptions {
    /// Whether the header is put into messages: then every line of them passes through here.
    pub header: bool,
}

/// The filter. Lines in, lines out; no line is longer than what came.
#[derive(Debug)]
pub struct Filter {
    options: FilterOptions,
    sessions: BTreeMap<String, SmtpSession>,
}

#[derive(Debug, Default)]
struct SmtpSession {
    client: Option<SocketAddr>,
    server: Option<SocketAddr>,
    message: Transaction,
    text: Text,
}

/// The fate of the message at hand, as far as it is told.
#[derive(Debug, Default)]
struct Transaction {
    id: Option<String>,
    taken: u32,
    refused: Option<(Verdict, Stage)>,
    /// MAIL or DATA was refused: that ends it whatever the recipients were.
    ended: Option<(Verdict, Stage)>,
}

/// Where in the text of a message the filter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    /// Before its first line.
    #[default]
    Outside,
    /// In its headers.
    Headers,
    /// In a forged header, whose folded lines go too.
    Forged,
    /// Behind the empty line.
    Body,
}

impl Filter {
    /// A filter that has seen nothing.
    #[must_use]
    pub const fn new(options: FilterOptions) -> Self {
        Self {
            options,
            sessions: BTreeMap::new(),
        }
    }

    /// Takes one line, without its end; lines for smtpd are appended to `output`.
    pub fn line(&mut self, line: &str, output: &mut String, world: &mut dyn Surroundings) {
        let mut fields = line.splitn(6, '|');
        let (stream, version) = (fields.next(), fields.next());
        if let (Some("config"), Some("ready")) = (stream, version) {
            self.register(output);
            return;
        }
        // time, subsystem; event or phase; session and its arguments
        let (_, _, what) = (fields.next(), fields.next(), fields.next());
        let (Some(version), Some(what), Some(rest)) = (version, what, fields.next()) else {
            return;
        };
        let minor = minor(version);
        match (stream, what) {
            (Some("report"), event) => self.report(event, rest, minor, world),
            (Some("filter"), "data-line") => self.data_line(rest, minor, output, world),
            _ => {}
        }
    }

    fn register(&self, output: &mut String) {
        for event in REPORTS {
            push(output, &["register|report|smtp-in|", event]);
        }
        if self.options.header {
            push(output, &["register|filter|smtp-in|data-line"]);
        }
        push(output, &["register|ready"]);
    }

    /// An event; `rest` is the session and the event's own arguments.
    fn report(&mut self, event: &str, rest: &str, minor: u32, world: &mut dyn Surroundings) {
        let (id, rest) = rest.split_once('|').unwrap_or((rest, ""));
        match event {
            "link-connect" => {
                self.connect(id, rest);
                return;
            }
            "link-disconnect" => {
                self.sessions.remove(id);
                return;
            }
            _ => {}
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let (message, arguments) = rest.split_once('|').unwrap_or((rest, ""));
        match event {
            "tx-begin" => {
                session.text = Text::Outside;
                session.message = Transaction {
                    id: Some(message_id(message)),
                    ..Transaction::default()
                };
            }
            "tx-mail" => session.message.end(result(arguments, minor), Stage::Mail),
            "tx-data" => session.message.end(arguments, Stage::Data),
            "tx-rcpt" => session.message.recipient(result(arguments, minor)),
            "filter-response" => session.answered(rest, world),
            "tx-commit" => {
                let accepted = Some((Verdict::Accepted, Stage::EndOfData));
                session.finish(accepted, world);
            }
            "tx-rollback" => session.finish(session.message.refusal(), world),
            _ => {}
        }
    }

    /// `rdns|fcrdns|SOURCE:PORT|DESTINATION:PORT`.
    fn connect(&mut self, id: &str, rest: &str) {
        if self.sessions.len() >= SESSIONS_MAX {
            return;
        }
        let mut ends = rest.rsplit('|');
        let (server, client) = (ends.next(), ends.next());
        let session = SmtpSession {
            client: client.and_then(socket_address),
            server: server.and_then(socket_address),
            ..SmtpSession::default()
        };
        self.sessions.insert(id.to_owned(), session);
    }

    /// `session|token|line`: one line of a message.
    fn data_line(
        &mut self,
        rest: &str,
        minor: u32,
        output: &mut String,
        world: &mut dyn Surroundings,
    ) {
        let mut fields = rest.splitn(3, '|');
        let (Some(id), Some(token)) = (fields.next(), fields.next()) else {
            return;
        };
        let line = fields.next().unwrap_or_default();
        let (first, second) = if minor < SESSION_FIRST {
            (token, id)
        } else {
            (id, token)
        };
        let mut say = |text: &str| {
            push(output, &["filter-dataline|", first, "|", second, "|", text]);
        };
        let Some(session) = self.sessions.get_mut(id) else {
            say(line);
            return;
        };
        if session.text == Text::Outside {
            session.text = Text::Headers;
            say(&format!("{HEADER}: {}", session.header(world)));
        }
        if session.text.takes(line) {
            say(line);
        }
        if line == "." {
            session.text = Text::Outside;
        }
    }
}

impl SmtpSession {
    fn peer(&self) -> Option<Peer> {
        let client = self.client?;
        let peer = Peer::client(client.ip(), client.port());
        Some(match self.server {
            Some(server) => peer.to_server(server.ip(), server.port()),
            None => peer,
        })
    }

    fn header(&self, world: &mut dyn Surroundings) -> String {
        let known = self.peer().and_then(|peer| world.header(&peer));
        known.unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// `phase|response[|parameter]`: what a filter said, another one or one of smtpd's own. smtpd tells of no
    /// sender and no recipient that a filter has refused, and of a message only that it was rolled back.
    fn answered(&mut self, rest: &str, world: &mut dyn Surroundings) {
        let mut words = rest.splitn(3, '|');
        let (phase, response) = (words.next(), words.next());
        let reply = words.next().unwrap_or_default();
        let for_now = match response {
            Some("reject") => reply.starts_with('4'),
            // What has no good reply is answered with 421.
            Some("disconnect") => !reply.starts_with('5'),
            _ => return,
        };
        let verdict = if for_now {
            Verdict::Deferred
        } else {
            Verdict::Rejected
        };
        let message = &mut self.message;
        match phase {
            Some("mail-from") => self.finish(Some((verdict, Stage::Mail)), world),
            Some("rcpt-to") => message.refused = Some((verdict, Stage::Rcpt)),
            Some("data") => message.ended = Some((verdict, Stage::Data)),
            Some("commit") => message.ended = Some((verdict, Stage::EndOfData)),
            _ => {}
        }
    }

    /// The transaction is over; it had this outcome, if any.
    fn finish(&mut self, outcome: Option<(Verdict, Stage)>, world: &mut dyn Surroundings) {
        let message = std::mem::take(&mut self.message);
        if let Some((verdict, stage)) = outcome
            && let Some(peer) = self.peer()
        {
            world.record(Outcome {
                at: world.now(),
                peer,
                verdict,
                stage: Some(stage),
                message: message.id,
                reporter: REPORTER,
            });
        }
    }
}

impl Transaction {
    fn end(&mut self, result: &str, stage: Stage) {
        if let Some(verdict) = refused(result) {
            self.ended = Some((verdict, stage));
        }
    }

    fn recipient(&mut self, result: &str) {
        match refused(result) {
            Some(verdict) => self.refused = Some((verdict, Stage::Rcpt)),
            None => self.taken = self.taken.saturating_add(1),
        }
    }

    /// Why it was rolled back, if the server refused it.
    fn refusal(&self) -> Option<(Verdict, Stage)> {
        self.ended.or(self.refused.filter(|_| self.taken == 0))
    }
}

/// Of protocol `0.MINOR`; a later one is taken for the newest.
fn minor(version: &str) -> u32 {
    let minor = version.strip_prefix("0.");
    minor
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(u32::MAX)
}

/// `result|address`, or, before 0.6, `address|result`.
fn result(arguments: &str, minor: u32) -> &str {
    let word = if minor < RESULT_FIRST {
        arguments.rsplit('|').next()
    } else {
        arguments.split('|').next()
    };
    word.unwrap_or_default()
}

fn refused(result: &str) -> Option<Verdict> {
    match result {
        "permfail" => Some(Verdict::Rejected),
        "tempfail" => Some(Verdict::Deferred),
        _ => None,
    }
}

impl Text {
    /// Whether `line` stays in the message; moves on behind it.
    fn takes(&mut self, line: &str) -> bool {
        let folded = line.starts_with([' ', '\t']);
        match self {
            Self::Outside | Self::Body => return true,
            Self::Forged if folded => return false,
            Self::Headers | Self::Forged => {}
        }
        *self = if line.is_empty() {
            Self::Body
        } else if is_ours(line) {
            Self::Forged
        } else {
            Self::Headers
        };
        *self != Self::Forged
    }
}

fn is_ours(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(name, _)| name.trim_end().eq_ignore_ascii_case(HEADER))
}

/// `address:port`, IPv6 in brackets; nothing for `unix:/path`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

fn push(output: &mut String, parts: &[&str]) {
    for part in parts {
        output.push_str(part);
    }
    output.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fakes, linux, seen};

    const CONNECT: &str = "report|0.6|1.5|smtp-in|link-connect|s1|mx.example.org|pass|\
                           192.0.2.1:4711|192.0.2.9:25";

    fn run(fakes: &mut Fakes, lines: &[&str]) -> Vec<String> {
        let mut filter = Filter::new(FilterOptions { header: true });
        let mut output = String::new();
        for line in lines {
            filter.line(line, &mut output, &mut fakes.world());
        }
        output.lines().map(str::to_owned).collect()
    }

    fn reports(events: &[&str]) -> Vec<(Verdict, Stage)> {
        let mut fakes = Fakes::default();
        let events: Vec<_> = events
            .iter()
            .map(|event| format!("report|0.6|1.5|smtp-in|{event}"))
            .collect();
        let mut lines = vec![CONNECT];
        lines.extend(events.iter().map(String::as_str));
        run(&mut fakes, &lines);
        let fate = |outcome: &Outcome| (outcome.verdict, outcome.stage.expect("a stage"));
        fakes.outcomes().iter().map(fate).collect()
    }

    #[test]
    fn it_registers_when_the_configuration_is_through() {
        let mut fakes = Fakes::default();
        let said = run(&mut fakes, &["config|smtpd-version|6.8.0", "config|ready"]);
        assert_eq!(said.len(), REPORTS.len() + 2);
        assert_eq!(said[0], "register|report|smtp-in|link-connect");
        assert_eq!(said[REPORTS.len()], "register|filter|smtp-in|data-line");
        assert_eq!(said[REPORTS.len() + 1], "register|ready");
    }

    #[test]
    fn the_header_comes_first_and_forged_ones_go_with_their_folded_lines() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let text = [
            "Received: from x",
            "x-os-fingerprint : Plan 9",
            "\tforever",
            "Subject: a|b",
            "",
            "X-OS-Fingerprint: in the body stays",
            ".",
        ];
        let lines: Vec<_> = text
            .iter()
            .map(|line| format!("filter|0.6|1.5|smtp-in|data-line|s1|t9|{line}"))
            .collect();
        let mut all = vec![CONNECT];
        all.extend(lines.iter().map(String::as_str));
        let said = run(&mut fakes, &all);
        let texts: Vec<_> = said
            .iter()
            .map(|line| line.strip_prefix("filter-dataline|s1|t9|").expect("ours"))
            .collect();
        assert_eq!(
            texts,
            [
                "X-OS-Fingerprint: Linux 3.11 and newer (exact, distance 9, link: DSL, up: 676 \
                 min)",
                "Received: from x",
                "Subject: a|b",
                "",
                "X-OS-Fingerprint: in the body stays",
                ".",
            ]
        );
        let peer = Peer::client([192, 0, 2, 1].into(), 4711).to_server([192, 0, 2, 9].into(), 25);
        assert_eq!(seen(&fakes), [peer]);
    }

    #[test]
    fn what_smtpd_tells_decides_what_counts() {
        let begin = "tx-begin|s1|m1";
        for (events, fate) in [
            (
                vec![
                    begin,
                    "tx-rcpt|s1|m1|ok|b",
                    "tx-data|s1|m1|ok",
                    "tx-commit|s1|m1|9",
                ],
                Some((Verdict::Accepted, Stage::EndOfData)),
            ),
            (
                vec![
                    begin,
                    "tx-rcpt|s1|m1|ok|b",
                    "tx-data|s1|m1|permfail",
                    "tx-rollback|s1|m1",
                ],
                Some((Verdict::Rejected, Stage::Data)),
            ),
            (
                vec![begin, "tx-rcpt|s1|m1|permfail|b", "tx-rollback|s1|m1"],
                Some((Verdict::Rejected, Stage::Rcpt)),
            ),
            (
                vec![begin, "tx-rcpt|s1|m1|tempfail|b", "tx-rollback|s1|m1"],
                Some((Verdict::Deferred, Stage::Rcpt)),
            ),
            (vec![begin, "tx-rcpt|s1|m1|ok|b", "tx-rollback|s1|m1"], None),
            (
                vec![
                    begin,
                    "tx-rcpt|s1|m1|permfail|a",
                    "tx-rcpt|s1|m1|ok|b",
                    "tx-commit|s1|m1|9",
                ],
                Some((Verdict::Accepted, Stage::EndOfData)),
            ),
            (vec!["link-disconnect|s1", begin, "tx-commit|s1|m1|9"], None),
        ] {
            assert_eq!(reports(&events), Vec::from_iter(fate), "{events:?}");
        }
    }

    #[test]
    fn what_filters_refuse_counts_though_smtpd_tells_of_no_result() {
        let begin = "tx-begin|s1|m1";
        let taken = "tx-rcpt|s1|m1|ok|b";
        let response = |text: &str| format!("filter-response|s1|{text}");
        let spam = response("commit|reject|550 5.7.1 spam");
        let later = response("commit|reject|451 try again");
        let gone = response("commit|disconnect|421 later");
        let recipient = response("rcpt-to|reject|550 no such user");
        let sender = response("mail-from|reject|550 no");
        let proceed = response("commit|proceed");
        let helo = response("ehlo|reject|550 no");
        let rejected = |stage| vec![(Verdict::Rejected, stage)];
        let deferred = vec![(Verdict::Deferred, Stage::EndOfData)];
        let commit = "tx-commit|s1|m1|9";
        let rollback = "tx-rollback|s1|m1";
        for (events, fates) in [
            (
                vec![begin, taken, &spam, rollback],
                rejected(Stage::EndOfData),
            ),
            (vec![begin, taken, &later, rollback], deferred.clone()),
            (vec![begin, taken, &gone, rollback], deferred),
            (
                vec![begin, taken, &proceed, commit],
                vec![(Verdict::Accepted, Stage::EndOfData)],
            ),
            (vec![begin, &recipient, rollback], rejected(Stage::Rcpt)),
            (vec![begin, &recipient, taken, rollback], vec![]),
            (vec![&sender, &helo], rejected(Stage::Mail)),
        ] {
            assert_eq!(reports(&events), fates, "{events:?}");
        }
    }

    #[test]
    fn older_protocols_have_other_orders() {
        for (version, result_first) in
            [("0.4", false), ("0.5", false), ("0.6", true), ("0.7", true)]
        {
            let recipient = if result_first {
                "permfail|a|b@c"
            } else {
                "a|b@c|permfail"
            };
            let report = |event: &str| format!("report|{version}|1.5|smtp-in|{event}");
            let lines = [
                report("link-connect|s1||error|[2001:db8::1]:4711|[2001:db8::9]:25"),
                report("tx-begin|s1|m1"),
                report(&format!("tx-rcpt|s1|m1|{recipient}")),
                report("tx-rollback|s1|m1"),
                format!("filter|{version}|1.5|smtp-in|data-line|s1|t9|."),
            ];
            let mut fakes = Fakes::default();
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let said = run(&mut fakes, &lines);
            let outcome = &fakes.outcomes()[0];
            let peer = Peer::client("2001:db8::1".parse().expect("one"), 4711)
                .to_server("2001:db8::9".parse().expect("one"), 25);
            assert_eq!((outcome.peer, outcome.verdict), (peer, Verdict::Rejected));
            let end = if version == "0.4" {
                "t9|s1|."
            } else {
                "s1|t9|."
            };
            assert_eq!(said[1], format!("filter-dataline|{end}"));
        }
    }

    #[test]
    fn a_client_of_a_local_socket_is_unknown() {
        let mut fakes = Fakes::default();
        let said = run(
            &mut fakes,
            &[
                "report|0.6|1.5|smtp-in|link-connect|s1|localhost|pass|unix:/run/x|unix:/run/x",
                "filter|0.6|1.5|smtp-in|data-line|s1|t9|.",
            ],
        );
        assert_eq!(
            said,
            [
                "filter-dataline|s1|t9|X-OS-Fingerprint: Unknown",
                "filter-dataline|s1|t9|."
            ]
        );
    }
}
