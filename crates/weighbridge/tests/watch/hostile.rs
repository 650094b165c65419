//! A thousand clients on each socket that never finish, and one that wants an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lab::clock;
use rustix::process::{Resource, getrlimit, setrlimit};
use weighbridge::mail::clock::now;

use crate::services::{CLIENT, SYSTEM, Serving};

const CLIENTS: usize = 1_000;
/// How long the one that behaves may have to wait, in a build that is not optimized and beside
/// other tests.
const BOUND: Duration = Duration::from_secs(30);
/// What a thousand clients may cost, in kilobytes.
const MEMORY_KB: u64 = 65_536;
const SETTINGS: &str = r#"
[p0f]
listen = { socket = "DIR/p0f.sock" }
[text]
listen = { socket = "DIR/os.sock" }
[policy]
listen = { socket = "DIR/policy.sock" }
[milter]
listen = { socket = "DIR/milter.sock" }
[http]
listen = { socket = "DIR/http.sock" }
"#;

/// Both look at the memory of the process that they share.
static ALONE: Mutex<()> = Mutex::new(());

/// A protocol: half a question, a whole one, and what its answer holds.
struct Protocol {
    socket: &'static str,
    half: Vec<u8>,
    whole: Vec<u8>,
    answer: &'static [u8],
}

fn protocols() -> Vec<Protocol> {
    let mut p0f = 0x5030_4601_u32.to_ne_bytes().to_vec();
    p0f.extend([4, 198, 51, 100, 7]);
    p0f.resize(21, 0);
    let text = |socket, half: &str, whole: &str, answer| Protocol {
        socket,
        half: half.as_bytes().to_vec(),
        whole: whole.as_bytes().to_vec(),
        answer,
    };
    // Version 6, all actions and steps, as Postfix begins.
    let milter = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff".to_vec();
    vec![
        Protocol {
            socket: "p0f.sock",
            half: p0f[..20].to_vec(),
            whole: p0f,
            answer: b"Linux\0",
        },
        text(
            "os.sock",
            "os 198.51",
            "os 198.51.100.7 4711\n",
            SYSTEM.as_bytes(),
        ),
        text(
            "policy.sock",
            "client_address=198.51.100.7\nclient_po",
            "client_address=198.51.100.7\nclient_port=4711\n\n",
            b"action=PREPEND X-OS-Fingerprint: Linux",
        ),
        Protocol {
            socket: "milter.sock",
            half: milter[..9].to_vec(),
            whole: milter,
            answer: b"O\0\0\0\x06",
        },
        text(
            "http.sock",
            "GET /os/198.51.100.7 HTTP/1.1\r\nHo",
            "GET /os/198.51.100.7 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"Linux 3.11 and newer",
        ),
    ]
}

/// One that never finishes: it says nothing, or half of what there is to say, or all but reads no answer
/// and asks again, or will say no more.
fn stuck(path: &Path, protocol: &Protocol, number: usize) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.set_nonblocking(true).expect("set");
    // Whether all of it was taken is the server's business.
    let _ = match number % 4 {
        0 => Ok(0),
        1 => stream.write(&protocol.half),
        2 => stream.write(&protocol.whole.repeat(500)),
        _ => {
            let _ = stream.write(&protocol.half);
            stream.shutdown(Shutdown::Write).map(|()| 0)
        }
    };
    stream
}

/// How long one that behaves waited for its answer.
fn asked(path: &Path, protocol: &Protocol) -> Duration {
    let begin = now();
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.set_read_timeout(Some(BOUND)).expect("set");
    stream.write_all(&protocol.whole).expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let found = |answer: &[u8]| {
        let mut windows = answer.windows(protocol.answer.len());
        windows.any(|window| window == protocol.answer)
    };
    while !found(&answer) {
        let length = stream.read(&mut piece).expect(protocol.socket);
        let so_far = String::from_utf8_lossy(&answer);
        assert!(length > 0, "{}: closed after {so_far:?}", protocol.socket);
        answer.extend_from_slice(&piece[..length]);
    }
    now().saturating_since(begin)
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("a number").parse().expect("a number")
}

/// Descriptors for both ends of all clients; false when there are none to be had.
#[expect(
    clippy::print_stderr,
    reason = "who reads the test's output shall know"
)]
fn enough_descriptors() -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = 4 * CLIENTS as u64;
    if limit.current.is_none_or(|current| current >= wanted) {
        return true;
    }
    let most = limit.maximum.map_or(wanted, |most| most.min(wanted));
    limit.current = Some(most);
    let enough = most >= wanted && setrlimit(Resource::Nofile, limit).is_ok();
    if !enough {
        eprintln!("skipped: fewer than {wanted} descriptors may be had");
    }
    enough
}

#[test]
fn a_thousand_slow_clients_on_each_socket_hold_up_nobody_else() {
    if !enough_descriptors() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let serving = Serving::new(SETTINGS, false);
    let protocols = protocols();
    for protocol in &protocols {
        let path = serving.path(protocol.socket);
        asked(&path, protocol);
        let before = resident_kb();
        let mut crowd: Vec<_> = (0..CLIENTS)
            .map(|number| stuck(&path, protocol, number))
            .collect();
        for round in 0..5 {
            let waited = asked(&path, protocol);
            println!("{}: {waited:?}", protocol.socket);
            assert!(waited < BOUND, "{}: {waited:?}", protocol.socket);
            // They go on, a byte each.
            for client in crowd.iter_mut().skip(round).step_by(5) {
                let _ = client.write(b"a");
            }
        }
        // The other services do not notice.
        for other in &protocols {
            let waited = asked(&serving.path(other.socket), other);
            assert!(
                waited < BOUND,
                "{} beside {}",
                other.socket,
                protocol.socket
            );
        }
        let grown = resident_kb().saturating_sub(before);
        assert!(grown < MEMORY_KB, "{}: {grown} kB", protocol.socket);
    }
}

#[test]
fn a_flood_of_datagrams_does_not_keep_amavis_from_its_answer() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("has one");
    drop(free);
    let _serving = Serving::new(&format!("[amavis]\naddress = \"{address}\"\n"), false);
    let done = AtomicBool::new(false);
    let before = resident_kb();
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| flood(address, &done));
        let answered = amavis(address);
        done.store(true, Ordering::Relaxed);
        answered
    });
    assert!(answered, "no answer within {BOUND:?}");
    assert!(resident_kb().saturating_sub(before) < MEMORY_KB);
}

/// Garbage, questions without port, and questions whose answers nobody reads.
fn flood(to: SocketAddr, done: &AtomicBool) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let long = [b'x'; 1_400];
    let kinds: [&[u8]; 3] = [&long, b"[198.51.100.7] nonce", b"[198.51.100.7]:4711 nonce"];
    while !done.load(Ordering::Relaxed) {
        for kind in kinds {
            let _ = socket.send_to(kind, to);
        }
    }
}

/// As amavisd asks: it waits 50 ms, and goes on without an answer; the next message asks again.
fn amavis(to: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let patience = Some(Duration::from_millis(50));
    socket.set_read_timeout(patience).expect("set");
    let port = CLIENT.rsplit(':').next().expect("a port");
    let question = format!("[198.51.100.7]:{port} nonce");
    let mut answer = [0; 2_048];
    clock::wait_until(BOUND, || {
        socket.send_to(question.as_bytes(), to).expect("sent");
        let Ok(length) = socket.recv(&mut answer) else {
            return false;
        };
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(
            text.contains("nonce Linux 3.11 and newer; dist: 9"),
            "{text}"
        );
        true
    })
}
