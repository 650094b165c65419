//! The socket for status: whoever may connect learns how the daemon is, and can neither change
//! anything nor keep the packet loop busy.
//!
//! It has a thread of its own, so that a crowd there takes nothing from pfctl; the packet loop is
//! asked each question at most once in [`KEPT`], however many ask; and a connection is for one
//! question.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::rights::open;
use crate::control::protocol::{Outcome, Request};
use crate::control::service::{Answer, Work};
use crate::mail::listen::ListenError;

/// Clients of the socket for status that are served at the same time.
pub const STATUS_CLIENTS_MAX: usize = 16;
/// Bytes in one of their requests: they have no arguments.
pub(super) const STATUS_REQUEST_BYTES_MAX: usize = 1 << 10;
/// How old an answer may be.
pub const KEPT: Duration = Duration::from_millis(250);
/// Permissions of the socket: everybody, or the members of its group.
const MODES: (u32, u32) = (0o666, 0o660);
/// What its name has instead of that of the control socket.
const NAMES: (&str, &str) = ("control", "status");

/// `[status]` of weighbridge.toml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct StatusSettings {
    /// Whether there is such a socket.
    pub enabled: bool,
    /// Path of the socket; without one it is beside the control socket.
    pub socket: Option<PathBuf>,
    /// Group of the socket: only its members may connect. Without one everybody may.
    pub group: Option<String>,
}

impl Default for StatusSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            socket: None,
            group: None,
        }
    }
}

impl StatusSettings {
    /// Where the socket of a daemon with this control socket is: `control` of its name is `status`
    /// there.
    #[must_use]
    pub fn path(&self, control: &Path) -> PathBuf {
        if let Some(path) = &self.socket {
            return path.clone();
        }
        let name = control.file_name().unwrap_or_default().to_string_lossy();
        let name = if name.contains(NAMES.0) {
            name.replacen(NAMES.0, NAMES.1, 1)
        } else {
            format!("{name}.{}", NAMES.1)
        };
        control.with_file_name(name)
    }
}

/// The open socket for status.
#[derive(Debug)]
pub struct StatusSocket(pub(super) UnixListener);

impl StatusSocket {
    /// Opens it; what a dead daemon left is replaced. Nothing where the settings want none.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub fn bind(settings: &StatusSettings, control: &Path) -> Result<Option<Self>, ListenError> {
        if !settings.enabled {
            return Ok(None);
        }
        let mode = if settings.group.is_some() {
            MODES.1
        } else {
            MODES.0
        };
        let path = settings.path(control);
        open(&path, settings.group.as_deref(), mode).map(|listener| Some(Self(listener)))
    }
}

/// What was asked not long ago, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<Question>);

#[derive(Debug)]
struct Question {
    request: Request,
    asked: Instant,
    /// Who is told: first whoever asked the packet loop.
    waiting: Vec<usize>,
    answer: Option<Outcome>,
}

/// What to do about a question.
#[derive(Debug)]
pub(super) enum Asked {
    /// Answer it.
    Known(Outcome),
    /// Another has asked, and the answer is for both.
    Waits,
    /// Ask the packet loop.
    New,
}

impl Kept {
    /// `client` asks.
    pub(super) fn ask(&mut self, client: usize, work: &Work, now: Instant) -> Asked {
        let Work::Request(request) = work else {
            return Asked::New;
        };
        let is_over = |question: &Question| {
            question.answer.is_some() && now.saturating_duration_since(question.asked) > KEPT
        };
        self.0.retain(|question| !is_over(question));
        let known = self.0.iter_mut().find(|known| known.request == *request);
        match known {
            Some(Question {
                answer: Some(answer),
                ..
            }) => Asked::Known(answer.clone()),
            Some(question) => {
                question.waiting.push(client);
                Asked::Waits
            }
            None => {
                self.0.push(Question {
                    request: request.clone(),
                    asked: now,
                    waiting: vec![client],
                    answer: None,
                });
                Asked::New
            }
        }
    }

    /// The packet loop has answered `client`; who else is to be told, and what.
    pub(super) fn answered(&mut self, client: usize, answer: &Answer) -> Vec<(usize, Answer)> {
        let first = |question: &Question| question.waiting.first() == Some(&client);
        let Some(at) = self.0.iter().position(first) else {
            return Vec::new();
        };
        let mut question = self.0.swap_remove(at);
        let others = question.waiting.split_off(1);
        let copy = || match answer {
            Answer::Outcome(text, outcome) => Answer::Outcome(text.clone(), outcome.clone()),
            Answer::Refused(message) => Answer::Refused(message.clone()),
            Answer::Interfaces(..)
            | Answer::Feedback(_)
            | Answer::Page(_)
            | Answer::Entries(_)
            | Answer::Export(..)
            | Answer::Imported(..) => Answer::Refused("the daemon lost its place".to_owned()),
        };
        if let Answer::Outcome(_, outcome) = answer {
            question.waiting.clear();
            question.answer = Some(outcome.clone());
            self.0.push(question);
        }
        others.into_iter().map(|other| (other, copy())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::moment;
    use super::*;

    #[test]
    fn the_packet_loop_is_asked_once_for_all_who_ask_at_a_time() {
        let mut kept = Kept::default();
        let ask =
            |kept: &mut Kept, client, now| kept.ask(client, &Work::Request(Request::Health), now);
        let now = moment();
        assert!(matches!(ask(&mut kept, 7, now), Asked::New));
        for client in 8..20 {
            assert!(matches!(ask(&mut kept, client, now), Asked::Waits));
        }
        let gateways = Work::Request(Request::Gateways);
        assert!(matches!(kept.ask(20, &gateways, now), Asked::New));
        let told = kept.answered(7, &Answer::Outcome(String::new(), Outcome::Ok));
        assert_eq!(told.len(), 12);
        assert!(matches!(
            ask(&mut kept, 21, now + KEPT),
            Asked::Known(Outcome::Ok)
        ));
        assert!(matches!(ask(&mut kept, 22, now + KEPT * 2), Asked::New));
        // A refusal is told to all, and not kept.
        let told = kept.answered(20, &Answer::Refused("no".to_owned()));
        assert!(told.is_empty());
        assert!(matches!(kept.ask(23, &gateways, now), Asked::New));
    }

    #[test]
    fn it_is_beside_the_control_socket_unless_it_is_said_where() {
        let settings = StatusSettings::default();
        let beside = |path: &str| settings.path(Path::new(path)).display().to_string();
        assert_eq!(
            beside("/run/weighbridge/control.sock"),
            "/run/weighbridge/status.sock"
        );
        assert_eq!(beside("/tmp/control1.sock"), "/tmp/status1.sock");
        assert_eq!(beside("/tmp/w"), "/tmp/w.status");
        let settings: StatusSettings = toml::from_str("socket = \"/a\"").expect("it reads");
        assert_eq!(settings.path(Path::new("/b")), Path::new("/a"));
        let error = toml::from_str::<StatusSettings>("mode = \"0666\"").expect_err("refused");
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
}
