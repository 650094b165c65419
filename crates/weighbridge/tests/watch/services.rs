//! The services of a `mail.toml` in this process, with a store that has seen a few clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mail::answer::{Answer, LookUp};
use mail::connection::Peer;
use mail::outcome::{Outcome, OutcomeSink};
use mail::store::{Limits, Store};
use mail::time::Timestamp;
use pf_engine::osfp::features::Segment;
use pf_engine::osfp::p0f::{Database, Mode};
use tokio::sync::oneshot;
use weighbridge::mail::clock;
use weighbridge::mail::http::Facts;
use weighbridge::mail::reputation::Reputation;
use weighbridge::mail::serve::Services;
use weighbridge::mail::settings;
use weighbridge::mail::shared::Shared;

pub(crate) const SIGNATURES: &str = "\
[mtu]
label = Ethernet or modem
sig = 1500
[tcp:request]
label = s:unix:Linux:3.11 and newer
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
";
/// MSS 1460, SACK permitted, timestamps, window scale 7.
const OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
];

/// Who is known to the services.
pub(crate) const CLIENT: &str = "198.51.100.7:4711";
/// What is told of it.
pub(crate) const SYSTEM: &str = "Linux 3.11 and newer";

#[derive(Clone)]
struct Known(Arc<Mutex<Store>>);

impl LookUp for Known {
    fn look_up(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.look_up(peer, now)
    }
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Outcome>>>);

impl OutcomeSink for Told {
    fn record(&mut self, outcome: Outcome) {
        self.0.lock().expect("whole").push(outcome);
    }
}

/// Services that run until this is dropped.
pub(crate) struct Serving {
    dir: tempfile::TempDir,
    told: Told,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// `DIR` in `settings` is a directory of the test's own.
    pub(crate) fn new(settings: &str, with_directory: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().display().to_string();
        let settings = settings::parse("mail.toml", &settings.replace("DIR", &place));
        let settings = settings.expect("it reads");
        let reputation = Reputation::new(&settings);
        let services = Services::open(&settings).expect("it opens");
        let store = Known(Arc::new(Mutex::new(store())));
        let told = Told::default();
        let shared = Shared::new(Box::new(store.clone()), Box::new(told.clone()));
        let facts = Facts {
            directory: with_directory.then(|| dir.path().to_owned()),
            counts: Box::new(move || store.0.lock().expect("whole").counts()),
        };
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                services.start(&Arc::new(shared), &Arc::new(facts), &reputation);
                let _ = stopped.await;
            });
        });
        Self {
            dir,
            told,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.told.0.lock().expect("whole").clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn store() -> Store {
    let database = Database::parse(SIGNATURES).expect("it reads");
    let limits = Limits {
        hosts: 100,
        connections: 100,
    };
    let mut store = Store::new(database, Mode::Better, limits, (1, 2));
    let segment = Segment::of(&syn(CLIENT)).expect("a SYN");
    store.handle(&segment, clock::now(), &mut Vec::new());
    store
}

fn syn(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().expect("an address");
    let SocketAddr::V4(client) = client else {
        panic!("IPv4 alone");
    };
    let mut packet = vec![0x45, 0, 0, 60, 0, 1, 0x40, 0, 55, 6, 0, 0];
    packet.extend(client.ip().octets());
    packet.extend([192, 0, 2, 9]);
    packet.extend(client.port().to_be_bytes());
    packet.extend([0, 25, 0, 0, 0, 9, 0, 0, 0, 0, 0xa0, 2]);
    packet.extend(29_200_u16.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(OPTIONS);
    packet
}

/// Sends `question` by the UNIX socket at `path` and returns all that comes back.
pub(crate) fn exchange(path: &Path, question: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("connected");
    let patience = Some(std::time::Duration::from_secs(10));
    stream.set_read_timeout(patience).expect("set");
    stream.write_all(question).expect("sent");
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    // One that was not heard to the end closes with a reset, behind its answer.
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
    }
    answer
}
