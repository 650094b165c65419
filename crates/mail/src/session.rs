//! One client of a stream protocol, without its socket.

use std::time::Duration;

use crate::answer::{Answer, LookUp};
use crate::connection::Peer;
use crate::outcome::{Outcome, OutcomeSink};
use crate::time::Timestamp;

/// How long a client may be silent. Haraka keeps one connection for good and connects anew when it is
/// closed; Postfix gives up an idle policy connection after five minutes
/// (`smtpd_policy_service_max_idle`).
const SILENCE: Duration = Duration::from_mins(10);

/// What a session may reach while it handles input: the store, the sink of outcomes and the time.
pub struct World<'a> {
    /// Who answers.
    pub lookup: &'a mut dyn LookUp,
    /// Who takes reports.
    pub outcomes: &'a mut dyn OutcomeSink,
    /// When the input came.
    pub now: Timestamp,
}

impl World<'_> {
    /// What is known of `peer`.
    pub fn look_up(&mut self, peer: &Peer) -> Option<Answer> {
        self.lookup.look_up(peer, self.now)
    }

    /// Hands a report on.
    pub fn record(&mut self, outcome: Outcome) {
        self.outcomes.record(outcome);
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More input is welcome.
    Continue,
    /// What is in the output is sent, then the connection is closed.
    Close,
}

/// The protocol's side of one connection.
///
/// The shell reads, hands over what came in pieces of any size, sends what was put into `output`
/// in one write, and closes when told to. A session bounds what it keeps of unfinished input, and
/// no input makes it panic.
pub trait Session: Send {
    /// Takes the next bytes.
    fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, world: &mut World<'_>) -> Flow;

    /// The client will send no more, or is gone; what is put into `output` is sent if it can be.
    fn end(&mut self, output: &mut Vec<u8>, world: &mut World<'_>) {
        let _ = (output, world);
    }

    /// How long the client may be silent; then it is cut.
    fn silence(&self) -> Duration {
        SILENCE
    }
}
