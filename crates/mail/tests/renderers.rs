//! What an attacker may choose, or whoever writes to a shared database, goes through everything
//! that writes text: no control character, no markup, no field or header of his own comes out.

use mail::amavis::{self, Style};
use mail::answer::{Answer, Basis, Confidence, Label, LookUp, Os};
use mail::connection::Peer;
use mail::milter::{MilterOptions, MilterSession};
use mail::opensmtpd::{Filter, FilterOptions};
use mail::outcome::{Outcome, OutcomeSink};
use mail::p0f_api::P0fSession;
use mail::policy::PolicySession;
use mail::session::{Session, World};
use mail::statistics::{Counts, Grouping, Report, System, Tally, export, render};
use mail::text::TextSession;
use mail::time::Timestamp;
use mail::{http, json};

const HOSTILE: [&str; 7] = [
    "\u{1b}[31mred\u{7}\u{8}",
    "a|b|filter-result|x|proceed",
    "x\r\nX-Evil: 1\r\n\r\nbody",
    "<script>alert(1)</script>&amp;",
    "\u{9b}31m\u{202e}\u{2028}\u{0}\u{7f}",
    "\",\"os\":\"Linux\"}\\",
    "=HYPERLINK(\"http://x\")",
];

/// Knows every client as what the text says.
struct Hostile(&'static str);

impl LookUp for Hostile {
    fn look_up(&mut self, _: &Peer, _: Timestamp) -> Option<Answer> {
        Some(answer(self.0))
    }
}

fn answer(text: &str) -> Answer {
    let word = || text.to_owned();
    Answer {
        os: Some(Os {
            label: Label {
                class: word(),
                name: word(),
                flavor: word(),
            },
            confidence: Confidence::Exact,
            fuzzy: false,
            generic: false,
        }),
        link: Some(word()),
        distance: Some(9),
        ..Answer::nothing(Basis::Connection)
    }
}

#[derive(Default)]
struct Told(Vec<Outcome>);

impl OutcomeSink for Told {
    fn record(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }
}

/// What comes out of `ask`, and what is recorded meanwhile.
fn with_world<T>(text: &'static str, ask: impl FnOnce(&mut World<'_>) -> T) -> (T, Vec<Outcome>) {
    let (mut lookup, mut told) = (Hostile(text), Told::default());
    let result = ask(&mut World {
        lookup: &mut lookup,
        outcomes: &mut told,
        now: Timestamp::from_secs(1_700_000_000),
    });
    (result, told.0)
}

/// What `session` says to `input`.
fn said(session: &mut dyn Session, text: &'static str, input: &[u8]) -> (Vec<u8>, Vec<Outcome>) {
    let mut output = Vec::new();
    let ((), outcomes) = with_world(text, |world| {
        session.input(input, &mut output, world);
    });
    (output, outcomes)
}

/// One line of printable ASCII in which nothing begins that is not ours.
fn assert_plain(text: &str, what: &str) {
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    assert!(text.chars().all(plain), "{what}: {text:?}");
    assert!(!text.contains("<script"), "{what}: {text}");
}

/// An id is a key of the database and shown nowhere.
fn assert_id(id: &str) {
    assert!(id.chars().all(|c| c.is_ascii_graphic()), "{id:?}");
}

fn assert_lines(text: &str, lines: usize, what: &str) {
    for line in text.lines() {
        assert_plain(line, what);
        assert!(!line.starts_with("X-Evil"), "{what}: {text}");
    }
    assert_eq!(text.lines().count(), lines, "{what}: {text}");
}

#[test]
fn answers_of_every_protocol() {
    for text in HOSTILE {
        let known = answer(text);
        assert_plain(&known.os_text(), "os");
        assert_plain(&known.header_text(), "header");
        assert!(!known.header_text().contains('|'));
        let peer = Peer::address([192, 0, 2, 1].into());
        let json = json::text(&peer, Some(&known));
        assert_plain(&json, "json");
        let object: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(object["name"], text, "JSON keeps what was said");
        for question in ["os 192.0.2.1\n", "header 192.0.2.1\n", "json 192.0.2.1\n"] {
            let (out, _) = said(&mut TextSession::default(), text, question.as_bytes());
            assert_plain(&String::from_utf8(out).expect("text"), question);
        }
        let question = b"client_address=192.0.2.1\n\n";
        let (out, _) = said(&mut PolicySession::default(), text, question);
        assert_lines(&String::from_utf8(out).expect("text"), 2, "policy");
        for style in [Style::Two, Style::Three] {
            let question = b"[192.0.2.1]:4711 nonce";
            let source = "127.0.0.1:4000".parse().expect("an address");
            let (out, _) = with_world(text, |world| {
                amavis::respond(question, source, style, world).expect("an answer")
            });
            assert_lines(&String::from_utf8(out).expect("text"), 1, "amavis");
        }
        let mut question = 0x5030_4601_u32.to_ne_bytes().to_vec();
        question.extend([4, 192, 0, 2, 1]);
        question.resize(21, 0);
        let (out, _) = said(&mut P0fSession::default(), text, &question);
        for field in [40, 72, 168] {
            let name = out[field..field + 32].split(|byte| *byte == 0).next();
            let name = std::str::from_utf8(name.expect("one")).expect("text");
            assert_plain(name, "p0f");
        }
    }
}

/// A frame of a milter: length, command, data.
fn frame(command: u8, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len() + 1).expect("short");
    let mut frame = len.to_be_bytes().to_vec();
    frame.push(command);
    frame.extend(data);
    frame
}

#[test]
fn headers_of_milter_and_filter_with_helo_and_rdns_of_an_attacker() {
    for text in HOSTILE {
        let mut session = MilterSession::new(MilterOptions { outcomes: true });
        let mut connect = text.replace('\0', "").into_bytes();
        connect.extend(b"\x004\x12\x67192.0.2.1\0");
        let mut id = b"Ei\0".to_vec();
        id.extend(text.replace('\0', "").bytes());
        id.push(0);
        let mut helo = text.replace('\0', "").into_bytes();
        helo.push(0);
        let frames = [
            frame(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff]),
            frame(b'C', &connect),
            frame(b'H', &helo),
            frame(b'M', b"<a@example.org>\0"),
            frame(b'R', b"<b@example.org>\0"),
            frame(b'D', &id),
            frame(b'E', b""),
        ];
        let (out, outcomes) = said(&mut session, text, &frames.concat());
        let header = b"X-OS-Fingerprint\0";
        let at = out
            .windows(header.len())
            .position(|window| window == header);
        let value = &out[at.expect("a header") + header.len()..];
        let value = value.split(|byte| *byte == 0).next().expect("a value");
        assert_plain(std::str::from_utf8(value).expect("text"), "milter");
        for id in outcomes
            .iter()
            .filter_map(|outcome| outcome.message.as_deref())
        {
            assert_id(id);
        }

        let mut filter = Filter::new(FilterOptions { header: true });
        let one_line: String = text.chars().filter(|c| !"\r\n".contains(*c)).collect();
        let lines = [
            format!(
                "report|0.7|1.0|smtp-in|link-connect|s1|{one_line}|pass|192.0.2.1:4711|192.0.2.9:25"
            ),
            format!("report|0.7|1.1|smtp-in|link-identify|s1|EHLO|{one_line}"),
            "report|0.7|1.2|smtp-in|tx-begin|s1|m1".to_owned(),
            "filter|0.7|1.3|smtp-in|data-line|s1|t1|Subject: x".to_owned(),
        ];
        let mut out = String::new();
        let ((), _) = with_world(text, |world| {
            for line in &lines {
                filter.line(line, &mut out, world);
            }
        });
        assert_lines(&out, 2, "filter");
        assert!(
            out.starts_with("filter-dataline|s1|t1|X-OS-Fingerprint: "),
            "{out}"
        );
        assert_eq!(out.lines().next().expect("one").matches('|').count(), 3);
    }
}

#[test]
fn ids_of_messages() {
    for text in HOSTILE {
        let body = serde_json::json!({"verdict": "reject", "address": "192.0.2.1", "id": text});
        let told = http::outcome(body.to_string().as_bytes(), Timestamp::default());
        if let Some(id) = told.expect("it reads").message {
            assert_id(&id);
        }
        let line = format!(
            "outcome reject rcpt 192.0.2.1 1 {}\n",
            text.replace([' ', '\r', '\n'], "")
        );
        let (_, outcomes) = said(&mut TextSession::default(), text, line.as_bytes());
        for id in outcomes
            .iter()
            .filter_map(|outcome| outcome.message.as_deref())
        {
            assert_id(id);
        }
    }
}

fn report(text: &str, grouping: &Grouping) -> Report {
    let counts = |accepted, rejected| Counts {
        accepted,
        rejected,
        deferred: 1,
    };
    let system = |name: &str| System {
        name: name.to_owned(),
        flavor: name.to_owned(),
    };
    let mut tally = Tally::default();
    tally.add(system("Linux"), counts(10_000, 10));
    tally.add(system(text), counts(10, 10_000));
    tally.report(grouping)
}

#[test]
fn reports_in_every_form() {
    for text in HOSTILE {
        for grouping in [Grouping::Family, Grouping::Version { family: None }] {
            let report = report(text, &grouping);
            assert_lines(&render::table(&report), 7, "table");
            assert_lines(&render::csv(&report), 3, "csv");
            let formula = |line: &str| line.starts_with(['=', '+', '-', '@']);
            assert!(!render::csv(&report).lines().any(formula));
            assert_plain(&json::line(&render::json(&report)), "json");
            let svg = render::svg(&report);
            assert_lines(&svg, svg.lines().count(), "svg");
            assert_eq!(svg.matches('<').count(), svg.matches('>').count());
            let rules = export::spamassassin(&report);
            assert_lines(&rules, rules.lines().count(), "spamassassin");
            assert_eq!(rules.matches("\nscore ").count(), 2, "{rules}");
            for (_, rules) in export::rspamd(&report) {
                assert_lines(&rules, rules.lines().count(), "rspamd");
                assert_eq!(rules.matches("WB_OS_").count(), 2, "{rules}");
            }
        }
    }
}
