//! The daemon's end of the control socket and of those for tables and status: threads of their own,
//! so that no client, however slow, large or hostile, stands between the packets and the engine.
//!
//! The thread reads requests, parses pf.conf, formats and writes answers. What needs the engine
//! goes to the packet loop as [`Job`]s, one at a time for each client.

pub mod client;
pub mod live;
pub mod rights;
pub mod socket;
pub mod status;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token, Waker};
use tracing::{debug, warn};

use self::client::{ClientState, Step};
use self::live::{Feed, Live};
use self::rights::{Rights, TableSocket};
use self::socket::ControlSocket;
use self::status::{Asked, Kept, StatusSocket};
use super::service::{Answer, Change, Work};

/// Clients that are served at the same time. pfctl keeps a connection for one command.
pub const CLIENTS_MAX: usize = 16;
/// Clients of the socket for tables that are served at the same time.
pub const TABLE_CLIENTS_MAX: usize = 4;
/// How often addresses of the tables of that socket are looked at that are too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// Events that are taken from the kernel at a time.
const EVENTS_MAX: usize = 64;
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const TABLES: Token = Token(2);
/// For whom the daemon expires addresses: nobody is told.
const NOBODY: usize = 3;
const FIRST_CLIENT: usize = 4;

/// Work for the packet loop on behalf of a client.
#[derive(Debug)]
pub struct Job {
    /// Which client.
    pub client: ClientId,
    /// What to do.
    pub work: Work,
}

/// A client of one of the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId {
    thread: usize,
    number: usize,
}

/// The sockets that are served.
#[derive(Debug)]
pub struct Sockets {
    /// For pfctl.
    pub control: ControlSocket,
    /// For changes of tables.
    pub tables: Option<TableSocket>,
    /// For monitoring.
    pub status: Option<StatusSocket>,
}

impl From<ControlSocket> for Sockets {
    /// This one alone.
    fn from(control: ControlSocket) -> Self {
        Self {
            control,
            tables: None,
            status: None,
        }
    }
}

/// The packet loop's half of the control threads.
#[derive(Debug)]
pub struct Control {
    jobs: Receiver<Job>,
    feed: Feed,
    /// By their [`ClientId`]s.
    threads: Vec<Serving>,
}

/// A thread that serves clients.
#[derive(Debug)]
struct Serving {
    answers: Option<Sender<(usize, Answer)>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start(
        name: &str,
        answers: Sender<(usize, Answer)>,
        waker: Arc<Waker>,
        server: Server,
    ) -> io::Result<Self> {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || server.run())?;
        Ok(Self {
            answers: Some(answers),
            waker,
            thread: Some(thread),
        })
    }
}

impl Control {
    /// Starts a thread for the control socket and that for tables, and one for that for status; they
    /// call `wake` when there is a job.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left.
    pub fn start(sockets: Sockets, wake: &Arc<Waker>) -> io::Result<Self> {
        let (job_sender, jobs) = channel();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (answers, receiver) = channel();
        let (feed, live) = live::feed(Arc::clone(&waker));
        let mut control = sockets.control;
        let listener = control.take_listener()?;
        let mut server = Server::new(
            poll,
            listener,
            job_sender.clone(),
            Arc::clone(wake),
            receiver,
        )?;
        server.socket = Some(control);
        server.live = Some(live);
        if let Some(tables) = sockets.tables {
            server.serve_tables(tables)?;
        }
        let mut threads = vec![Serving::start("control", answers, waker, server)?];
        if let Some(StatusSocket(listener)) = sockets.status {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let (answers, receiver) = channel();
            let mut server = Server::new(poll, listener, job_sender, Arc::clone(wake), receiver)?;
            server.thread = threads.len();
            server.rights = Rights::Status;
            server.kept = Some(Kept::default());
            threads.push(Serving::start("status", answers, waker, server)?);
        }
        Ok(Self {
            jobs,
            feed,
            threads,
        })
    }

    /// Where logged packets go that clients watch.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// The next job, if there is one.
    #[must_use]
    pub fn next_job(&self) -> Option<Job> {
        self.jobs.try_recv().ok()
    }

    /// Sends the answer to a job. A client that is gone by then does not get it.
    pub fn answer(&self, client: ClientId, answer: Answer) {
        if let Some(serving) = self.threads.get(client.thread)
            && let Some(answers) = &serving.answers
            && answers.send((client.number, answer)).is_ok()
            && let Err(error) = serving.waker.wake()
        {
            warn!(%error, "cannot wake the control thread");
        }
    }
}

impl Drop for Serving {
    /// Without a sender the thread ends, and takes the socket with it.
    fn drop(&mut self) {
        self.answers = None;
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Server {
    poll: Poll,
    /// Of which number of the threads it is the work.
    thread: usize,
    listener: UnixListener,
    /// What clients of that may ask for.
    rights: Rights,
    /// Keeps the lock and removes the socket when the thread ends.
    socket: Option<ControlSocket>,
    clients: BTreeMap<usize, ClientState>,
    next_client: usize,
    activity: u64,
    jobs: Sender<Job>,
    wake: Arc<Waker>,
    answers: Receiver<(usize, Answer)>,
    live: Option<Live>,
    tables: Option<Tables>,
    /// Where the packet loop is not asked the same again and again.
    kept: Option<Kept>,
}

/// The socket for tables.
struct Tables {
    listener: UnixListener,
    rights: Rights,
    names: Vec<String>,
    max_age: Duration,
    /// When addresses are expired next.
    next: std::time::Instant,
}

impl Server {
    fn new(
        poll: Poll,
        listener: std::os::unix::net::UnixListener,
        jobs: Sender<Job>,
        wake: Arc<Waker>,
        answers: Receiver<(usize, Answer)>,
    ) -> io::Result<Self> {
        let mut listener = UnixListener::from_std(listener);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            thread: 0,
            listener,
            rights: Rights::All,
            socket: None,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            activity: 0,
            jobs,
            wake,
            answers,
            live: None,
            tables: None,
            kept: None,
        })
    }

    fn serve_tables(&mut self, socket: TableSocket) -> io::Result<()> {
        let mut listener = UnixListener::from_std(socket.listener);
        self.poll
            .registry()
            .register(&mut listener, TABLES, Interest::READABLE)?;
        self.tables = Some(Tables {
            listener,
            rights: socket.rights,
            names: socket.settings.names.iter().cloned().collect(),
            max_age: socket.settings.max_age,
            next: moment(),
        });
        Ok(())
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let patience = self.expire_addresses();
            match self.poll.poll(&mut events, patience) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    warn!(%error, "the control thread ends");
                    return;
                }
            }
            for token in events.iter().map(mio::event::Event::token) {
                match token {
                    LISTENER | TABLES => self.accept(token),
                    WAKER => {}
                    Token(client) => self.step(client, ClientState::advance),
                }
            }
            if !self.take_answers() {
                return;
            }
            self.show_live();
        }
    }

    /// Hands answers to their clients; false once the packet loop is gone.
    fn take_answers(&mut self) -> bool {
        loop {
            match self.answers.try_recv() {
                Ok((client, answer)) => self.take_answer(client, answer),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Hands an answer to its client, and to those who have asked the same.
    fn take_answer(&mut self, client: usize, answer: Answer) {
        let others = self
            .kept
            .as_mut()
            .map(|kept| kept.answered(client, &answer));
        self.step(client, |state| state.take_answer(answer));
        for (other, answer) in others.into_iter().flatten() {
            self.step(other, |state| state.take_answer(answer));
        }
    }

    /// Hands logged packets to the clients that watch, as many as fit.
    fn show_live(&mut self) {
        let Some(live) = &self.live else {
            return;
        };
        let watching = self.clients.iter().filter(|(_, state)| state.is_watching());
        let watching: Vec<usize> = watching.map(|(client, _)| *client).collect();
        live.set_watchers(watching.len());
        let missed = live.take_missed();
        for client in &watching {
            if let Some(state) = self.clients.get_mut(client) {
                state.miss(missed);
            }
        }
        for _ in 0..live::QUEUE {
            let Some(record) = live.next() else {
                break;
            };
            for client in &watching {
                if let Some(state) = self.clients.get_mut(client) {
                    state.show(&record);
                }
            }
        }
        for client in watching {
            self.step(client, ClientState::advance);
        }
    }

    /// Has addresses deleted that are too old, when it is time to; tells how long it is until then.
    fn expire_addresses(&mut self) -> Option<Duration> {
        let tables = self.tables.as_mut()?;
        let now = moment();
        if now >= tables.next {
            tables.next = now + EXPIRE_EVERY;
            let changes = tables.names.iter();
            let changes: Vec<Change> = changes
                .map(|name| Change::expire(name, tables.max_age))
                .collect();
            for change in changes {
                self.submit(NOBODY, Work::Change(Box::new(change)));
            }
            return Some(EXPIRE_EVERY);
        }
        Some(tables.next.saturating_duration_since(now))
    }

    fn accept(&mut self, listener: Token) {
        loop {
            let accepted = match (&self.tables, listener) {
                (Some(tables), TABLES) => tables
                    .listener
                    .accept()
                    .map(|(stream, _)| (stream, tables.rights.clone())),
                _ => self
                    .listener
                    .accept()
                    .map(|(stream, _)| (stream, self.rights.clone())),
            };
            match accepted {
                Ok((stream, rights)) => self.admit(stream, rights),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    warn!(%error, "a control connection was not accepted");
                    return;
                }
            }
        }
    }

    /// Who may only change tables takes no seat from who may do everything.
    fn admit(&mut self, mut stream: mio::net::UnixStream, rights: Rights) {
        let (privileged, most) = (rights.is_all(), rights.clients_max());
        let alike = self.clients.values();
        let alike = alike.filter(|state| state.is_privileged() == privileged);
        if alike.count() >= most && !self.make_room(privileged) {
            // What everybody can bring about must not fill the log.
            if rights.asks_once() {
                debug!("connection for status refused: {most} clients are being served");
            } else {
                warn!("control connection refused: {most} clients are being served");
            }
            return;
        }
        let client = self.next_client;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(&mut stream, Token(client), interest);
        match registered {
            Ok(()) => {
                self.next_client += 1;
                let state = ClientState::new(stream, rights);
                self.clients.insert(client, state);
                self.step(client, ClientState::advance);
            }
            Err(error) => warn!(%error, "a control connection was not accepted"),
        }
    }

    /// Drops the client of this kind that has been silent longest, if there is one that nothing is
    /// being done for.
    fn make_room(&mut self, privileged: bool) -> bool {
        let silent = self
            .clients
            .iter()
            .filter(|(_, state)| state.is_privileged() == privileged && !state.is_waiting());
        let Some(client) = silent
            .min_by_key(|(_, state)| state.activity)
            .map(|(c, _)| *c)
        else {
            return false;
        };
        debug!(client, "silent control client dropped");
        self.clients.remove(&client).is_some()
    }

    fn step(&mut self, client: usize, advance: impl FnOnce(&mut ClientState) -> Step) {
        let Some(state) = self.clients.get_mut(&client) else {
            return;
        };
        self.activity += 1;
        state.activity = self.activity;
        match advance(state) {
            Step::Wait => {}
            Step::Submit(work) => self.submit(client, work),
            Step::Close => {
                self.clients.remove(&client);
            }
        }
    }

    fn submit(&mut self, client: usize, work: Work) {
        if let Some(kept) = &mut self.kept {
            match kept.ask(client, &work, moment()) {
                Asked::New => {}
                Asked::Waits => return,
                Asked::Known(outcome) => {
                    let answer = Answer::Outcome(String::new(), outcome);
                    return self.step(client, |state| state.take_answer(answer));
                }
            }
        }
        let client = ClientId {
            thread: self.thread,
            number: client,
        };
        // A packet loop that is gone ends this thread at the next look at the answers.
        if self.jobs.send(Job { client, work }).is_ok()
            && let Err(error) = self.wake.wake()
        {
            warn!(%error, "cannot wake the packet loop");
        }
    }
}

/// The control thread's own sense of time, for what it does now and then.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing that is decided rests on it but how often old addresses are looked for"
)]
fn moment() -> std::time::Instant {
    std::time::Instant::now()
}
