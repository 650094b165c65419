//! What was found out, as lines: p0f's log, one for people, JSON.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mail::answer::{Label, UNKNOWN, plain};
use mail::store::{End, Event, Handshake, Hits, Reasons, What};
use mail::time::Timestamp;
use pf_engine::osfp::features::Kind;
use serde_json::{Map, Value, json};

use crate::pfctl::show::time::{civil, hours};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// What p0f calls what it does not know.
const NOT_KNOWN: &str = "???";

/// The line of p0f's log (its option `-o`), without a newline; none where p0f has no such. Times
/// are UTC.
pub(super) fn p0f_line(at: Timestamp, event: &Event) -> Option<String> {
    let (module, fields) = p0f_fields(event)?;
    let subject = match event.about {
        End::Client => "cli",
        End::Server => "srv",
    };
    let mut line = format!(
        "[{}] mod={module}|cli={}|srv={}|subj={subject}",
        moment(at, '/'),
        p0f_end(event.connection.client),
        p0f_end(event.connection.server),
    );
    for (name, value) in fields {
        let _ = write!(line, "|{name}={value}");
    }
    Some(line)
}

type Fields = Vec<(&'static str, String)>;

fn p0f_fields(event: &Event) -> Option<(&'static str, Fields)> {
    Some(match &event.what {
        What::Handshake(handshake) => (p0f_module(handshake), p0f_handshake(handshake)),
        What::Link { link, mtu } => {
            let link = plain(link.as_deref().unwrap_or(NOT_KNOWN));
            let fields = vec![("link", link.into_owned()), ("raw_mtu", mtu.to_string())];
            ("mtu", fields)
        }
        What::Uptime(uptime, rate) => {
            let up = uptime.minutes;
            let text = format!(
                "{} days {} hrs {} min (modulo {} days)",
                up / 60 / 24,
                up / 60 % 24,
                up % 60,
                uptime.modulo_days
            );
            (
                "uptime",
                vec![("uptime", text), ("raw_freq", format!("{rate:.2} Hz"))],
            )
        }
        What::Changed(reasons, hits) => ("host change", p0f_hits(*reasons, *hits)),
        What::Shared(reasons, hits) => ("ip sharing", p0f_hits(*reasons, *hits)),
        What::RoundTrip(_) => return None,
    })
}

fn p0f_module(handshake: &Handshake) -> &'static str {
    match (handshake.kind, handshake.probe) {
        (Kind::Syn, false) => "syn",
        (Kind::SynAck, false) => "syn+ack",
        (Kind::Syn, true) => "sendsyn probe",
        (Kind::SynAck, true) => "sendsyn response",
    }
}

fn p0f_handshake(handshake: &Handshake) -> Fields {
    let program = handshake.label.is_some() && (handshake.is_of_program() || handshake.probe);
    let label = handshake.label.as_ref();
    let most = if handshake.random_ttl { "<= " } else { "" };
    vec![
        (
            if program { "app" } else { "os" },
            label.map_or_else(|| NOT_KNOWN.to_owned(), ToString::to_string),
        ),
        ("dist", format!("{most}{}", handshake.distance)),
        ("params", handshake.parameters()),
        ("raw_sig", handshake.raw_signature.to_string()),
    ]
}

fn p0f_hits(reasons: Reasons, hits: Hits) -> Fields {
    let hits = hits.map(|hits| hits.to_string()).join(",");
    vec![("reason", reasons.to_string()), ("raw_hits", hits)]
}

/// `address/port`; p0f writes all eight groups of an IPv6 address.
fn p0f_end(end: SocketAddr) -> String {
    let address = match end.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address
            .segments()
            .map(|group| format!("{group:x}"))
            .join(":"),
    };
    format!("{address}/{}", end.port())
}

/// `2026-11-28 08:05:00`, UTC.
pub(in crate::mail) fn moment(at: Timestamp, between: char) -> String {
    let seconds = at.as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let time = hours(Duration::from_secs(seconds % DAY));
    format!("{year:04}{between}{:02}{between}{day:02} {time}", month + 1)
}

/// For people.
pub(super) fn line(at: Timestamp, event: &Event) -> String {
    let (client, server) = (event.connection.client, event.connection.server);
    let who = match event.about {
        End::Client => client.ip(),
        End::Server => server.ip(),
    };
    let what = match &event.what {
        What::Handshake(handshake) => {
            let name = p0f_module(handshake);
            return format!(
                "{} {client} > {server} {name}: {}",
                moment(at, '-'),
                described(handshake)
            );
        }
        What::Link { link, mtu } => {
            let link = plain(link.as_deref().unwrap_or("unknown"));
            format!("link: {link} (MTU {mtu})")
        }
        What::Uptime(uptime, rate) => format!(
            "up for {} minutes, modulo {} days ({rate:.2} Hz)",
            uptime.minutes, uptime.modulo_days
        ),
        What::Changed(reasons, _) => format!("is another host than before: {reasons}"),
        What::Shared(reasons, _) => format!("is shared by several hosts: {reasons}"),
        What::RoundTrip(time) => format!("round trip: {:.1} ms", time.as_secs_f64() * 1000.0),
    };
    format!("{} {client} > {server}   {who} {what}", moment(at, '-'))
}

fn described(handshake: &Handshake) -> String {
    let mut details = Vec::new();
    if let Some(confidence) = handshake.confidence {
        details.push(confidence.name().to_owned());
    }
    let most = if handshake.random_ttl { "at most " } else { "" };
    details.push(format!("distance {most}{}", handshake.distance));
    format!(
        "{} ({}) {}",
        os_text(handshake.label.as_deref()),
        details.join(", "),
        handshake.raw_signature
    )
}

fn os_text(label: Option<&Label>) -> String {
    label.map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
}

/// One JSON object.
pub(super) fn json(at: Timestamp, event: &Event) -> String {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("time_us", json!(at.as_micros()));
    put("client", json!(event.connection.client.ip()));
    put("client_port", json!(event.connection.client.port()));
    put("server", json!(event.connection.server.ip()));
    put("server_port", json!(event.connection.server.port()));
    put(
        "about",
        json!(if event.about == End::Client {
            "client"
        } else {
            "server"
        }),
    );
    for (name, value) in json_fields(&event.what) {
        put(name, value);
    }
    mail::json::line(&Value::Object(object))
}

fn json_fields(what: &What) -> Vec<(&'static str, Value)> {
    let hits = |name, reasons: Reasons, hits: Hits| {
        let reasons: Vec<_> = reasons.names().collect();
        vec![
            ("event", json!(name)),
            ("reasons", json!(reasons)),
            ("hits", json!(hits)),
        ]
    };
    match what {
        What::Handshake(handshake) => json_handshake(handshake),
        What::Link { link, mtu } => vec![
            ("event", json!("mtu")),
            ("link", json!(link.as_deref())),
            ("mtu", json!(mtu)),
        ],
        What::Uptime(uptime, rate) => vec![
            ("event", json!("uptime")),
            ("uptime_minutes", json!(uptime.minutes)),
            ("uptime_modulo_days", json!(uptime.modulo_days)),
            ("clock_hz", json!(rate)),
        ],
        What::Changed(reasons, found) => hits("host change", *reasons, *found),
        What::Shared(reasons, found) => hits("ip sharing", *reasons, *found),
        What::RoundTrip(time) => vec![
            ("event", json!("round trip")),
            (
                "rtt_us",
                json!(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            ),
        ],
    }
}

fn json_handshake(handshake: &Handshake) -> Vec<(&'static str, Value)> {
    let label = handshake.label.as_deref();
    vec![
        ("event", json!(p0f_module(handshake))),
        ("os", json!(os_text(label))),
        ("class", json!(label.map(|label| &label.class))),
        ("name", json!(label.map(|label| &label.name))),
        ("flavor", json!(label.map(|label| &label.flavor))),
        (
            "confidence",
            json!(handshake.confidence.map(mail::answer::Confidence::name)),
        ),
        ("distance", json!(handshake.distance)),
        ("random_ttl", json!(handshake.random_ttl)),
        ("params", json!(handshake.parameters())),
        ("raw_signature", json!(handshake.raw_signature.as_ref())),
    ]
}

#[cfg(test)]
mod tests {
    use mail::answer::Uptime;
    use mail::connection::Connection;

    use super::*;

    fn event(what: What) -> Event {
        Event {
            connection: Connection {
                client: "192.0.2.1:4711".parse().expect("an address"),
                server: "[2001:db8::9]:25".parse().expect("an address"),
            },
            about: End::Client,
            what,
        }
    }

    fn syn() -> Handshake {
        Handshake {
            kind: Kind::Syn,
            probe: false,
            label: Some(std::sync::Arc::new(Label {
                class: "unix".to_owned(),
                name: "Linux".to_owned(),
                flavor: "3.x".to_owned(),
            })),
            confidence: Some(mail::answer::Confidence::Similar),
            generic: true,
            fuzzy: true,
            random_ttl: false,
            distance: 40,
            dscp: 0x2e,
            raw_signature: "4:24+?:0:1460:1,7:mss:df:0".into(),
        }
    }

    fn at() -> Timestamp {
        Timestamp::from_secs(1_700_000_000)
    }

    #[test]
    fn a_handshake_in_p0f_s_log_and_for_people() {
        let told = event(What::Handshake(syn()));
        assert_eq!(
            p0f_line(at(), &told).as_deref(),
            Some(
                "[2023/11/14 22:13:20] mod=syn|cli=192.0.2.1/4711|srv=2001:db8:0:0:0:0:0:9/25|\
                 subj=cli|os=Linux 3.x|dist=40|params=generic fuzzy excess_dist tos:0x2e|\
                 raw_sig=4:24+?:0:1460:1,7:mss:df:0"
            )
        );
        assert_eq!(
            line(at(), &told),
            "2023-11-14 22:13:20 192.0.2.1:4711 > [2001:db8::9]:25 syn: Linux 3.x (similar, \
             distance 40) 4:24+?:0:1460:1,7:mss:df:0"
        );
        let json: Value = serde_json::from_str(&json(at(), &told)).expect("JSON");
        assert_eq!(json["event"], "syn");
        assert_eq!(json["confidence"], "similar");
        assert_eq!(json["time_us"], 1_700_000_000_000_000_u64);
    }

    #[test]
    fn programs_and_random_ttls_are_told_as_p0f_does() {
        let mut handshake = syn();
        handshake.random_ttl = true;
        handshake.label = Some(std::sync::Arc::new(Label {
            class: "!".to_owned(),
            name: "NMap".to_owned(),
            flavor: "SYN scan".to_owned(),
        }));
        let text = p0f_line(at(), &event(What::Handshake(handshake))).expect("a line");
        assert!(text.contains("|app=NMap SYN scan|dist=<= 40|"), "{text}");
    }

    #[test]
    fn nothing_that_a_name_holds_reaches_a_log_or_a_terminal() {
        let name = "\u{1b}[31m|mod=syn|\r\n<script>\u{9b}\u{202e}";
        let mut handshake = syn();
        handshake.label = Some(std::sync::Arc::new(Label {
            class: name.to_owned(),
            name: name.to_owned(),
            flavor: name.to_owned(),
        }));
        let link = What::Link {
            link: Some(name.into()),
            mtu: 1499,
        };
        for told in [event(What::Handshake(handshake)), event(link)] {
            let log = p0f_line(at(), &told).expect("a line");
            assert_eq!(log.matches("|mod=").count(), 0, "{log}");
            for text in [log, line(at(), &told), json(at(), &told)] {
                let plain = |c: char| c.is_ascii_graphic() || c == ' ';
                assert!(text.chars().all(plain), "{text:?}");
                assert!(!text.contains("<script"), "{text}");
            }
        }
    }

    #[test]
    fn links_and_uptimes_in_p0f_s_log() {
        let link = p0f_line(
            at(),
            &event(What::Link {
                link: None,
                mtu: 1499,
            }),
        );
        assert!(link.expect("a line").ends_with("|link=???|raw_mtu=1499"));
        let uptime = Uptime {
            minutes: 676,
            modulo_days: 198,
        };
        let text = p0f_line(at(), &event(What::Uptime(uptime, 250.0))).expect("a line");
        let end = "|uptime=0 days 11 hrs 16 min (modulo 198 days)|raw_freq=250.00 Hz";
        assert!(text.ends_with(end), "{text}");
        let trip = event(What::RoundTrip(Duration::from_micros(12_340)));
        assert_eq!(p0f_line(at(), &trip), None);
        assert!(line(at(), &trip).ends_with("192.0.2.1 round trip: 12.3 ms"));
    }
}
