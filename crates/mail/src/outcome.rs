//! What became of a message, as a mail server reports it.

use crate::connection::Peer;
use crate::time::Timestamp;

/// What the server said of a message. Connections that end without one have no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It took responsibility for the message (a 2xx reply to the end of data).
    Accepted,
    /// It refused for good (5xx).
    Rejected,
    /// It refused for now (4xx): greylisting, a full disk.
    Deferred,
}

impl Verdict {
    /// All of them, in the order of columns in reports.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Rejected, Self::Deferred];

    /// The word in every protocol and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
        }
    }

    /// Reads [`Verdict::name`], and the imperative that configuration files use (`accept`).
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "accept" | "accepted" => Self::Accepted,
            "reject" | "rejected" => Self::Rejected,
            "defer" | "deferred" => Self::Deferred,
            _ => return None,
        })
    }
}

/// At which command of the dialogue (RFC 5321) the server decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// When the client connected.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, before the text.
    Data,
    /// The end of the text.
    EndOfData,
}

impl Stage {
    /// All of them, in the order of the dialogue.
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::Helo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::EndOfData,
    ];

    /// The word in every protocol and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::EndOfData => "eom",
        }
    }

    /// Reads [`Stage::name`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == word)
    }
}

/// Bytes of a message id that are kept; longer ones are cut.
pub const MESSAGE_ID_MAX: usize = 128;

/// One message's fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was reported.
    pub at: Timestamp,
    /// Whose message.
    pub peer: Peer,
    /// What became of it.
    pub verdict: Verdict,
    /// When in the dialogue, where the reporter knows.
    pub stage: Option<Stage>,
    /// The server's own name for the message: the same id twice is one message. Printable ASCII.
    pub message: Option<String>,
    /// Who reports: `exim`, `milter`, `opensmtpd`, `postfix-log`, `text`, `http`,
    /// `rspamd`, `command`.
    pub reporter: &'static str,
}

/// Who takes reports. Taking one never waits and never fails: a full queue counts what it loses.
pub trait OutcomeSink {
    /// Takes a report.
    fn record(&mut self, outcome: Outcome);
}
