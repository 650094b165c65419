//! One client of the control socket: what has been read, what it waits for, what is to be
//! written. Never more than one request is worked on, and the next part of a long answer is only
//! made when the one before has been written.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::net::UnixStream;
use pf_conf::{Feedback, LoadOptions, Loaded, MemoryFiles, Optimization};
use pf_engine::addr::Prefix;
use pf_engine::anchor::AnchorPath;
use pf_engine::ruleset::{Parts, Ruleset};

use super::rights::Rights;
use crate::accounts;
use crate::control::protocol::{
    FileBytes, LoadRequest, Outcome, Request, Response, ShowRequest, TableCommand, WatchRequest,
    decode, encode,
};
use crate::control::service::{Answer, Change, Installation, Surroundings, TableContents, Work};
use crate::daemon::keep::file::{self, Draft};
use crate::daemon::keep::load::Printed;
use crate::memory;
use crate::pfctl::show::tables::{entry_statistics, write_entry};
use crate::pfctl::show::{Cursor, LoadedBy};
use crate::pflog::record::Record;
use crate::random::Random;
use crate::unfiltered;

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes of logged packets that wait for a watching client; what comes then is left out.
const WATCH_BYTES_MAX: usize = 256 << 10;

/// What the server is to do next for a client.
#[derive(Debug)]
pub enum Step {
    /// Nothing, until the client or the packet loop stirs.
    Wait,
    /// Give this to the packet loop.
    Submit(Work),
    /// Hang up.
    Close,
}

/// State of a client.
#[derive(Debug)]
pub struct ClientState {
    stream: UnixStream,
    peer: LoadedBy,
    rights: Rights,
    input: Vec<u8>,
    /// Bytes of the input that hold no newline.
    searched: usize,
    output: VecDeque<u8>,
    phase: Phase,
    /// The rules in force, as they were printed for the states of its `-L` so far.
    printed: Option<Printed>,
    /// Logged packets that it was not told of.
    missed: u64,
    /// When it last stirred, in steps of the server.
    pub activity: u64,
}

#[derive(Debug)]
enum Phase {
    /// Reading a request.
    Reading,
    /// The packet loop works on it.
    Waiting(Pending),
    /// Writing; then this.
    Writing(Rest),
    /// Told of logged packets until it hangs up.
    Watching(WatchRequest),
}

/// What of a file is to be loaded, and how.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    parts: Parts,
    /// `-m`.
    merge: bool,
}

impl Wanted {
    /// Merged in, a file that says nothing but `set …` is no reason to take the rules away.
    fn parts_of(self, ruleset: &Ruleset) -> Parts {
        let bare = Ruleset {
            dialect: ruleset.dialect,
            options: ruleset.options.clone(),
            ..Ruleset::default()
        };
        if self.merge && *ruleset == bare {
            let options = self.parts.options;
            return Parts {
                options,
                ..Parts::NONE
            };
        }
        self.parts
    }
}

/// What an answer is wanted for.
#[derive(Debug)]
enum Pending {
    Outcome,
    Load(LoadRequest),
    /// The packets that the rules in force have seen, for rules that have been read.
    Profile(Box<Loaded>, Wanted),
    Show(ShowRequest),
    Entries(Listing),
    Export,
}

/// What is still to be said.
#[derive(Debug)]
enum Rest {
    /// Nothing: read the next request.
    Nothing,
    /// Nothing: hang up.
    Goodbye,
    Show(ShowRequest, Cursor),
    /// More states.
    Export(Box<Draft>),
    /// More addresses, after this one.
    Entries(Listing, Prefix),
}

/// `-T show`.
#[derive(Debug)]
struct Listing {
    anchor: AnchorPath,
    name: String,
    verbose: u8,
}

impl Listing {
    /// Asks for the addresses after this one.
    fn ask(&self, after: Option<Prefix>) -> Work {
        Work::Entries(self.anchor.clone(), self.name.clone(), after)
    }
}

impl ClientState {
    /// A client that has just connected.
    #[must_use]
    pub fn new(stream: UnixStream, rights: Rights) -> Self {
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_or_else(
            |_| LoadedBy::default(),
            |peer| LoadedBy {
                uid: peer.uid.as_raw(),
                pid: u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or_default(),
            },
        );
        Self {
            stream,
            peer,
            rights,
            input: Vec::new(),
            searched: 0,
            output: VecDeque::new(),
            phase: Phase::Reading,
            printed: None,
            missed: 0,
            activity: 0,
        }
    }

    /// Whether it may do everything.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        self.rights.is_all()
    }

    /// Whether the packet loop is at work for it.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Reads and writes what can be read and written without waiting.
    pub fn advance(&mut self) -> Step {
        loop {
            let step = match std::mem::replace(&mut self.phase, Phase::Reading) {
                Phase::Reading => self.read(),
                Phase::Waiting(pending) => {
                    self.phase = Phase::Waiting(pending);
                    Some(Step::Wait)
                }
                Phase::Writing(rest) => self.write(rest),
                Phase::Watching(watch) => Some(self.watch(watch)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Goes on with the packet loop's answer.
    pub fn take_answer(&mut self, answer: Answer) -> Step {
        let Phase::Waiting(pending) = std::mem::replace(&mut self.phase, Phase::Reading) else {
            return Step::Wait;
        };
        match (pending, answer) {
            (Pending::Load(request), Answer::Interfaces(around)) => {
                let asked = request.optimization.map(|name| name.0);
                let wanted = Wanted {
                    parts: request.parts,
                    merge: request.merge,
                };
                match check(request, around) {
                    Ok(loaded) if loaded.level(asked) == Optimization::Profile => {
                        self.phase = Phase::Waiting(Pending::Profile(Box::new(loaded), wanted));
                        return Step::Submit(Work::Feedback);
                    }
                    Ok(loaded) => {
                        let level = loaded.level(asked);
                        return self.install(loaded, wanted, level, &[]);
                    }
                    Err(message) => self.respond(&[Response::Error(message)], Rest::Nothing),
                }
            }
            (Pending::Profile(loaded, wanted), Answer::Feedback(feedback)) => {
                return self.install(*loaded, wanted, Optimization::Profile, &feedback);
            }
            (Pending::Show(request), Answer::Page(page)) => {
                let text = Response::Text(page.text);
                match page.next {
                    Some(cursor) => self.respond(&[text], Rest::Show(request, cursor)),
                    None => self.respond(&[text, Response::Done(Outcome::Ok)], Rest::Nothing),
                }
            }
            (Pending::Entries(listing), Answer::Entries(contents)) => {
                self.say_entries(listing, &contents);
            }
            (Pending::Export, Answer::Export(draft, more)) => self.say_states(draft, more),
            (_, Answer::Outcome(text, outcome)) => {
                let responses = [Response::Text(text), Response::Done(outcome)];
                self.respond(&responses, Rest::Nothing);
            }
            (_, Answer::Imported(outcome, printed)) => {
                self.printed = Some(printed);
                self.respond(&[Response::Done(outcome)], Rest::Nothing);
            }
            (_, Answer::Refused(message)) => {
                self.respond(&[Response::Error(message)], Rest::Nothing);
            }
            (
                _,
                Answer::Interfaces(..)
                | Answer::Feedback(_)
                | Answer::Page(_)
                | Answer::Entries(_)
                | Answer::Export(..),
            ) => {
                let message = "the daemon lost its place".to_owned();
                self.respond(&[Response::Error(message)], Rest::Goodbye);
            }
        }
        self.advance()
    }

    /// Optimizes here, beside the packet loop, and gives it the rest to do.
    fn install(
        &mut self,
        mut loaded: Loaded,
        wanted: Wanted,
        level: Optimization,
        feedback: &[Feedback],
    ) -> Step {
        let parts = wanted.parts_of(&loaded.ruleset);
        loaded.optimize_parts(level, feedback, parts);
        self.phase = Phase::Waiting(Pending::Outcome);
        let installation = Installation {
            ruleset: loaded.ruleset,
            anchor: loaded.anchor,
            parts,
            merge: wanted.merge,
        };
        Step::Submit(Work::Install(Box::new(installation), self.peer))
    }

    /// Reads until there is a whole request or nothing more to read.
    fn read(&mut self) -> Option<Step> {
        loop {
            let unsearched = &self.input[self.searched..];
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                return self.take_request(self.searched + at);
            }
            let searched = self.input.len();
            self.searched = searched;
            let most = self.rights.request_bytes_max();
            if searched > most {
                let message = format!("request larger than {} KiB", most >> 10);
                self.respond(&[Response::Error(message)], Rest::Goodbye);
                return None;
            }
            self.input.resize(searched + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[searched..]);
            self.input
                .truncate(searched + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => return Some(Step::Close),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Step::Wait),
                Err(_) => return Some(Step::Close),
            }
        }
    }

    /// Starts on the request that ends at the newline at `end` of the input.
    fn take_request(&mut self, end: usize) -> Option<Step> {
        let rest = self.input.split_off(end + 1);
        let line = std::mem::replace(&mut self.input, rest);
        self.searched = 0;
        match decode::<Request>(&line) {
            Ok(request) => match self.rights.check(&request) {
                Ok(()) => self.begin(request),
                Err(message) => {
                    self.respond(&[Response::Error(message)], Rest::Nothing);
                    None
                }
            },
            Err(error) => {
                let message = format!("request not understood: {error}");
                self.respond(&[Response::Error(message)], Rest::Nothing);
                None
            }
        }
    }

    fn begin(&mut self, request: Request) -> Option<Step> {
        if let Request::LoadStates(states) = request {
            self.start_import(&states)
        } else {
            Some(self.start(request))
        }
    }

    fn start(&mut self, request: Request) -> Step {
        let (pending, work) = match request {
            Request::Load(load) => (Pending::Load(load), Work::Interfaces),
            Request::Show(show) => {
                let work = Work::Page(show.clone(), Cursor::default());
                (Pending::Show(show), work)
            }
            Request::Watch(watch) => {
                self.input.clear();
                return self.watch(watch);
            }
            Request::Table(table) if table.command == TableCommand::Show => {
                let listing = Listing {
                    verbose: table.verbose,
                    anchor: table.anchor,
                    name: table.name,
                };
                let work = listing.ask(None);
                (Pending::Entries(listing), work)
            }
            Request::Table(table) => {
                let work = match Change::of(table) {
                    Ok(change) => {
                        let most = self.rights.entries_max();
                        Work::Change(Box::new(change.at_most(most)))
                    }
                    Err(table) => Work::Request(Request::Table(table)),
                };
                (Pending::Outcome, work)
            }
            Request::SaveStates => (Pending::Export, Work::Export(None)),
            other @ (Request::Describe
            | Request::SetEnabled(_)
            | Request::Flush(_)
            | Request::ClearRuleCounters
            | Request::Kill(_)
            | Request::ClearInterface(_)
            | Request::SetDebug(_)
            | Request::LoadStates(_)
            | Request::KillSources(_)
            | Request::KillLimited(_)
            | Request::Gateways
            | Request::Limits
            | Request::Flows
            | Request::Health) => (Pending::Outcome, Work::Request(other)),
        };
        self.phase = Phase::Waiting(pending);
        Step::Submit(work)
    }

    /// Writes what a watching client has coming, and notices when it hangs up.
    fn watch(&mut self, watch: WatchRequest) -> Step {
        self.phase = Phase::Watching(watch);
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Step::Close,
            }
        }
        let mut ignored = [0; 256];
        loop {
            match self.stream.read(&mut ignored) {
                Ok(0) => return Step::Close,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
                Err(_) => return Step::Close,
            }
        }
    }

    /// Whether the client watches logged packets.
    pub fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watching(_))
    }

    /// Tells a watching client of a packet, if it wants it and has read what came before.
    pub fn show(&mut self, record: &Record) {
        let Phase::Watching(watch) = &self.phase else {
            return;
        };
        if watch.log.is_some_and(|log| log != record.log) {
            return;
        }
        if self.output.len() > WATCH_BYTES_MAX {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        let missed = std::mem::take(&mut self.missed);
        let lost = (missed > 0).then_some(Response::Lost(missed));
        let packet = Response::Packet(Box::new(record.clone()));
        for line in lost.iter().chain([&packet]).filter_map(|r| encode(r).ok()) {
            self.output.extend(line);
        }
    }

    /// A watching client will be told that so many packets were left out.
    pub fn miss(&mut self, count: u64) {
        self.missed = self.missed.saturating_add(count);
    }

    fn respond(&mut self, responses: &[Response], rest: Rest) {
        for response in responses {
            if matches!(response, Response::Text(text) if text.is_empty()) {
                continue;
            }
            match encode(response) {
                Ok(line) => self.output.extend(line),
                Err(error) => tracing::warn!(%error, "a response was not encoded"),
            }
        }
        let is_over = matches!(rest, Rest::Nothing) && self.rights.asks_once();
        self.phase = Phase::Writing(if is_over { Rest::Goodbye } else { rest });
    }

    /// Writes; once all is written, goes on with `rest`.
    fn write(&mut self, rest: Rest) -> Option<Step> {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.phase = Phase::Writing(rest);
                    return Some(Step::Wait);
                }
                Err(_) => return Some(Step::Close),
            }
        }
        match rest {
            Rest::Nothing => None,
            Rest::Goodbye => Some(Step::Close),
            Rest::Show(request, cursor) => {
                let work = Work::Page(request.clone(), cursor);
                self.phase = Phase::Waiting(Pending::Show(request));
                Some(Step::Submit(work))
            }
            Rest::Export(draft) => {
                self.phase = Phase::Waiting(Pending::Export);
                Some(Step::Submit(Work::Export(Some(draft))))
            }
            Rest::Entries(listing, last) => {
                let work = listing.ask(Some(last));
                self.phase = Phase::Waiting(Pending::Entries(listing));
                Some(Step::Submit(work))
            }
        }
    }

    /// The file of states is read here, beside the packet loop.
    fn start_import(&mut self, states: &FileBytes) -> Option<Step> {
        match file::read(&states.0[..]) {
            Ok(contents) => {
                self.phase = Phase::Waiting(Pending::Outcome);
                let printed = self.printed.take();
                Some(Step::Submit(Work::Import(Box::new(contents), printed)))
            }
            Err(damage) => {
                let message = format!("states not loaded: {damage}");
                self.respond(&[Response::Error(message)], Rest::Nothing);
                None
            }
        }
    }

    fn say_states(&mut self, mut draft: Box<Draft>, more: bool) {
        let text = |bytes: Vec<u8>| Response::Text(String::from_utf8_lossy(&bytes).into_owned());
        if more {
            let text = text(draft.take());
            self.respond(&[text], Rest::Export(draft));
        } else {
            let done = Response::Done(Outcome::Ok);
            self.respond(&[text(draft.finish()), done], Rest::Nothing);
        }
    }

    fn say_entries(&mut self, listing: Listing, contents: &TableContents) {
        let mut text = String::new();
        for (entry, since, counters) in &contents.entries {
            write_entry(&mut text, ' ', entry);
            if listing.verbose > 0 {
                let (origin, dialect) = (contents.origin, contents.dialect);
                text.push_str(&entry_statistics(*since, origin, *counters, dialect));
            }
        }
        let text = Response::Text(text);
        match contents.next {
            Some(last) => self.respond(&[text], Rest::Entries(listing, last)),
            None => self.respond(&[text, Response::Done(Outcome::Ok)], Rest::Nothing),
        }
    }
}

/// Reads the files of a load as the daemon sees the box.
fn check(request: LoadRequest, around: Surroundings) -> Result<Loaded, String> {
    let random = Random::new().map(|mut random| random.seed());
    let options = LoadOptions {
        dialect: request.dialect.map_or(around.dialect, |name| name.0),
        defines: request.defines,
        interfaces: around.interfaces,
        accounts: accounts::of_machine(),
        anchor: request.anchor,
        hash_seed: random.map_err(|error| format!("no random numbers: {error}"))?,
        memory: memory::of_machine(),
    };
    let files = request.files.into_iter();
    let mut files = MemoryFiles(files.map(|(name, bytes)| (name, bytes.0)).collect());
    let loaded = pf_conf::load(&request.name, &request.main.0, &mut files, &options)
        .map_err(|diagnostics| diagnostics.plain().trim_end().to_owned())?;
    unfiltered::log(&loaded, &options.interfaces, &around.filtered);
    Ok(loaded)
}
