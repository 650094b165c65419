//! HTTP on the control side, by real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mail::connection::Peer;
use mail::outcome::{Outcome, Verdict};
use mail::statistics::System;
use serde_json::Value;
use weighbridge::mail::clock;
use weighbridge::mail::storage::{Record, Storage};

use crate::services::{SYSTEM, Serving, exchange};

const SETTINGS: &str = r#"
[http]
listen = { socket = "DIR/http.sock" }
"#;

/// Status and JSON of one answer.
fn answered(text: &[u8]) -> (u16, Value) {
    let text = std::str::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    for line in [
        "content-type: application/json",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let status = head.split(' ').nth(1).expect("a status");
    let body = serde_json::from_str(body).expect("JSON");
    (status.parse().expect("a number"), body)
}

fn get(serving: &Serving, target: &str) -> (u16, Value) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answered(&exchange(&serving.path("http.sock"), request.as_bytes()))
}

fn post(serving: &Serving, body: &str) -> (u16, Value) {
    let request = format!(
        "POST /outcome HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    answered(&exchange(&serving.path("http.sock"), request.as_bytes()))
}

#[test]
fn clients_and_the_daemon_s_health_are_told_as_json() {
    let serving = Serving::new(SETTINGS, false);
    let (status, client) = get(&serving, "/os/198.51.100.7/4711/192.0.2.9/25");
    assert_eq!((status, &client["os"]), (200, &SYSTEM.into()));
    assert_eq!(client["basis"], "connection");
    let (status, stranger) = get(&serving, "/os/2001:db8::1");
    assert_eq!((status, &stranger["seen"]), (200, &false.into()));
    let (status, health) = get(&serving, "/health");
    assert_eq!((status, &health["hosts"]), (200, &1.into()));
    for (target, status) in [
        ("/", 404),
        ("/os/script", 400),
        ("/outcome", 405),
        ("/report", 503),
        ("/unknown", 503),
        ("/report?since=x", 400),
    ] {
        assert_eq!(get(&serving, target).0, status, "{target}");
    }
}

#[test]
fn outcomes_are_taken_from_us_and_from_rspamd_and_from_no_page() {
    let serving = Serving::new(SETTINGS, false);
    let own = r#"{"verdict":"reject","stage":"rcpt","address":"198.51.100.7","port":4711}"#;
    let rspamd =
        r#"{"ip":"198.51.100.7","action":"greylist","qid":"4C1B2","score":1.5,"symbols":[]}"#;
    assert_eq!(post(&serving, own).0, 202);
    assert_eq!(post(&serving, rspamd).0, 202);
    assert_eq!(post(&serving, "{}").0, 422);
    let too_long = " ".repeat(300_000);
    let request = format!(
        "POST /outcome HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{too_long}\r\n0\r\n\r\n",
        too_long.len()
    );
    let answer = exchange(&serving.path("http.sock"), request.as_bytes());
    assert_eq!(answered(&answer).0, 413);
    for header in ["Origin: https://example.net", "Content-Type: text/plain"] {
        let request = format!(
            "POST /outcome HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(&serving.path("http.sock"), request.as_bytes());
        assert!(matches!(answered(&answer).0, 403 | 415), "{header}");
    }
    let outcomes = serving.outcomes();
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome.verdict, outcome.reporter))
        .collect();
    assert_eq!(
        told,
        [(Verdict::Rejected, "http"), (Verdict::Deferred, "rspamd")]
    );
}

#[test]
fn the_report_is_that_of_the_command() {
    let serving = Serving::new(SETTINGS, true);
    let mut storage = Storage::open(&serving.path("mail.db")).expect("it opens");
    let record = |name: &str, verdict| Record {
        outcome: Outcome {
            at: clock::now(),
            peer: Peer::address([192, 0, 2, 1].into()),
            verdict,
            stage: None,
            message: None,
            reporter: "text",
        },
        system: System {
            name: name.to_owned(),
            flavor: "1 <b>".to_owned(),
        },
    };
    let records = [
        record("Linux", Verdict::Accepted),
        record("Windows", Verdict::Rejected),
    ];
    storage.add(&records).expect("counted");
    let (status, report) = get(&serving, "/report");
    assert_eq!(
        (status, &report["rows"][0]["system"]),
        (200, &"Linux".into())
    );
    assert_eq!(report["total"]["rejected"], 1);
    let (_, versions) = get(&serving, "/report?by=version&family=Windows&since=1d");
    assert_eq!(versions["rows"][0]["system"], "Windows 1 ?b?");
    assert_eq!(versions["rows"].as_array().map(Vec::len), Some(1));
    // Nothing unknown was kept yet.
    let (status, unknown) = get(&serving, "/unknown");
    assert_eq!((status, unknown), (200, Value::Array(Vec::new())));
}

#[test]
fn by_tcp_a_name_that_was_made_to_lead_here_is_not_answered() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("has one");
    drop(free);
    let settings = format!("[http]\nlisten = {{ address = \"{address}\" }}\n");
    let _serving = Serving::new(&settings, false);
    for (host, expected) in [("localhost", 200), ("evil.example.net", 421)] {
        let mut stream = TcpStream::connect(address).expect("connected");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("set");
        let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        assert_eq!(answered(&answer).0, expected, "{host}");
    }
}
