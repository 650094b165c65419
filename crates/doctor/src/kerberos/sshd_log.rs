//! What sshd logs, with `-ddd` or `LogLevel DEBUG`, when a ticket is refused.

use crate::finding::shorten;
use crate::limits::{MAX_LOG_KINDS, MAX_LOG_LINE_LEN};

/// What a message of sshd, or of the Kerberos library that it repeats, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogEvent {
    /// The checksum over the session was wrong: the last step, everything before was right.
    MicFailed,
    /// The keytab has no key for the principal.
    NoKey,
    /// The key in the keytab has another version.
    WrongVersion,
    /// The ticket is for another principal.
    WrongPrincipal,
    /// The clocks differ.
    ClockSkew,
    /// The keytab cannot be read.
    KeytabUnreadable,
    /// An encryption type is not permitted.
    EncryptionNotPermitted,
    /// The ticket could not be deciphered.
    Undecipherable,
    /// No KDC was reached.
    NoKdc,
    /// The account is locked, so that the best ticket does not help.
    AccountLocked,
    /// The principal may not log in to the account.
    NotAuthorized,
    /// It worked.
    Accepted,
}

/// Words by which they are recognised, in lower case: those of OpenSSH, MIT and Heimdal.
const WORDS: &[(&str, LogEvent)] = &[
    ("gssapi mic check failed", LogEvent::MicFailed),
    ("invalid message integrity check", LogEvent::MicFailed),
    ("accepted gssapi-with-mic", LogEvent::Accepted),
    ("accepted gssapi-keyex", LogEvent::Accepted),
    ("no key table entry found", LogEvent::NoKey),
    ("no principal in keytab matches", LogEvent::NoKey),
    ("not found in keytab", LogEvent::NoKey),
    ("failed to find host/", LogEvent::NoKey),
    (
        "key version number for principal in key table is incorrect",
        LogEvent::WrongVersion,
    ),
    ("key version is not available", LogEvent::WrongVersion),
    ("cannot find key for", LogEvent::WrongVersion),
    ("wrong principal in request", LogEvent::WrongPrincipal),
    (
        "server not found in kerberos database",
        LogEvent::WrongPrincipal,
    ),
    ("clock skew too great", LogEvent::ClockSkew),
    ("key table file", LogEvent::KeytabUnreadable),
    ("permission denied in keytab", LogEvent::KeytabUnreadable),
    (
        "encryption type not permitted",
        LogEvent::EncryptionNotPermitted,
    ),
    (
        "kdc has no support for encryption type",
        LogEvent::EncryptionNotPermitted,
    ),
    ("decrypt integrity check failed", LogEvent::Undecipherable),
    ("cannot contact any kdc", LogEvent::NoKdc),
    ("unable to reach any kdc", LogEvent::NoKdc),
    ("account is locked", LogEvent::AccountLocked),
    (
        "not allowed because account is locked",
        LogEvent::AccountLocked,
    ),
    ("authorized to ", LogEvent::NotAuthorized),
];

/// The lines with one meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What they mean.
    pub event: LogEvent,
    /// From whom, where the log tells.
    pub client: Option<String>,
    /// How many.
    pub count: u64,
    /// Number of the last one, from 1.
    pub line: u32,
    /// The last one, shortened.
    pub text: String,
}

/// What a log of sshd says of Kerberos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshdLog {
    /// By meaning and client, in the order of their first lines.
    pub seen: Vec<Seen>,
    /// Lines that were read.
    pub lines: u32,
    /// Lines of more clients than are kept.
    pub uncounted: u64,
}

impl SshdLog {
    /// Reads a log.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        // Of whom the last connection was; processes that log at once are told apart by their id.
        let mut last = Vec::<(String, String)>::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            log.lines = log.lines.saturating_add(1);
            let line = line.get(..MAX_LOG_LINE_LEN).unwrap_or(line);
            let line = String::from_utf8_lossy(line);
            let process = process(&line).to_owned();
            if let Some(client) = client(&line) {
                last.retain(|(of, _)| *of != process);
                last.push((process.clone(), client));
                if last.len() > MAX_LOG_KINDS {
                    last.remove(0);
                }
            }
            let lower = line.to_ascii_lowercase();
            if let Some(event) = event(&lower) {
                let of_process = last.iter().rev().find(|(of, _)| *of == process);
                log.add(event, of_process.map(|(_, client)| client.clone()), &line);
            }
        }
        log
    }

    /// The lines of one meaning.
    pub fn of(&self, event: LogEvent) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.event == event)
    }

    fn add(&mut self, event: LogEvent, client: Option<String>, line: &str) {
        let number = self.lines;
        let same = |seen: &&mut Seen| seen.event == event && seen.client == client;
        if let Some(seen) = self.seen.iter_mut().find(same) {
            seen.count += 1;
            seen.line = number;
            seen.text = shorten(line);
        } else if self.seen.len() < MAX_LOG_KINDS {
            self.seen.push(Seen {
                event,
                client,
                count: 1,
                line: number,
                text: shorten(line),
            });
        } else {
            self.uncounted += 1;
        }
    }
}

fn event(lower: &str) -> Option<LogEvent> {
    let word = WORDS.iter().find(|(words, _)| lower.contains(words));
    let (_, event) = word?;
    // "Authorized to alice, krb5 principal …" is success; the refusal says "not".
    if *event == LogEvent::NotAuthorized && !lower.contains("not authorized") {
        return None;
    }
    Some(*event)
}

/// `sshd[123]` of a line, or nothing.
fn process(line: &str) -> &str {
    let process = line.split_once("sshd").and_then(|(_, rest)| {
        let rest = rest.split_once('[')?.1;
        Some(rest.split_once(']')?.0)
    });
    process
        .filter(|id| id.bytes().all(|b| b.is_ascii_digit()))
        .unwrap_or_default()
}

/// The client of `Connection from ADDRESS port`, `… for USER from ADDRESS port`.
fn client(line: &str) -> Option<String> {
    let (_, rest) = line
        .rsplit_once(" from ")
        .filter(|(_, rest)| rest.contains(" port "))?;
    let address = rest.split_whitespace().next()?;
    address
        .parse::<std::net::IpAddr>()
        .ok()
        .map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_message_is_found_with_its_client() {
        let log = SshdLog::read(
            b"debug1: sshd version OpenSSH_9.2\nConnection from 10.0.0.2 port 40000 on 10.0.0.1 port 22\n\
              debug3: monitor_read: checking request 48\nGSSAPI MIC check failed\n\
              Failed gssapi-with-mic for alice from 10.0.0.2 port 40000 ssh2\n",
        );
        let seen = &log.seen[0];
        assert_eq!(
            (seen.event, seen.line, seen.count),
            (LogEvent::MicFailed, 4, 1)
        );
        assert_eq!(seen.client.as_deref(), Some("10.0.0.2"));
    }

    #[test]
    fn processes_that_log_at_once_are_told_apart() {
        let log = SshdLog::read(
            b"Dec 11 h sshd[1]: Connection from 10.0.0.1 port 1 on x\n\
              Dec 11 h sshd[2]: Connection from 10.0.0.2 port 2 on x\n\
              Dec 11 h sshd[1]: GSSAPI MIC check failed\n\
              Dec 11 h sshd[2]: Accepted gssapi-with-mic for bob from 10.0.0.2 port 2 ssh2\n\
              Dec 11 h sshd[2]: Authorized to bob, krb5 principal bob@R (krb5_kuserok)\n",
        );
        let seen: Vec<_> = log
            .seen
            .iter()
            .map(|s| (s.event, s.client.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (LogEvent::MicFailed, Some("10.0.0.1")),
                (LogEvent::Accepted, Some("10.0.0.2"))
            ]
        );
    }

    #[test]
    fn a_log_of_many_clients_stays_small() {
        let many: String = (0..1000).fold(String::new(), |text, n| text + &format!("sshd[{n}]: Connection from 10.0.{}.{} port 1 on x\nsshd[{n}]: Clock skew too great\n", n / 250, n % 250));
        let log = SshdLog::read(many.as_bytes());
        assert_eq!((log.seen.len(), log.uncounted), (100, 900));
    }
}
