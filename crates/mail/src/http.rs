//! Bodies of requests that report an outcome by HTTP: our own form, and that of rspamd's
//! `metadata_exporter` (`formatter = "json"`).
//!
//! ```text
//! {"verdict": "reject", "stage": "rcpt", "address": "192.0.2.1", "port": 4711, "id": "1r9Abc-0001"}
//! {"ip": "192.0.2.1", "action": "soft reject", "qid": "4C1B2", "score": 4.2, "symbols": [...], ...}
//! ```

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::connection::Peer;
use crate::outcome::{Outcome, Stage, Verdict};
use crate::text::message_id;
use crate::time::Timestamp;

/// Bytes of a body: rspamd tells every symbol and recipient.
pub const BODY_MAX: usize = 262_144;
/// Who reports.
const REPORTER: &str = "http";
const RSPAMD: &str = "rspamd";
/// What rspamd says for a message without queue id.
const NO_ID: &str = "unknown";

/// The outcome that `body` reports.
///
/// # Errors
/// What is wrong with it.
pub fn outcome(body: &[u8], now: Timestamp) -> Result<Outcome, String> {
    if body.len() > BODY_MAX {
        return Err(format!("more than {BODY_MAX} bytes"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if value.get("action").is_some() {
        of_rspamd(value, now)
    } else {
        own(value, now)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    verdict: String,
    stage: Option<String>,
    address: IpAddr,
    port: Option<u16>,
    id: Option<String>,
}

fn own(value: Value, now: Timestamp) -> Result<Outcome, String> {
    let told: Own = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let verdict =
        Verdict::parse(&told.verdict).ok_or("verdict: expected accept, reject or defer")?;
    let stage = match told.stage {
        Some(stage) => Some(
            Stage::parse(&stage).ok_or("stage: expected connect, helo, mail, rcpt, data or eom")?,
        ),
        None => None,
    };
    let peer = match told.port {
        Some(port) => Peer::client(told.address, port),
        None => Peer::address(told.address),
    };
    Ok(Outcome {
        at: now,
        peer,
        verdict,
        stage,
        message: id(told.id),
        reporter: REPORTER,
    })
}

/// rspamd tells much more, which is passed over.
#[derive(Deserialize)]
struct OfRspamd {
    ip: IpAddr,
    action: String,
    qid: Option<String>,
}

fn of_rspamd(value: Value, now: Timestamp) -> Result<Outcome, String> {
    let told: OfRspamd = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let verdict = match told.action.as_str() {
        // The server answers 250 to all of these, whatever becomes of the message later.
        "no action" | "accept" | "add header" | "rewrite subject" | "quarantine" | "discard" => {
            Verdict::Accepted
        }
        "greylist" | "soft reject" => Verdict::Deferred,
        "reject" => Verdict::Rejected,
        _ => return Err("action: no such action of rspamd".to_owned()),
    };
    Ok(Outcome {
        at: now,
        peer: Peer::address(told.ip),
        verdict,
        stage: Some(Stage::EndOfData),
        message: id(told.qid.filter(|id| id != NO_ID)),
        reporter: RSPAMD,
    })
}

fn id(told: Option<String>) -> Option<String> {
    let id = message_id(&told?);
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Outcome, String> {
        outcome(body.as_bytes(), Timestamp::from_secs(5))
    }

    #[test]
    fn our_own_form_tells_the_connection_and_the_stage() {
        let body =
            r#"{"verdict":"reject","stage":"rcpt","address":"2001:db8::1","port":25,"id":"a\n1"}"#;
        let told = read(body).expect("it reads");
        assert_eq!(
            told.peer,
            Peer::client("2001:db8::1".parse().expect("one"), 25)
        );
        assert_eq!(told.stage, Some(Stage::Rcpt));
        assert_eq!(told.message.as_deref(), Some("a1"));
        assert_eq!((told.verdict, told.reporter), (Verdict::Rejected, "http"));
    }

    #[test]
    fn of_rspamd_the_action_counts_and_the_rest_is_passed_over() {
        for (action, verdict) in [
            ("no action", Verdict::Accepted),
            ("add header", Verdict::Accepted),
            ("greylist", Verdict::Deferred),
            ("soft reject", Verdict::Deferred),
            ("reject", Verdict::Rejected),
        ] {
            let body = format!(
                r#"{{"ip":"::ffff:192.0.2.1","action":"{action}","score":7.5,"qid":"4C1B2",
                "rcpt":["a@example.org"],"symbols":[{{"name":"P0F"}}],"user":"unknown"}}"#
            );
            let told = read(&body).expect("it reads");
            assert_eq!((told.verdict, told.reporter), (verdict, "rspamd"));
            assert_eq!(told.peer, Peer::address([192, 0, 2, 1].into()));
            assert_eq!(told.message.as_deref(), Some("4C1B2"));
        }
        let unnamed = read(r#"{"ip":"192.0.2.1","action":"reject","qid":"unknown"}"#);
        assert_eq!(unnamed.expect("it reads").message, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, problem) in [
            ("", "EOF while parsing"),
            ("[1", "EOF while parsing"),
            ("{}", "missing field `verdict`"),
            (
                r#"{"verdict":"reject","address":"x"}"#,
                "invalid IP address",
            ),
            (
                r#"{"verdict":"no","address":"::1"}"#,
                "expected accept, reject or defer",
            ),
            (
                r#"{"verdict":"reject","address":"::1","extra":1}"#,
                "unknown field `extra`",
            ),
            (r#"{"ip":"::1","action":"explode"}"#, "no such action"),
            (
                r#"{"ip":"unknown","action":"reject"}"#,
                "invalid IP address",
            ),
        ] {
            let said = read(body).expect_err(body);
            assert!(said.contains(problem), "{body}: {said}");
        }
        assert!(outcome(&vec![b' '; BODY_MAX + 1], Timestamp::default()).is_err());
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
