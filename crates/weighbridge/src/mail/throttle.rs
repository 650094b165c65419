//! Feeds the packet filter's table: a thread that keeps it equal to who is throttled.
//!
//! The table is ours alone. On every new connection to the daemon, and now and then, its whole
//! content is replaced; between these, hosts are added and deleted as they come and go. So either
//! side may restart at any moment. What is left there when this side stays away is deleted by the
//! daemon itself, by age.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use pf_engine::addr::Prefix;
use pf_engine::ruleset::TableEntry;
use tracing::{info, warn};

use super::clock;
use super::reputation::Reputation;
use super::settings::ThrottleSettings;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{EntryText, Request, TableCommand, TableRequest};

/// How often it is looked who is throttled.
const TURN: Duration = Duration::from_secs(1);
/// Turns after which the whole table is replaced: somebody else may have changed it, or its age
/// there is over.
const TURNS_BETWEEN_WHOLE: u32 = 60;
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the thread. It ends with the process.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start(settings: ThrottleSettings, reputation: Reputation) -> io::Result<()> {
    let mut feeder = Feeder::new(settings, reputation);
    let thread = std::thread::Builder::new().name("throttle".to_owned());
    thread.spawn(move || {
        loop {
            feeder.turn();
            std::thread::park_timeout(TURN);
        }
    })?;
    Ok(())
}

struct Feeder {
    settings: ThrottleSettings,
    reputation: Reputation,
    daemon: Option<Client>,
    /// Who is throttled.
    wanted: BTreeSet<Prefix>,
    /// Who is in the table.
    sent: BTreeSet<Prefix>,
    /// Number of the state that was looked at last.
    seen: u64,
    /// Turns since the whole table was replaced.
    turns: u32,
    complained: bool,
}

impl Feeder {
    const fn new(settings: ThrottleSettings, reputation: Reputation) -> Self {
        Self {
            settings,
            reputation,
            daemon: None,
            wanted: BTreeSet::new(),
            sent: BTreeSet::new(),
            seen: 0,
            turns: 0,
            complained: false,
        }
    }

    fn turn(&mut self) {
        let changed = self.reputation.throttled_since(self.seen, clock::now());
        if let Some((seen, wanted)) = changed {
            self.seen = seen;
            self.wanted = wanted;
        }
        self.turns = self.turns.saturating_add(1);
        let is_whole = self.daemon.is_none() || self.turns >= TURNS_BETWEEN_WHOLE;
        if !is_whole && self.wanted == self.sent {
            return;
        }
        match self.send(is_whole) {
            Ok(()) => {
                self.sent.clone_from(&self.wanted);
                if std::mem::take(&mut self.complained) {
                    info!("the table <{}> is fed again", self.settings.table);
                }
            }
            Err(error) => {
                self.daemon = None;
                if !std::mem::replace(&mut self.complained, true) {
                    let table = &self.settings.table;
                    warn!("the table <{table}> cannot be fed, it is tried again: {error}");
                }
            }
        }
    }

    fn send(&mut self, is_whole: bool) -> Result<(), ClientError> {
        if is_whole {
            self.call(TableCommand::Replace, self.wanted.iter().copied().collect())?;
            self.turns = 0;
            return Ok(());
        }
        let gone: Vec<Prefix> = self.sent.difference(&self.wanted).copied().collect();
        let new: Vec<Prefix> = self.wanted.difference(&self.sent).copied().collect();
        for (command, hosts) in [(TableCommand::Delete, gone), (TableCommand::Add, new)] {
            if !hosts.is_empty() {
                self.call(command, hosts)?;
            }
        }
        Ok(())
    }

    fn call(&mut self, command: TableCommand, hosts: Vec<Prefix>) -> Result<(), ClientError> {
        let daemon = match &mut self.daemon {
            Some(daemon) => daemon,
            none => none.insert(Client::connect_within(&self.settings.socket, PATIENCE)?),
        };
        let entry = |prefix| {
            EntryText(TableEntry {
                prefix,
                negated: false,
            })
        };
        let request = Request::Table(TableRequest {
            name: self.settings.table.clone(),
            anchor: pf_engine::anchor::AnchorPath::main(),
            command,
            entries: hosts.into_iter().map(entry).collect(),
            dry_run: false,
            verbose: 0,
            age: 0,
        });
        daemon.call(&request, &mut |_| Ok(()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::control::protocol::{Outcome as Done, Response, TableOutcome, decode, encode};
    use crate::mail::settings::parse;
    use crate::mail::testing::rejected;

    /// A daemon that answers `requests` requests on one connection, then is gone.
    fn daemon(listener: &UnixListener, requests: usize) -> Vec<(TableCommand, usize)> {
        let (mut stream, _) = listener.accept().expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut lines = BufReader::new(stream.try_clone().expect("cloned"));
        let mut seen = Vec::new();
        for _ in 0..requests {
            let mut line = Vec::new();
            lines.read_until(b'\n', &mut line).expect("read");
            let Ok(Request::Table(request)) = decode(&line) else {
                panic!("no request for a table");
            };
            assert_eq!(request.name, "spammers");
            seen.push((request.command, request.entries.len()));
            let done = Response::Done(Done::Table(TableOutcome::default()));
            stream
                .write_all(&encode(&done).expect("JSON"))
                .expect("sent");
        }
        seen
    }

    #[test]
    fn changes_are_sent_as_they_come_and_everything_to_a_new_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("tables.sock");
        let settings = format!(
            "[throttle]\ntable = \"spammers\"\nleast-rejected = 2\nsocket = \"{}\"",
            socket.display()
        );
        let settings = parse("mail.toml", &settings).expect("it reads");
        let reputation = Reputation::new(&settings);
        let mut feeder = Feeder::new(settings.throttle.expect("there"), reputation.clone());
        // Nobody listens yet.
        feeder.turn();
        assert!(feeder.daemon.is_none());
        let listener = UnixListener::bind(&socket).expect("listens");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| daemon(&listener, 3));
            reputation.record(rejected("203.0.113.1", 3, clock::now()).iter());
            feeder.turn();
            feeder.turn();
            reputation.record(rejected("203.0.113.2", 3, clock::now()).iter());
            feeder.turn();
            feeder.turns = TURNS_BETWEEN_WHOLE;
            feeder.turn();
            let seen = first.join().expect("joined");
            let (replace, add) = (TableCommand::Replace, TableCommand::Add);
            assert_eq!(seen, [(replace, 1), (add, 1), (replace, 2)]);

            // The daemon restarts.
            let second = scope.spawn(|| daemon(&listener, 1));
            reputation.record(rejected("203.0.113.3", 3, clock::now()).iter());
            feeder.turn();
            feeder.turn();
            assert_eq!(second.join().expect("joined"), [(replace, 3)]);
        });
    }
}
