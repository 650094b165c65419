//! Flows of small packets to a host that sends them back: how long each was interrupted.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use lab::clock;
use lab::namespace::Namespace;

const PORT: u16 = 7;
/// Flows, so that some use each link.
const FLOWS: usize = 8;
/// Time between two packets of a flow.
const PERIOD: Duration = Duration::from_millis(4);
const POLL: Duration = Duration::from_millis(50);
/// How long a network may take to carry anything.
const REACH: Duration = Duration::from_secs(30);

/// Sends back what it gets, until it is dropped.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(inside: &Namespace) -> Result<Self> {
        inside.run(Self::start_here)
    }

    /// In the namespace where the caller is.
    pub(crate) fn start_here() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.set_read_timeout(Some(POLL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..len], from);
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Flows that run until they are stopped.
pub(crate) struct Flows {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Duration>>,
    answered: Receiver<Instant>,
}

impl Flows {
    pub(crate) fn start(inside: &Namespace, to: Ipv4Addr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let (tell, answered) = channel();
        for _ in 0..FLOWS {
            let socket = inside.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
            socket.connect(SocketAddr::from((to, PORT)))?;
            socket.set_read_timeout(Some(PERIOD))?;
            let stopped = Arc::clone(&stop);
            let tell = tell.clone();
            threads.push(std::thread::spawn(move || flow(&socket, &stopped, &tell)));
        }
        Ok(Self {
            stop,
            threads,
            answered,
        })
    }

    /// Waits for the first answer to any of them.
    pub(crate) fn first_answer(&self, limit: Duration) -> Result<Instant> {
        Ok(self.answered.recv_timeout(limit)?)
    }

    /// Stops them; the longest time that any was without an answer.
    pub(crate) fn stop(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for thread in self.threads {
            let gap = thread.join().map_err(|_| anyhow!("a flow panicked"))?;
            longest = longest.max(gap);
        }
        Ok(longest)
    }
}

/// Waits until as many flows are answered as are run later, so that each link carries some. Open
/// vSwitch says that it collects some time before it does.
pub(crate) fn reach(inside: &Namespace, to: Ipv4Addr) -> Result<()> {
    for _ in 0..2 * FLOWS {
        let socket = inside.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        socket.connect(SocketAddr::from((to, PORT)))?;
        socket.set_read_timeout(Some(POLL))?;
        let mut buffer = [0; 64];
        let answered = clock::wait_until(REACH, || {
            let _ = socket.send(b"weighbridge");
            socket.recv(&mut buffer).is_ok()
        });
        ensure!(answered, "{to} does not answer");
    }
    Ok(())
}

/// The longest time without an answer, after the first one; all the time, if there was none.
fn flow(socket: &UdpSocket, stop: &AtomicBool, tell: &Sender<Instant>) -> Duration {
    let mut buffer = [0; 64];
    let start = clock::now();
    let mut last = None;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        // A link that is down refuses; that is a gap like any other.
        let _ = socket.send(b"weighbridge");
        if socket.recv(&mut buffer).is_ok() {
            let now = clock::now();
            if last.is_none() {
                let _ = tell.send(now);
            }
            longest = longest.max(now - last.replace(now).unwrap_or(now));
            clock::pause(PERIOD);
        }
    }
    longest.max(clock::now() - last.unwrap_or(start))
}
