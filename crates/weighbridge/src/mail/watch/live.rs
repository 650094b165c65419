//! Handshakes as they happen, on the process's first thread; whoever asks for them is answered by
//! a second one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use datapath::handshakes::Handshakes;
use mail::published::HEARTBEAT;
use mail::time::Timestamp;
use mail::unknown::Unknown;
use mio::net::UnixStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::oneshot;

use super::keep::{Saving, keep_unknown};
use super::watcher::Watcher;
use crate::config::LogLevel;
use crate::daemon::logging;
use crate::daemon::signals::{descriptor, drain};
use crate::mail::http::Facts;
use crate::mail::outcomes::{StartError, Writer};
use crate::mail::reputation::Reputation;
use crate::mail::serve::Services;
use crate::mail::settings::MailSettings;
use crate::mail::shared::Shared;
use crate::mail::{clock, fleet, outcomes, throttle};
use crate::output::Output;
use crate::text::reason;
use crate::tools::Complaint;

/// Packets that are taken at a time: then signals and the file have their turn.
const BATCH: usize = 256;
/// How often the observations are kept.
const KEEP_EVERY: Duration = Duration::from_mins(5);
/// How often the signatures that are unknown are: `weighbridge fingerprints` shows them.
const KEEP_UNKNOWN_EVERY: Duration = Duration::from_mins(1);
/// How long the end waits until what was said before is heard.
const HEAR_THE_REST_MAX: Duration = Duration::from_secs(2);
/// Pause between two pieces of the file.
const BETWEEN_PIECES: Duration = Duration::from_millis(5);

/// What is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) handshakes: Arc<Handshakes>,
    pub(super) services: Services,
    /// Where observations are kept.
    pub(super) directory: Option<PathBuf>,
    /// What is done beside.
    pub(super) settings: MailSettings,
}

/// Runs until a signal comes or enough was told.
pub(super) fn run(
    open: Open,
    watcher: &mut Watcher,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    let failed = |error: io::Error| Complaint::Message(reason(&error));
    logging::start(LogLevel::Warn);
    let beside = Beside::start(&open, watcher)?;
    let sink = beside
        .writer
        .as_ref()
        .map_or_else(outcomes::nowhere, Writer::sink);
    let mut questions = listen(&open, watcher).map_err(failed)?;
    let shared = Shared::new(Box::new(watcher.observations.clone()), sink);
    let mut stop = descriptor(&[SIGINT, SIGTERM]).map_err(failed)?;
    let facts = Arc::new(facts(&open, watcher));
    let (shared, reputation) = (Arc::new(shared), beside.reputation.clone());
    let answering = answer_beside(open.services, shared, facts, reputation).map_err(failed)?;
    let mut keeping = Keeping {
        directory: open.directory,
        saving: None,
        next: clock::now().saturating_add(KEEP_EVERY),
        next_unknown: clock::now().saturating_add(KEEP_UNKNOWN_EVERY),
    };
    begin_publishing(watcher);
    output.message("weighbridge watch: ready");
    loop {
        let mut waiting = [
            PollFd::new(&open.handshakes, PollFlags::IN),
            PollFd::new(&questions, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
        ];
        let patience = patience(&keeping, watcher);
        let patience = Timespec::try_from(patience).unwrap_or_default();
        match poll(&mut waiting, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        drain(&mut questions);
        if !batch(watcher, output)? {
            break;
        }
        if drain(&mut stop) {
            while has_untold(watcher) && batch(watcher, output)? {}
            break;
        }
        keeping.work(watcher, output);
        if let Some(published) = &mut watcher.observations.held().published {
            published.beat(clock::now());
        }
    }
    answering.finish();
    keeping.finish(watcher, output);
    end_publishing(watcher, output);
    tell_losses(beside, watcher, &open.handshakes, output);
    Ok(())
}

/// Hears packets from now on; what is returned can be read when some were heard for a question.
fn listen(open: &Open, watcher: &Watcher) -> io::Result<UnixStream> {
    let (reader, teller) = std::os::unix::net::UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    teller.set_nonblocking(true)?;
    let mut seen = watcher.observations.held();
    seen.listen(Arc::clone(&open.handshakes), teller);
    Ok(UnixStream::from_std(reader))
}

/// How long nothing needs to be done if no packet comes.
fn patience(keeping: &Keeping, watcher: &Watcher) -> Duration {
    if has_untold(watcher) {
        return Duration::ZERO;
    }
    match watcher.observations.held().published {
        Some(_) => keeping.patience().min(HEARTBEAT),
        None => keeping.patience(),
    }
}

fn has_untold(watcher: &Watcher) -> bool {
    watcher.observations.held().has_untold()
}

/// What could not be kept or was never seen.
fn tell_losses(
    beside: Beside,
    watcher: &Watcher,
    handshakes: &Handshakes,
    output: &mut Output<'_>,
) {
    if let Some(lost @ 1..) = beside.finish() {
        output.message(&format!("weighbridge watch: {lost} outcomes came too fast"));
    }
    if let Some(lost @ 1..) = watcher.unknown.as_ref().map(Unknown::evicted) {
        output.message(&format!(
            "weighbridge watch: {lost} unknown signatures had to give way"
        ));
    }
    if let Ok(lost @ 1..) = handshakes.lost() {
        output.message(&format!("weighbridge watch: {lost} packets came too fast"));
    }
}

/// What HTTP tells beside answers.
fn facts(open: &Open, watcher: &Watcher) -> Facts {
    let observations = watcher.observations.clone();
    Facts {
        directory: open.directory.clone(),
        counts: Box::new(move || observations.held().store.counts()),
    }
}

/// What is known from before.
fn begin_publishing(watcher: &Watcher) {
    let seen = &mut *watcher.observations.held();
    if let Some(published) = &mut seen.published {
        published.begin(&mut seen.store, clock::now());
    }
}

fn end_publishing(watcher: &Watcher, output: &mut Output<'_>) {
    let mut seen = watcher.observations.held();
    let Some(published) = &mut seen.published else {
        return;
    };
    published.end();
    let (counts, failed) = (published.counts(), published.failed());
    for (count, what) in [
        (failed, "answers found no memory to be published in"),
        (counts.unnamed, "names were too many to be published"),
    ] {
        if count != 0 {
            output.message(&format!("weighbridge watch: {count} {what}"));
        }
    }
}

/// Threads that keep what is reported, and act on it.
struct Beside {
    reputation: Reputation,
    writer: Option<Writer>,
    fleet: Option<fleet::Sender>,
}

impl Beside {
    fn start(open: &Open, watcher: &Watcher) -> Result<Self, Complaint> {
        let failed = |error: StartError| Complaint::Message(error.to_string());
        let reputation = Reputation::new(&open.settings);
        let mut beside = Self {
            reputation: reputation.clone(),
            writer: None,
            fleet: None,
        };
        if let Some(directory) = &open.directory {
            let lookup = Box::new(watcher.observations.clone());
            let writer = Writer::start(directory, lookup, reputation.clone());
            beside.writer = Some(writer.map_err(failed)?);
            if let Some(postgres) = &open.settings.postgres {
                let sender = fleet::Sender::start(postgres, directory);
                beside.fleet = Some(sender.map_err(failed)?);
            }
        }
        if let Some(settings) = &open.settings.throttle
            && !settings.dry_run
        {
            let started = throttle::start(settings.clone(), reputation);
            started.map_err(|error| failed(error.into()))?;
        }
        Ok(beside)
    }

    /// Waits until what was reported is counted and sent; returns how many reports were lost.
    fn finish(self) -> Option<u64> {
        let lost = self.writer.map(Writer::finish);
        if let Some(fleet) = self.fleet {
            fleet.finish();
        }
        lost
    }
}

/// The thread that answers. It ends with the process, if not before.
struct Answering {
    stop: oneshot::Sender<()>,
    ended: Receiver<()>,
}

impl Answering {
    /// Has everything heard that was said until now; nobody is answered any more when it returns. One that is
    /// stuck is left behind.
    fn finish(self) {
        if self.stop.send(()).is_ok() {
            let _ = self.ended.recv_timeout(HEAR_THE_REST_MAX);
        }
    }
}

/// Starts the thread that answers.
fn answer_beside(
    services: Services,
    shared: Arc<Shared>,
    facts: Arc<Facts>,
    reputation: Reputation,
) -> io::Result<Answering> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = channel();
    let thread = std::thread::Builder::new().name("services".to_owned());
    thread.spawn(move || {
        runtime.block_on(async {
            services.start(&shared, &facts, &reputation);
            if stopped.await.is_ok() {
                shared.hear_the_rest().await;
            } else {
                std::future::pending::<()>().await;
            }
        });
        drop(runtime);
        let _ = end.send(());
    })?;
    Ok(Answering { stop, ended })
}

/// Tells what has come; false when enough was told.
fn batch(watcher: &mut Watcher, output: &mut Output<'_>) -> io::Result<bool> {
    let mut go_on = true;
    for _ in 0..BATCH {
        let next = watcher.observations.held().next();
        match next {
            Some(Ok(finding)) => go_on = watcher.tell(&finding, output)?,
            // The interface is down, for example. The kernel says so once.
            Some(Err(error)) => {
                output.message(&format!("weighbridge watch: {}", reason(&error)));
                break;
            }
            None => break,
        }
        if !go_on {
            break;
        }
    }
    watcher.flush(output)?;
    Ok(go_on)
}

/// The file of observations. One that cannot be written is told, and tried again.
#[derive(Debug)]
struct Keeping {
    directory: Option<PathBuf>,
    saving: Option<Saving>,
    next: Timestamp,
    next_unknown: Timestamp,
}

impl Keeping {
    /// How long nothing needs to be done.
    fn patience(&self) -> Duration {
        if self.saving.is_some() {
            BETWEEN_PIECES
        } else {
            let next = self.next.min(self.next_unknown);
            next.saturating_since(clock::now())
        }
    }

    fn work(&mut self, watcher: &Watcher, output: &mut Output<'_>) {
        let now = clock::now();
        if self.saving.is_none() && now >= self.next {
            self.next = now.saturating_add(KEEP_EVERY);
            self.begin(output);
        }
        if now >= self.next_unknown {
            self.next_unknown = now.saturating_add(KEEP_UNKNOWN_EVERY);
            self.unknown(watcher, output);
        }
        self.piece(watcher, output);
    }

    fn unknown(&self, watcher: &Watcher, output: &mut Output<'_>) {
        if let (Some(unknown), Some(directory)) = (&watcher.unknown, &self.directory) {
            told(keep_unknown(unknown, directory), output);
        }
    }

    fn finish(&mut self, watcher: &Watcher, output: &mut Output<'_>) {
        self.unknown(watcher, output);
        self.begin(output);
        while self.saving.is_some() {
            self.piece(watcher, output);
        }
    }

    fn begin(&mut self, output: &mut Output<'_>) {
        if let Some(directory) = &self.directory {
            self.saving = told(Saving::begin(directory), output);
        }
    }

    fn piece(&mut self, watcher: &Watcher, output: &mut Output<'_>) {
        let Some(saving) = &mut self.saving else {
            return;
        };
        let done = saving.piece(&watcher.observations.held().store);
        if told(done, output) != Some(false) {
            self.saving = None;
        }
    }
}

fn told<T>(result: io::Result<T>, output: &mut Output<'_>) -> Option<T> {
    let complain = |error: io::Error| {
        let reason = reason(&error);
        output.message(&format!(
            "weighbridge watch: observations cannot be kept: {reason}"
        ));
    };
    result.map_err(complain).ok()
}
