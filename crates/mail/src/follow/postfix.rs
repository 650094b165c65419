//! Postfix' log: smtpd(8)'s line at the end of a session, which counts commands, and its lines of
//! refusals, which tell whether they were for good. With `smtpd_client_port_logging = yes` both
//! name the connection; without it the address alone. What a milter says at the end of a message is
//! told by cleanup(8), which knows no ports: the message's name in the queue tells whose it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Follow, Told, client, end};
use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::time::Timestamp;

/// Who reports.
const REPORTER: &str = "postfix-log";
/// Sessions with refusals that have not ended, at the same time: many times Postfix' default
/// process limit of 100. Then all are forgotten, which are those of processes that died without a word: what
/// was refused in others counts as for good.
pub const SESSIONS_MAX: usize = 10_000;
/// Messages of one session that are counted: Postfix' own limit of a connection is no higher by
/// default (`smtp_connection_reuse_count_limit` of its own clients is 100).
const MESSAGES_MAX: u32 = 1_000;

/// Reads Postfix' lines. A line that ends a session uses what was told of it before.
#[derive(Debug, Default)]
pub struct PostfixLog {
    /// Sessions of which something was refused, and whether any of it for good.
    refused: BTreeMap<Session, bool>,
    /// The message that a session is at, by its name in the queue, and the other way round.
    at: BTreeMap<Session, String>,
    sessions: BTreeMap<String, Session>,
}

/// The client's end of a session, as far as it is told.
type Session = (IpAddr, Option<u16>);

impl Follow for PostfixLog {
    fn line(&mut self, line: &str, now: Timestamp, outcomes: &mut Vec<Outcome>) {
        let Some((program, text)) = said(line) else {
            return;
        };
        if program == Program::Cleanup {
            if let Some((queue, "END-OF-MESSAGE", peer, for_good)) = refusal(text) {
                let known = self.sessions.get(queue).copied();
                self.refuse(known.unwrap_or((peer.address, peer.port)), for_good);
            }
        } else if let Some(rest) = text.strip_prefix("disconnect from ") {
            outcomes.extend(
                self.disconnected(rest)
                    .into_iter()
                    .flatten()
                    .map(|told| told.outcome(now, REPORTER)),
            );
        } else if let Some((queue, client)) = text.split_once(": client=") {
            self.begin(queue, client);
        } else if let Some((_, _, peer, for_good)) = refusal(text) {
            self.refuse((peer.address, peer.port), for_good);
        }
    }
}

impl PostfixLog {
    /// `QUEUE-ID: client=HOST[ADDRESS]:PORT[, …]`: a message begins.
    fn begin(&mut self, queue: &str, client: &str) {
        let host = client.split_once(", ").map_or(client, |(host, _)| host);
        let Some(peer) = host_end(host).filter(|_| is_queue_id(queue)) else {
            return;
        };
        let key = (peer.address, peer.port);
        self.forget_message(key);
        if self.at.len() >= SESSIONS_MAX {
            self.at.clear();
            self.sessions.clear();
        }
        self.at.insert(key, queue.to_owned());
        self.sessions.insert(queue.to_owned(), key);
    }

    fn forget_message(&mut self, session: Session) {
        if let Some(queue) = self.at.remove(&session) {
            self.sessions.remove(&queue);
        }
    }

    fn refuse(&mut self, key: Session, for_good: bool) {
        if self.refused.len() >= SESSIONS_MAX && !self.refused.contains_key(&key) {
            self.refused.clear();
        }
        *self.refused.entry(key).or_default() |= for_good;
    }

    fn disconnected(&mut self, rest: &str) -> Option<Vec<Told>> {
        let (host, counts) = rest.split_once(' ')?;
        let peer = host_end(host)?;
        let key = (peer.address, peer.port);
        self.forget_message(key);
        let for_good = self.refused.remove(&key);
        let refused = if for_good.unwrap_or(true) {
            Verdict::Rejected
        } else {
            Verdict::Deferred
        };
        let fates = Counts::of(counts).fates(refused);
        let messages = fates.into_iter().flat_map(|(number, verdict, stage)| {
            let told = Told {
                peer,
                verdict,
                stage,
                message: None,
            };
            std::iter::repeat_n(told, usize::try_from(number.min(MESSAGES_MAX)).unwrap_or(0))
        });
        Some(messages.collect())
    }
}

/// Commands of a session: those that were taken, and all.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    taken: u32,
    all: u32,
}

impl Count {
    const fn refused(self) -> u32 {
        self.all.saturating_sub(self.taken)
    }

    /// `N`, or `TAKEN/ALL`.
    fn of(text: &str) -> Option<Self> {
        let (taken, all) = text.split_once('/').unwrap_or((text, text));
        Some(Self {
            taken: taken.parse().ok()?,
            all: all.parse().ok()?,
        })
    }
}

#[derive(Debug, Default)]
struct Counts {
    mail: Count,
    rcpt: Count,
    data: Count,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        for word in text.split(' ') {
            let Some((command, count)) = word.split_once('=') else {
                continue;
            };
            let Some(count) = Count::of(count) else {
                continue;
            };
            match command {
                "mail" => counts.mail = count,
                "rcpt" => counts.rcpt = count,
                // A message in chunks (RFC 3030) has one BDAT at least.
                "data" | "bdat" => {
                    counts.data.taken = counts.data.taken.saturating_add(count.taken);
                    counts.data.all = counts.data.all.saturating_add(count.all);
                }
                _ => {}
            }
        }
        counts
    }

    /// How many messages had which fate. What may as well have been given up by the client is not
    /// counted as refused.
    fn fates(&self, refused: Verdict) -> [(u32, Verdict, Stage); 4] {
        let Self { mail, rcpt, data } = self;
        let accepted = data.taken.min(mail.taken);
        let left = mail.taken - accepted;
        let nobody = mail.taken.saturating_sub(rcpt.taken);
        let at_rcpt = left.min(nobody).min(rcpt.refused());
        let at_data = (left - at_rcpt).min(data.refused());
        [
            (accepted, Verdict::Accepted, Stage::EndOfData),
            (mail.refused(), refused, Stage::Mail),
            (at_rcpt, refused, Stage::Rcpt),
            (at_data, refused, Stage::Data),
        ]
    }
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Smtpd,
    Cleanup,
}

/// What smtpd(8) or cleanup(8) says: behind `… postfix/smtpd[PID]: `, `… postfix/submission/smtpd[PID]: `.
fn said(line: &str) -> Option<(Program, &str)> {
    let (head, text) = line.split_once(": ")?;
    let tag = head.rsplit(' ').next()?;
    let (program, process) = tag.split_once('[')?;
    let process = process.strip_suffix(']')?;
    let program = match program.strip_prefix("postfix")?.rsplit('/').next()? {
        "smtpd" => Program::Smtpd,
        "cleanup" => Program::Cleanup,
        _ => return None,
    };
    let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((program, text))
}

fn is_queue_id(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `QUEUE-ID: [milter-]reject: STAGE from HOST[ADDRESS]:PORT: CODE …`: the message, the stage, whose,
/// and whether for good.
fn refusal(text: &str) -> Option<(&str, &str, Peer, bool)> {
    let (queue, rest) = text.split_once(": ")?;
    if !is_queue_id(queue) {
        return None;
    }
    let rest = rest.strip_prefix("milter-").unwrap_or(rest);
    let (stage, rest) = rest.strip_prefix("reject: ")?.split_once(" from ")?;
    let (host, reply) = rest.split_once(": ")?;
    match reply.as_bytes().first()? {
        b'5' => Some((queue, stage, host_end(host)?, true)),
        b'4' => Some((queue, stage, host_end(host)?, false)),
        _ => None,
    }
}

/// `HOST[ADDRESS]:PORT`; a name has no bracket.
fn host_end(host: &str) -> Option<Peer> {
    let (_, rest) = host.split_at_checked(host.find('[')?)?;
    match end(rest)? {
        (address, port, "") => Some(client(address, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Nov 28 04:00:01 mx postfix/smtpd[77]: ";
    const HOST: &str = "mx.example[192.0.2.1]:4711";

    fn read(lines: &[String]) -> Vec<(Verdict, Stage)> {
        let (mut log, mut outcomes) = (PostfixLog::default(), Vec::new());
        for line in lines {
            log.line(line, Timestamp::default(), &mut outcomes);
        }
        let client = Peer::client([192, 0, 2, 1].into(), 4711);
        assert!(outcomes.iter().all(|outcome| outcome.peer == client));
        let fate = |outcome: &Outcome| (outcome.verdict, outcome.stage.expect("a stage"));
        outcomes.iter().map(fate).collect()
    }

    fn disconnect(counts: &str) -> String {
        format!("{HEAD}disconnect from {HOST} {counts}")
    }

    #[test]
    fn the_end_of_a_session_tells_of_its_messages() {
        let accepted = (Verdict::Accepted, Stage::EndOfData);
        let at = |stage| (Verdict::Rejected, stage);
        for (counts, fates) in [
            (
                "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
                vec![accepted],
            ),
            (
                "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4",
                vec![at(Stage::Rcpt)],
            ),
            (
                "ehlo=1 mail=1 rcpt=0/1 data=0/1 rset=1",
                vec![at(Stage::Rcpt)],
            ),
            (
                "ehlo=1 mail=1 rcpt=1 data=0/1 quit=1 commands=4/5",
                vec![at(Stage::Data)],
            ),
            ("ehlo=1 mail=0/1 quit=1", vec![at(Stage::Mail)]),
            (
                "ehlo=1 mail=2 rcpt=2/3 data=2 quit=1",
                vec![accepted, accepted],
            ),
            (
                "ehlo=1 mail=2 rcpt=1/2 data=1 quit=1",
                vec![accepted, at(Stage::Rcpt)],
            ),
            ("ehlo=1 mail=1 rcpt=1 bdat=3 quit=1", vec![accepted]),
            // The client gave up.
            ("ehlo=1 mail=1 rcpt=1 quit=1", vec![]),
            ("ehlo=1 quit=1", vec![]),
        ] {
            assert_eq!(read(&[disconnect(counts)]), fates, "{counts}");
        }
    }

    #[test]
    fn what_was_refused_for_now_is_deferred() {
        let reject = |code: &str| {
            format!(
                "{HEAD}NOQUEUE: reject: RCPT from {HOST}: {code} <b@c>: no; from=<a> to=<b@c> \
                 proto=ESMTP helo=<x>"
            )
        };
        let end = disconnect("ehlo=1 mail=1 rcpt=0/2 quit=1");
        let fate = |verdict| vec![(verdict, Stage::Rcpt)];
        let read = |codes: &[&str]| {
            let mut lines: Vec<_> = codes.iter().map(|code| reject(code)).collect();
            lines.push(end.clone());
            read(&lines)
        };
        assert_eq!(read(&["450 4.7.1", "450 4.7.1"]), fate(Verdict::Deferred));
        assert_eq!(read(&["450 4.7.1", "550 5.1.1"]), fate(Verdict::Rejected));
        assert_eq!(read(&[]), fate(Verdict::Rejected));
    }

    #[test]
    fn what_a_milter_refuses_for_now_at_the_end_of_a_message_is_deferred() {
        let begin = |queue: &str| format!("{HEAD}{queue}: client={HOST}, sasl_method=PLAIN");
        let cleanup = |queue: &str, code: &str| {
            format!(
                "Nov 28 04:00:01 mx postfix/cleanup[78]: {queue}: milter-reject: END-OF-MESSAGE from \
                 mx.example[192.0.2.1]: {code} no; from=<a> to=<b@c> proto=ESMTP helo=<x>"
            )
        };
        let end = disconnect("ehlo=1 mail=1 rcpt=1 data=0/1 quit=1");
        let fate = |lines: &[String]| {
            let lines = [lines, std::slice::from_ref(&end)].concat();
            read(&lines).first().map(|(verdict, _)| *verdict)
        };
        let now = cleanup("4XyZ", "4.7.1");
        assert_eq!(fate(&[begin("4XyZ"), now.clone()]), Some(Verdict::Deferred));
        assert_eq!(
            fate(&[begin("4XyZ"), cleanup("4XyZ", "5.7.1")]),
            Some(Verdict::Rejected)
        );
        // The next message of the session, and another's.
        assert_eq!(
            fate(&[begin("4XyZ"), begin("5XyZ"), now.clone()]),
            Some(Verdict::Rejected)
        );
        assert_eq!(fate(&[now]), Some(Verdict::Rejected));
        // Of a header that a client wrote: no end of a message.
        let header = cleanup("4XyZ", "4.7.1").replace("END-OF-MESSAGE", "header Subject: x");
        assert_eq!(fate(&[begin("4XyZ"), header]), Some(Verdict::Rejected));
    }

    #[test]
    fn what_a_client_says_is_not_believed() {
        let mut log = PostfixLog::default();
        let mut outcomes = Vec::new();
        let forged = format!("disconnect from {HOST} mail=1 rcpt=1 data=1");
        for line in [
            format!("{HEAD}NOQUEUE: reject: RCPT from x[198.51.100.7]:1: 550 helo=<{forged}>"),
            format!("{HEAD}warning: non-SMTP command from x[198.51.100.7]:1: {HEAD}{forged}"),
            format!("Nov 28 04:00:01 mx other[77]: {HEAD}{forged}"),
            format!("Nov 28 04:00:01 mx postfix/cleanup[77]: {forged}"),
            format!("{HEAD}disconnect from x[{HOST}]:1 mail=1 rcpt=1 data=1"),
        ] {
            log.line(&line, Timestamp::default(), &mut outcomes);
        }
        assert_eq!(outcomes, []);
    }

    #[test]
    fn sessions_that_never_end_are_bounded_and_counts_too() {
        let mut log = PostfixLog::default();
        let last = u16::try_from(SESSIONS_MAX).expect("fits") + 9;
        for port in 1..=last {
            log.refuse(([192, 0, 2, 1].into(), Some(port)), false);
            log.begin(&format!("Q{port}"), &format!("x[192.0.2.1]:{port}"));
            let held = [log.refused.len(), log.at.len(), log.sessions.len()];
            assert!(held.iter().all(|held| *held <= SESSIONS_MAX), "{held:?}");
        }
        // Those that never ended do not take the place of new ones.
        let end = format!("x[192.0.2.1]:{last} ehlo=1 mail=1 rcpt=0/1 quit=1");
        let told = log.disconnected(&end).expect("it tells");
        assert_eq!(told[0].verdict, Verdict::Deferred);
        let many = "mail=4294967295 rcpt=4294967295 data=4294967295";
        let told = read(&[disconnect(many)]);
        assert_eq!(told.len(), usize::try_from(MESSAGES_MAX).expect("fits"));
    }
}
