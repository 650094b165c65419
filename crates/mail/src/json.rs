//! An answer as JSON, the same for every interface that offers it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Basis};
use crate::connection::Peer;
use crate::time::Timestamp;

/// What is known of `peer`, as one object. Without an answer it has `"seen": false` alone beside
/// the question.
#[must_use]
pub fn object(peer: &Peer, answer: Option<&Answer>) -> Value {
    let mut object = Map::new();
    object.insert("address".to_owned(), json!(peer.address.to_string()));
    if let Some(port) = peer.port {
        object.insert("port".to_owned(), json!(port));
    }
    object.insert("seen".to_owned(), json!(answer.is_some()));
    let text = answer.map_or_else(|| crate::answer::UNKNOWN.to_owned(), Answer::os_text);
    object.insert("os".to_owned(), json!(text));
    if let Some(answer) = answer {
        object.append(&mut details(answer));
    }
    Value::Object(object)
}

/// [`object`] on one line.
#[must_use]
pub fn text(peer: &Peer, answer: Option<&Answer>) -> String {
    line(&object(peer, answer))
}

/// `value` on one line, in which every character of a text that a terminal or a page could take
/// for more than a character is escaped: `<`, `>`, `&` and all that is not printable ASCII.
#[must_use]
pub fn line(value: &Value) -> String {
    let text = value.to_string();
    let harmless = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '<' | '>' | '&');
    if text.chars().all(harmless) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

fn details(answer: &Answer) -> Map<String, Value> {
    let os = answer.os.as_ref();
    let basis = match answer.basis {
        Basis::Connection => "connection",
        Basis::Address => "address",
    };
    let Value::Object(details) = json!({
        "basis": basis,
        "class": os.map(|os| &os.label.class),
        "name": os.map(|os| &os.label.name),
        "flavor": os.map(|os| &os.label.flavor),
        "confidence": os.map(|os| os.confidence.name()),
        "fuzzy": os.is_some_and(|os| os.fuzzy),
        "generic": os.is_some_and(|os| os.generic),
        "distance": answer.distance,
        "link": answer.link,
        "mtu": answer.mtu,
        "mss": answer.mss,
        "window": answer.window,
        "rtt_us": answer.rtt.map(|rtt| rtt.as_micros()),
        "syns": answer.syns,
        "uptime_minutes": answer.uptime.map(|uptime| uptime.minutes),
        "uptime_modulo_days": answer.uptime.map(|uptime| uptime.modulo_days),
        "raw_signature": answer.raw_signature,
        "first_seen": answer.first_seen.as_secs(),
        "last_seen": answer.last_seen.as_secs(),
        "connections": answer.connections,
        "last_nat": answer.last_nat.map(Timestamp::as_secs),
        "last_change": answer.last_change.map(Timestamp::as_secs),
    }) else {
        return Map::new();
    };
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::linux;

    #[test]
    fn a_client_that_was_never_seen_is_told_as_such() {
        let peer = Peer::client([192, 0, 2, 1].into(), 25);
        assert_eq!(
            text(&peer, None),
            r#"{"address":"192.0.2.1","os":"Unknown","port":25,"seen":false}"#
        );
    }

    #[test]
    fn a_line_holds_nothing_that_is_more_than_a_character_and_says_the_same() {
        let hostile = json!({"<b>&": "\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{1f600}\n\"\\|"});
        let text = line(&hostile);
        assert!(
            text.chars().all(|c| c.is_ascii_graphic() || c == ' '),
            "{text}"
        );
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), hostile);
    }

    #[test]
    fn everything_that_is_known_is_there() {
        let peer = Peer::address([192, 0, 2, 1].into());
        let value = object(&peer, Some(&linux()));
        assert_eq!(value["os"], "Linux 3.11 and newer");
        assert_eq!(value["confidence"], "exact");
        assert_eq!(value["rtt_us"], 12_000);
        assert_eq!(value["uptime_modulo_days"], 198);
        assert_eq!(value["last_nat"], Value::Null);
    }
}
