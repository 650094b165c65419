//! Exim's main log or reject log (the specification, "Log files"), with
//! `log_selector = +incoming_port`, better `+incoming_interface` too.

use std::net::SocketAddr;

use super::{Follow, Told, client, end, with_server};
use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::text::{message_id, reported};
use crate::time::Timestamp;

/// Who reports.
const REPORTER: &str = "exim-log";
/// How the ACLs' lines begin; the rest is as the text socket takes it.
const UNTOLD: &str = "weighbridge untold outcome ";

/// Reads Exim's lines, each by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct EximLog;

impl Follow for EximLog {
    fn line(&mut self, line: &str, now: Timestamp, outcomes: &mut Vec<Outcome>) {
        outcomes.extend(told(line).map(|told| told.outcome(now, REPORTER)));
    }
}

/// Reads the lines alone that the ACLs of `contrib/exim` write of outcomes that nobody took.
#[derive(Clone, Copy, Debug, Default)]
pub struct EximUntold;

impl Follow for EximUntold {
    fn line(&mut self, line: &str, now: Timestamp, outcomes: &mut Vec<Outcome>) {
        outcomes.extend(untold(line, now));
    }
}

fn untold(line: &str, now: Timestamp) -> Option<Outcome> {
    let (_, rest) = begun(line)?;
    let rest = rest.strip_prefix(UNTOLD)?;
    reported(rest.split_ascii_whitespace(), now, REPORTER).ok()
}

/// What follows the time, and the message that it is about.
fn begun(line: &str) -> Option<(Option<String>, &str)> {
    let rest = without_time(line)?;
    match rest.split_once(' ') {
        Some((word, behind)) if is_message(word) => Some((Some(message_id(word)), behind)),
        _ => Some((None, rest)),
    }
}

fn told(line: &str) -> Option<Told> {
    let (message, rest) = begun(line)?;
    if let Some(rest) = rest.strip_prefix("<= ") {
        let (peer, _) = host(behind_sender(rest)?)?;
        return Some(Told {
            peer,
            verdict: Verdict::Accepted,
            stage: Stage::EndOfData,
            message,
        });
    }
    let (peer, rest) = host(rest)?;
    let (verdict, stage) = refusal(rest)?;
    Some(Told {
        peer,
        verdict,
        stage,
        message,
    })
}

/// What follows `YYYY-MM-DD hh:mm:ss`, a zone (`+zone`) and a process (`+pid`).
fn without_time(line: &str) -> Option<&str> {
    let (date, rest) = line.split_once(' ')?;
    let (time, mut rest) = rest.split_once(' ')?;
    // In rejectlog the headers of a message follow, whose folded lines begin with blanks.
    let time = time.split('.').next()?;
    if !(has_form(date, "0000-00-00") && has_form(time, "00:00:00")) {
        return None;
    }
    for opening in ["+", "-", "["] {
        if rest.starts_with(opening) {
            rest = rest.split_once(' ')?.1;
        }
    }
    Some(rest)
}

/// A digit where `form` has one, and all else the same.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(c, wanted): (u8, u8)| {
        if wanted == b'0' {
            c.is_ascii_digit()
        } else {
            c == wanted
        }
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// `1r9Abc-0001aB-2C`, and the longer form of Exim 4.97.
fn is_message(word: &str) -> bool {
    let mut lengths = word.split('-').map(str::len);
    let alphanumeric = |c: char| c.is_ascii_alphanumeric() || c == '-';
    word.chars().all(alphanumeric)
        && matches!(
            (
                lengths.next(),
                lengths.next(),
                lengths.next(),
                lengths.next()
            ),
            (Some(6), Some(6), Some(2), None) | (Some(6), Some(11), Some(4), None)
        )
}

/// What follows a sender, whose quoted local part may hold anything, and `R=ID`.
fn behind_sender(rest: &str) -> Option<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let finish = rest.find(|c| {
        let here = !escaped;
        escaped = c == '\\' && here && quoted;
        quoted ^= c == '"' && here;
        c == ' ' && !quoted
    })?;
    let rest = rest.get(finish..)?.strip_prefix(' ')?;
    match rest.strip_prefix("R=") {
        Some(rest) => Some(rest.split_once(' ')?.1),
        None => Some(rest),
    }
}

/// `H=[NAME] [(HELO)] [ADDRESS]:PORT [I=[ADDRESS]:PORT]`, and what follows.
///
/// A HELO name may be anything where `helo_accept_junk_hosts` is set, so it may hold what looks like
/// the rest of the line. Exim's own `) [ADDRESS]` comes behind it: when there are two, nothing is
/// certain. What only begins like one, in a sender for example, is none.
fn host(text: &str) -> Option<(Peer, &str)> {
    let text = text.strip_prefix("H=")?;
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let text = text.trim_start_matches(in_name);
    let text = text.strip_prefix(' ').unwrap_or(text);
    let text = match text.strip_prefix('(') {
        None => text,
        Some(helo) => {
            let found = helo.match_indices(") [");
            let mut ends = found.filter_map(|(at, _)| {
                let rest = helo.get(at..)?.strip_prefix(") ")?;
                end(rest).map(|_| rest)
            });
            let own = ends.next()?;
            if ends.next().is_some() {
                return None;
            }
            own
        }
    };
    let (address, port, rest) = end(text)?;
    let peer = client(address, port);
    let server = rest.strip_prefix(" I=").and_then(end);
    match server {
        Some((address, Some(port), rest)) if peer.port.is_some() => Some((
            with_server(peer, Some(SocketAddr::new(address, port))),
            rest,
        )),
        _ => Some((peer, rest)),
    }
}

/// `… F=<SENDER> [temporarily ]rejected WHAT`.
fn refusal(rest: &str) -> Option<(Verdict, Stage)> {
    let rest = match rest.split_once(" F=<") {
        Some((_, sender)) => behind_sender(sender)?,
        None => rest.trim_start(),
    };
    let at = rest.find("rejected ")?;
    let (before, rest) = rest.split_at_checked(at)?;
    let verdict = if before.ends_with("temporarily ") {
        Verdict::Deferred
    } else {
        Verdict::Rejected
    };
    let what = rest.strip_prefix("rejected ")?;
    let stages = [
        ("RCPT", Stage::Rcpt),
        ("after DATA", Stage::EndOfData),
        ("during MIME", Stage::EndOfData),
        ("MAIL", Stage::Mail),
        ("EHLO", Stage::Helo),
        ("HELO", Stage::Helo),
        ("connection", Stage::Connect),
        ("DATA", Stage::Data),
    ];
    let stage = stages.iter().find(|(word, _)| what.starts_with(word))?.1;
    Some((verdict, stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_or_a_header_is_not_taken_for_the_servers_words() {
        let begin = "2026-11-28 04:22:59 H=(x) [192.0.2.1]:4711";
        let sender = r#"F=<"x> temporarily rejected RCPT <y"@d.example>"#;
        let found = told(&format!("{begin} {sender} rejected RCPT <a@b.example>: no"));
        assert_eq!(found.map(|told| told.verdict), Some(Verdict::Rejected));
        for folded in ["  ", "\t ", "2026 04 ", "- : "] {
            let forged = format!("{folded}H=(x) [198.51.100.7]:25 rejected RCPT <x@y.example>: no");
            assert!(told(&forged).is_none(), "{forged}");
        }
    }

    fn peer() -> Peer {
        Peer::client([192, 0, 2, 1].into(), 4711).to_server([192, 0, 2, 9].into(), 25)
    }

    #[test]
    fn lines_tell_what_became_of_messages() {
        let from = "H=mx.example (helo.example) [192.0.2.1]:4711 I=[192.0.2.9]:25";
        for (line, verdict, stage, message) in [
            (
                format!("1r9Abc-0001aB-2C <= a@b.example {from} P=esmtp S=9"),
                Verdict::Accepted,
                Stage::EndOfData,
                Some("1r9Abc-0001aB-2C"),
            ),
            (
                format!("{from} F=<a@b.example> rejected RCPT <x@y.example>: no"),
                Verdict::Rejected,
                Stage::Rcpt,
                None,
            ),
            (
                format!("{from} X=TLS1.3 F=<> temporarily rejected RCPT <x@y.example>: later"),
                Verdict::Deferred,
                Stage::Rcpt,
                None,
            ),
            (
                format!("1r9Abc-0001aB-2C {from} F=<a@b.example> rejected after DATA: spam"),
                Verdict::Rejected,
                Stage::EndOfData,
                Some("1r9Abc-0001aB-2C"),
            ),
            (
                format!("{from} rejected EHLO or HELO helo.example: no"),
                Verdict::Rejected,
                Stage::Helo,
                None,
            ),
        ] {
            for time in ["2026-11-28 04:00:01", "2026-11-28 04:00:01.123 +0000 [77]"] {
                let expected = Told {
                    peer: peer(),
                    verdict,
                    stage,
                    message: message.map(str::to_owned),
                };
                assert_eq!(told(&format!("{time} {line}")), Some(expected), "{line}");
            }
        }
    }

    #[test]
    fn what_the_acls_could_not_tell_is_read_and_nothing_else() {
        let now = Timestamp::from_secs(1_700_000_000);
        let read = |line: &str| untold(&format!("2026-11-28 04:00:01 {line}"), now);
        let told = "weighbridge untold outcome reject rcpt 192.0.2.1 4711 179-4711-1";
        for line in [told.to_owned(), format!("1r9Abc-0001aB-2C {told}")] {
            let known = read(&line).expect("it tells");
            assert_eq!(known.peer, Peer::client([192, 0, 2, 1].into(), 4711));
            assert_eq!(known.verdict, Verdict::Rejected);
            assert_eq!(known.stage, Some(Stage::Rcpt));
            assert_eq!(known.message.as_deref(), Some("179-4711-1"));
            assert_eq!(super::told(&format!("2026-11-28 04:00:01 {line}")), None);
        }
        for line in [
            format!("H=(x) [192.0.2.9]:1 F=<a@b> rejected RCPT <c@d>: {told}"),
            format!("{told} more"),
            "weighbridge untold outcome refuse rcpt 192.0.2.1 4711 1".to_owned(),
            "1r9Abc-0001aB-2C <= a@b.example H=x [192.0.2.1]:4711 P=esmtp S=9".to_owned(),
        ] {
            assert_eq!(read(&line), None, "{line}");
        }
        assert_eq!(untold(told, now), None);
    }

    #[test]
    fn less_is_told_without_the_selectors() {
        let line = "2026-11-28 04:00:01 H=[2001:db8::7] F=<a@b> rejected RCPT <x@y>: no";
        let known = told(line).expect("it tells").peer;
        assert_eq!(known, Peer::address("2001:db8::7".parse().expect("one")));
    }

    #[test]
    fn what_a_client_says_is_not_believed() {
        let true_end = "[192.0.2.1]:4711 I=[192.0.2.9]:25";
        for line in [
            format!(
                "H=(x) [198.51.100.7]:1 F=<a> rejected RCPT <b>: () {true_end} rejected RCPT <b>"
            ),
            format!("H=(x) [198.51.100.7]:1) {true_end} F=<a> rejected RCPT <b>: no"),
            "nothing rejected RCPT H=(x) [198.51.100.7]:1".to_owned(),
            "1r9Abc-0001aB-2C <= <> R=1r9Abc-0001aB-2C U=Debian-exim P=local S=9".to_owned(),
            "1r9Abc-0001aB-2C => b@c.example R=x T=y H=mx [198.51.100.7]:25".to_owned(),
        ] {
            assert_eq!(told(&format!("2026-11-28 04:00:01 {line}")), None, "{line}");
        }
        let sender = r#"<"a) [b"@c.example>"#;
        let line = format!("H=(x) {true_end} F={sender} rejected RCPT <b>: () [no");
        let line = format!("2026-11-28 04:00:01 {line}");
        assert_eq!(told(&line).expect("it tells").peer, peer());
        let sender = r#""a H=[198.51.100.7]:1 \" b"@c.example"#;
        let line =
            format!("2026-11-28 04:00:01 1r9Abc-0001aB-2C <= {sender} H=(x) {true_end} P=smtp");
        assert_eq!(told(&line).expect("it tells").peer, peer());
    }

    #[test]
    fn broken_lines_tell_nothing() {
        let whole = "2026-11-28 04:00:01 1r9Abc-0001aB-2C <= a@b H=(x) [192.0.2.1]:4711";
        for length in 0..whole.len() - 7 {
            assert_eq!(told(&whole[..length]), None, "{length}");
        }
        assert_eq!(
            told("2026-11-28 04:00:01 H=(\u{fc}) [192.0.2.1]:99999 rejected RCPT"),
            None
        );
    }
}
