//! The daemon's end of the control socket: a thread of its own, so that no client, however slow,
//! large or hostile, stands between the packets and the engine.
//!
//! The thread reads requests, parses pf.conf, formats and writes answers. What needs the engine
//! goes to the packet loop as [`Job`]s, one at a time for each client.

pub mod client;
pub mod live;
pub mod socket;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token, Waker};
use tracing::{debug, warn};

use self::client::{ClientState, Step};
use self::live::{Feed, Live};
use self::socket::ControlSocket;
use super::service::{Answer, Work};

/// Clients that are served at the same time. pfctl keeps a connection for one command.
pub const CLIENTS_MAX: usize = 16;
/// Events that are taken from the kernel at a time.
const EVENTS_MAX: usize = 64;
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// Work for the packet loop on behalf of a client.
#[derive(Debug)]
pub struct Job {
    /// Which client.
    pub client: usize,
    /// What to do.
    pub work: Work,
}

/// The packet loop's half of the control thread.
#[derive(Debug)]
pub struct Control {
    jobs: Receiver<Job>,
    answers: Option<Sender<(usize, Answer)>>,
    waker: Arc<Waker>,
    feed: Feed,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the control thread on `socket`; it calls `wake` when there is a job.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left.
    pub fn start(socket: ControlSocket, wake: Arc<Waker>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (job_sender, jobs) = channel();
        let (answer_sender, answers) = channel();
        let (feed, live) = live::feed(Arc::clone(&waker));
        let mut server = Server::new(poll, socket, job_sender, wake, answers, live)?;
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || server.run())?;
        Ok(Self {
            jobs,
            answers: Some(answer_sender),
            waker,
            feed,
            thread: Some(thread),
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
    pub fn answer(&self, client: usize, answer: Answer) {
        if let Some(answers) = &self.answers
            && answers.send((client, answer)).is_ok()
            && let Err(error) = self.waker.wake()
        {
            warn!(%error, "cannot wake the control thread");
        }
    }
}

impl Drop for Control {
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
    listener: UnixListener,
    // Keeps the lock and removes the socket when the thread ends.
    _socket: ControlSocket,
    clients: BTreeMap<usize, ClientState>,
    next_client: usize,
    activity: u64,
    jobs: Sender<Job>,
    wake: Arc<Waker>,
    answers: Receiver<(usize, Answer)>,
    live: Live,
}

impl Server {
    fn new(
        poll: Poll,
        mut socket: ControlSocket,
        jobs: Sender<Job>,
        wake: Arc<Waker>,
        answers: Receiver<(usize, Answer)>,
        live: Live,
    ) -> io::Result<Self> {
        let mut listener = UnixListener::from_std(socket.take_listener()?);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            _socket: socket,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            activity: 0,
            jobs,
            wake,
            answers,
            live,
        })
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    warn!(%error, "the control thread ends");
                    return;
                }
            }
            for token in events.iter().map(mio::event::Event::token) {
                match token {
                    LISTENER => self.accept(),
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
                Ok((client, answer)) => self.step(client, |state| state.take_answer(answer)),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Hands logged packets to the clients that watch, as many as fit.
    fn show_live(&mut self) {
        let watching = self.clients.iter().filter(|(_, state)| state.is_watching());
        let watching: Vec<usize> = watching.map(|(client, _)| *client).collect();
        self.live.set_watchers(watching.len());
        let missed = self.live.take_missed();
        for client in &watching {
            if let Some(state) = self.clients.get_mut(client) {
                state.miss(missed);
            }
        }
        for _ in 0..live::QUEUE {
            let Some(record) = self.live.next() else {
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

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    warn!(%error, "a control connection was not accepted");
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: mio::net::UnixStream) {
        if self.clients.len() >= CLIENTS_MAX && !self.make_room() {
            warn!("control connection refused: {CLIENTS_MAX} clients are being served");
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
                self.clients.insert(client, ClientState::new(stream));
                self.step(client, ClientState::advance);
            }
            Err(error) => warn!(%error, "a control connection was not accepted"),
        }
    }

    /// Drops the client that has been silent longest, if there is one that nothing is being done
    /// for.
    fn make_room(&mut self) -> bool {
        let silent = self.clients.iter().filter(|(_, state)| !state.is_waiting());
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

    fn submit(&self, client: usize, work: Work) {
        // A packet loop that is gone ends this thread at the next look at the answers.
        if self.jobs.send(Job { client, work }).is_ok()
            && let Err(error) = self.wake.wake()
        {
            warn!(%error, "cannot wake the packet loop");
        }
    }
}
