//! Stream services: accepts clients and talks with each, by a [`Session`] or otherwise.
//!
//! No client can hurt another: each has a task of its own, input is taken in bounded pieces, a
//! client that does not read its answers is cut, and when all seats are taken the one that has
//! been silent longest loses its seat to the newcomer.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail::session::{Flow, Session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::listen::Bound;
use super::shared::Shared;

/// Bytes that are taken from a client at a time, fifty questions at most: then the others have
/// their turn.
const PIECE: usize = 1024;
/// How long a client may take to read an answer.
const WRITE: Duration = Duration::from_secs(5);
/// How long, and in how many pieces, what a client goes on saying behind its last question is taken: a socket
/// that is closed while something is unread in it takes the answer along.
const REST: Duration = Duration::from_secs(1);
const REST_PIECES: usize = 64;
/// Pause after the system has refused to accept (no descriptors): others may close meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the session of a new client.
pub type NewSession = Arc<dyn Fn() -> Box<dyn Session> + Send + Sync>;

/// How a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a UNIX socket: a process of this machine, which the socket's mode lets in.
    Unix,
    /// By TCP.
    Tcp,
}

/// A client's stream of either kind.
pub type Stream = Box<dyn Duplex>;

/// What a stream can do.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Talks with one client until one of them has enough.
pub type Talk = Arc<dyn Fn(Stream, Way, Seat) -> Talking + Send + Sync>;

/// A talk under way.
pub type Talking = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Talks by sessions, which `new_session` makes.
#[must_use]
pub fn by_sessions(new_session: NewSession, shared: Arc<Shared>) -> Talk {
    Arc::new(move |stream, _, seat| {
        let client = Client {
            stream,
            session: new_session(),
            shared: Arc::clone(&shared),
            seat,
        };
        Box::pin(client.converse())
    })
}

/// Serves on `bound` until the task is dropped, at most `clients` at a time.
///
/// # Errors
/// When the sockets cannot be handed to the runtime.
pub async fn serve(bound: Bound, clients: usize, talk: Talk) -> io::Result<()> {
    let service = Service {
        seats: Arc::new(Mutex::new(Seats::new(clients))),
        talk,
    };
    let unix = bound.unix.map(|listener| {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    });
    let tcp = bound.tcp.map(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let (unix, tcp) = (unix.transpose()?, tcp.transpose()?);
    loop {
        let accepted = tokio::select! {
            Some(client) = accept_unix(unix.as_ref()) => client.map(|stream| {
                service.admit(Box::new(stream), Way::Unix);
            }),
            Some(client) = accept_tcp(tcp.as_ref()) => client.map(|stream| {
                service.admit(Box::new(stream), Way::Tcp);
            }),
            else => return Ok(()),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "a client was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn accept_unix(listener: Option<&UnixListener>) -> Option<io::Result<UnixStream>> {
    let accepted = listener?.accept().await;
    Some(accepted.map(|(stream, _)| stream))
}

async fn accept_tcp(listener: Option<&TcpListener>) -> Option<io::Result<TcpStream>> {
    let accepted = listener?.accept().await;
    Some(accepted.map(|(stream, _)| stream))
}

struct Service {
    seats: Arc<Mutex<Seats>>,
    talk: Talk,
}

impl Service {
    fn admit(&self, stream: Stream, way: Way) {
        let number = held(&self.seats).reserve();
        let seat = Seat {
            seats: Arc::clone(&self.seats),
            number,
        };
        let talking = (self.talk)(stream, way, seat);
        let task = tokio::spawn(async move {
            if let Err(error) = talking.await {
                tracing::debug!(%error, "a client is gone");
            }
        });
        held(&self.seats).take(number, task.abort_handle());
    }
}

/// A client's place, which is free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Mutex<Seats>>,
    number: u64,
}

impl Seat {
    /// The client has said something.
    pub fn touch(&self) {
        held(&self.seats).touch(self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        held(&self.seats).taken.remove(&self.number);
    }
}

/// Who is served, and who has been silent longest.
#[derive(Debug)]
struct Seats {
    most: usize,
    next: u64,
    activity: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    activity: u64,
    task: AbortHandle,
}

impl Seats {
    const fn new(most: usize) -> Self {
        Self {
            most,
            next: 0,
            activity: 0,
            taken: BTreeMap::new(),
        }
    }

    /// Makes room for one more and numbers it.
    fn reserve(&mut self) -> u64 {
        if self.taken.len() >= self.most {
            let silent = self.taken.iter().min_by_key(|(_, seat)| seat.activity);
            if let Some(number) = silent.map(|(number, _)| *number)
                && let Some(seat) = self.taken.remove(&number)
            {
                seat.task.abort();
            }
        }
        self.next += 1;
        self.next
    }

    fn take(&mut self, number: u64, task: AbortHandle) {
        self.activity += 1;
        let activity = self.activity;
        self.taken.insert(number, Taken { activity, task });
    }

    fn touch(&mut self, number: u64) {
        self.activity += 1;
        if let Some(seat) = self.taken.get_mut(&number) {
            seat.activity = self.activity;
        }
    }
}

struct Client {
    stream: Stream,
    session: Box<dyn Session>,
    shared: Arc<Shared>,
    seat: Seat,
}

impl Client {
    async fn converse(mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let mut output = Vec::new();
        loop {
            let silence = self.session.silence();
            let length = timeout(silence, self.stream.read(&mut piece)).await??;
            self.seat.touch();
            let flow = self.shared.with_world(|world| {
                if length == 0 {
                    self.session.end(&mut output, world);
                    return Flow::Close;
                }
                self.session.input(&piece[..length], &mut output, world)
            });
            timeout(WRITE, self.stream.write_all(&output)).await??;
            output.clear();
            if flow == Flow::Close {
                timeout(WRITE, self.stream.shutdown()).await??;
                let rest = async {
                    for _ in 0..REST_PIECES {
                        if length == 0 || self.stream.read(&mut piece).await? == 0 {
                            break;
                        }
                    }
                    Ok(())
                };
                return timeout(REST, rest).await.unwrap_or(Ok(()));
            }
        }
    }
}

fn held(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Blocking;

    use mail::session::World;

    use super::*;
    use crate::mail::listen::bind;
    use crate::mail::settings::Listen;
    use crate::mail::testing::Nobody;

    struct Echo;

    impl Session for Echo {
        fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, _: &mut World<'_>) -> Flow {
            output.extend_from_slice(bytes);
            if bytes.contains(&b'!') {
                Flow::Close
            } else {
                Flow::Continue
            }
        }
    }

    fn said_back(client: &mut Blocking, text: &str) -> String {
        client.write_all(text.as_bytes()).expect("sent");
        let mut back = vec![0; text.len()];
        client.read_exact(&mut back).expect("answered");
        String::from_utf8(back).expect("text")
    }

    /// Runs `clients` against an echo service of two seats.
    fn with_two_seats(clients: impl FnOnce(&std::path::Path) + Send + 'static) {
        with_two_seats_of(Arc::new(|| Box::new(Echo)), clients);
    }

    fn with_two_seats_of(
        session: NewSession,
        clients: impl FnOnce(&std::path::Path) + Send + 'static,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("echo.sock");
        let bound = bind(&Listen {
            socket: Some(path.clone()),
            ..Listen::default()
        })
        .expect("listens");
        let shared = Arc::new(Shared::new(Box::new(Nobody), Box::new(Nobody)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let clients = tokio::task::spawn_blocking(move || clients(&path));
            tokio::select! {
                served = serve(bound, 2, by_sessions(session, shared)) => {
                    panic!("the service ended: {served:?}");
                }
                done = clients => done.expect("the clients are content"),
            }
        });
    }

    #[test]
    fn the_client_that_was_silent_longest_gives_its_seat_to_a_newcomer() {
        with_two_seats(|path| {
            let connect = || Blocking::connect(path).expect("connected");
            let (mut first, mut second) = (connect(), connect());
            assert_eq!(said_back(&mut first, "one"), "one");
            assert_eq!(said_back(&mut second, "two"), "two");
            assert_eq!(said_back(&mut first, "three"), "three");
            let mut third = connect();
            assert_eq!(said_back(&mut third, "four"), "four");
            assert_eq!(second.read(&mut [0; 8]).expect("closed"), 0);
            assert_eq!(said_back(&mut first, "five"), "five");
        });
    }

    #[test]
    fn what_was_written_before_the_end_arrives() {
        with_two_seats(|path| {
            let mut client = Blocking::connect(path).expect("connected");
            client.write_all(b"bye!").expect("sent");
            let mut all = String::new();
            client.read_to_string(&mut all).expect("read");
            assert_eq!(all, "bye!");
        });
    }

    #[test]
    fn an_answer_arrives_though_the_client_had_more_to_say() {
        with_two_seats(|path| {
            let mut client = Blocking::connect(path).expect("connected");
            let more = ["!", "x".repeat(10 * PIECE).as_str()].concat();
            client.write_all(more.as_bytes()).expect("sent");
            client
                .shutdown(std::net::Shutdown::Write)
                .expect("it says no more");
            let mut all = String::new();
            client.read_to_string(&mut all).expect("read");
            assert_eq!(all, more[..PIECE]);
        });
    }

    /// Lets nobody be silent.
    struct Impatient;

    impl Session for Impatient {
        fn input(&mut self, _: &[u8], _: &mut Vec<u8>, _: &mut World<'_>) -> Flow {
            Flow::Continue
        }

        fn silence(&self) -> Duration {
            Duration::from_millis(1)
        }
    }

    #[test]
    fn a_protocol_says_how_long_its_clients_may_be_silent() {
        with_two_seats_of(Arc::new(|| Box::new(Impatient)), |path| {
            let mut client = Blocking::connect(path).expect("connected");
            assert_eq!(client.read(&mut [0; 8]).expect("cut"), 0);
        });
    }
}
