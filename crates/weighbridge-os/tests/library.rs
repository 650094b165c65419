//! The library as a C program sees it, compiled with clang against its header; and a writer and
//! readers at the same time.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::connection::Peer;
use mail::published::{Header, Publisher, Write};
use mail::store::{Limits, Store};
use mail::time::Timestamp;
use pf_engine::osfp::features::Segment;
use pf_engine::osfp::p0f::{Database, Mode};
use weighbridge_os::{Found, Reader};

const SIGNATURES: &str = "\
[mtu]
label = Ethernet or modem
sig = 1500
[tcp:request]
label = s:unix:Linux:3.11 and newer
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
label = s:win:Windows:7 or 8
sig = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
";
const CLIENT: &str = "192.0.2.1:4711";
const SERVER: &str = "192.0.2.9:25";
/// How often is written while somebody reads, at least and at most.
const WRITES: u32 = 20_000;
const MOST_WRITES: u32 = 2_000_000;

#[expect(clippy::disallowed_methods, reason = "the library looks at the clock")]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_epoch(since_1970.unwrap_or(Duration::ZERO))
}

/// A heartbeat of the future is not too old however long a test takes.
fn ahead() -> Timestamp {
    now().saturating_add(Duration::from_hours(1))
}

/// A daemon as far as readers see one.
struct Daemon {
    store: Store,
    publisher: Publisher,
    file: File,
}

impl Daemon {
    fn new(path: &Path) -> Self {
        let header = Header::new(100, 1, (3, 4)).beaten(ahead());
        let limits = Limits {
            hosts: 100,
            connections: 100,
        };
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .open(&new)
            .expect("made");
        file.set_len(header.file_len()).expect("has room");
        file.write_all_at(&header.bytes(), 0).expect("written");
        std::fs::rename(new, path).expect("renamed");
        let database = Database::parse(SIGNATURES).expect("it reads");
        Self {
            store: Store::new(database, Mode::Better, limits, (1, 2)),
            publisher: Publisher::new(header),
            file,
        }
    }

    fn beat(&self, moment: Timestamp) {
        let header = self.publisher.header().beaten(moment);
        self.file.write_all_at(&header.bytes(), 0).expect("written");
    }

    fn sees(&mut self, packet: &[u8]) {
        let segment = Segment::of(packet).expect("a handshake");
        let (mut events, mut writes) = (Vec::new(), Vec::new());
        let now = now();
        self.store.handle(&segment, now, &mut events);
        self.publisher
            .events(&mut self.store, &events, now, &mut writes);
        for write in &writes {
            self.write(write);
        }
    }

    fn write(&self, write: &Write) {
        let written = self.file.write_all_at(write.bytes(), write.offset());
        written.expect("written");
    }
}

/// A SYN of Linux or Windows.
fn syn(client: &str, windows: bool, seq: u32) -> Vec<u8> {
    let linux: &[u8] = &[
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let (ttl, window, options): (u8, u16, &[u8]) = if windows {
        (120, 8192, &[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2])
    } else {
        (55, 29_200, linux)
    };
    let (client, server): (SocketAddr, SocketAddr) = (
        client.parse().expect("an address"),
        SERVER.parse().expect("an address"),
    );
    let octets = |end: SocketAddr| match end {
        SocketAddr::V4(end) => end.ip().octets(),
        SocketAddr::V6(_) => panic!("IPv4 alone"),
    };
    let len = u8::try_from(40 + options.len()).expect("short");
    let mut packet = vec![0x45, 0, 0, len, 0, 1, 0x40, 0, ttl, 6, 0, 0];
    packet.extend(octets(client));
    packet.extend(octets(server));
    packet.extend(client.port().to_be_bytes());
    packet.extend(server.port().to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 0, ((len - 20) / 4) << 4, 2]);
    packet.extend(window.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(options);
    packet
}

/// The library lies beside the test programs.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("it runs");
    let built = test
        .parent()
        .expect("a directory")
        .join("libweighbridge_os.so");
    assert!(built.exists(), "{} is not built", built.display());
    built
}

/// Compiles the C program into `dir`; false without a compiler.
#[expect(
    clippy::print_stderr,
    reason = "who reads the test's output shall know"
)]
fn compiled(dir: &Path) -> bool {
    for name in ["libweighbridge-os.so", "libweighbridge-os.so.0"] {
        symlink(library(), dir.join(name)).expect("linked");
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut clang = Command::new("clang");
    clang.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"]);
    clang.arg(here.join("include"));
    clang
        .arg(here.join("tests/c/ask.c"))
        .arg("-o")
        .arg(dir.join("ask"));
    clang.arg("-L").arg(dir).arg("-lweighbridge-os");
    match clang.status() {
        Ok(status) => {
            assert!(status.success(), "the header or the program is wrong");
            true
        }
        Err(error) => {
            eprintln!("skipped: clang: {error}");
            false
        }
    }
}

/// What the C program says.
fn asked(dir: &Path, arguments: &[&str]) -> Vec<String> {
    let mut program = Command::new(dir.join("ask"));
    program.arg(dir.join("os.shm")).args(arguments);
    let ran = program.env("LD_LIBRARY_PATH", dir).output();
    let ran = ran.expect("it runs");
    assert!(ran.status.success(), "{:?}", ran.status);
    let text = String::from_utf8(ran.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_c_program_learns_what_is_known_and_that_nobody_knows() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    if !compiled(dir) {
        return;
    }
    let nobody = asked(dir, &["192.0.2.1"]);
    assert_eq!(nobody[0], "3 Unknown|Unknown|||||");
    assert_eq!(nobody[1..], ["0 0 -1 0 0 -1 0", "1", "exim 0 "]);

    let mut daemon = Daemon::new(&dir.join("os.shm"));
    daemon.sees(&syn(CLIENT, false, 1));
    daemon.sees(&syn("192.0.2.1:4712", true, 2));
    let linux = "Linux 3.11 and newer (exact, distance 9, link: Ethernet or modem)";
    let known = asked(dir, &["192.0.2.1", "4711", "192.0.2.9", "25"]);
    assert_eq!(
        known[0],
        format!("0 Linux 3.11 and newer|{linux}|unix|Linux|3.11 and newer|Ethernet or modem|exact")
    );
    let fields: Vec<&str> = known[1].split(' ').collect();
    let seen: u64 = fields[0].parse().expect("a number");
    assert!(now().as_secs() - seen < 60);
    assert_eq!(fields[2..], ["-1", "2", "1500", "9", "1"]);
    assert_eq!(known[2..], ["1".to_owned(), format!("exim 0 {linux}")]);
    // By address the newest is meant; the connection's port is not that of any.
    for arguments in [&["192.0.2.1"][..], &["::ffff:192.0.2.1", "9"]] {
        let newest = asked(dir, arguments);
        assert!(newest[0].starts_with("0 Windows 7 or 8|"), "{newest:?}");
        assert!(newest[1].ends_with(" 0"), "{newest:?}");
    }
    let stranger = asked(dir, &["192.0.2.77", "1"]);
    assert!(stranger[0].starts_with("2 Unknown|"), "{stranger:?}");
    assert_eq!(stranger[3], "exim 0 Unknown");
    for wrong in [&["example.org"][..], &["192.0.2.1", "1", "x", "25"]] {
        let wrong = asked(dir, wrong);
        assert!(wrong[0].starts_with("4 Unknown|"), "{wrong:?}");
        assert_eq!(wrong[3], "exim 0 ");
    }
}

/// What Exim makes of its `${dlfunc}` with these arguments; none without Exim.
#[expect(
    clippy::print_stderr,
    reason = "who reads the test's output shall know"
)]
fn expanded(dir: &Path, arguments: &str) -> Option<String> {
    let configuration = dir.join("exim.conf");
    std::fs::write(&configuration, "primary_hostname = mail.example.org\n").expect("written");
    let mut exim = Command::new("/usr/sbin/exim4");
    exim.arg("-C").arg(configuration).arg("-be").arg(format!(
        "${{dlfunc{{{}}}{{weighbridge_os_exim}}{arguments}}}",
        library().display()
    ));
    match exim.output() {
        Ok(ran) => {
            assert!(ran.status.success(), "{ran:?}");
            let text = String::from_utf8(ran.stdout).expect("text");
            Some(text.trim_end().to_owned())
        }
        Err(error) => {
            eprintln!("skipped: exim4: {error}");
            None
        }
    }
}

#[test]
fn exim_s_dlfunc_has_the_answer_and_nothing_without_a_daemon() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("os.shm");
    let arguments = |form: &str, client: &str| {
        let file = path.display();
        format!("{{{form}}}{{{client}}}{{4711}}{{192.0.2.9}}{{25}}{{{file}}}")
    };
    let ask = |form, client| expanded(dir.path(), &arguments(form, client));
    let Some(nobody) = ask("os", "192.0.2.1") else {
        return;
    };
    assert_eq!(nobody, "");
    let mut daemon = Daemon::new(&path);
    daemon.sees(&syn(CLIENT, false, 1));
    assert_eq!(
        ask("os", "192.0.2.1").as_deref(),
        Some("Linux 3.11 and newer")
    );
    let header = "Linux 3.11 and newer (exact, distance 9, link: Ethernet or modem)";
    assert_eq!(ask("header", "192.0.2.1").as_deref(), Some(header));
    assert_eq!(ask("os", "192.0.2.77").as_deref(), Some("Unknown"));
    assert_eq!(ask("os", "nonsense").as_deref(), Some(""));
}

#[test]
fn a_syn_that_the_daemon_has_not_read_yet_is_looked_for_again_and_no_longer_than_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("os.shm");
    let mut reader = Reader::new(path.clone());
    let peer = Peer::client([192, 0, 2, 1].into(), 4711);
    let mut pauses = 0;
    let nobody = reader.look_up_again(&peer, 5, || pauses += 1);
    assert_eq!((nobody, pauses), (Found::Unavailable, 0));
    let mut daemon = Daemon::new(&path);
    // Another connection of the address is there, which could be another host's behind NAT.
    daemon.sees(&syn("192.0.2.1:4712", true, 2));
    let found = reader.look_up_again(&peer, 5, || {
        pauses += 1;
        if pauses == 3 {
            daemon.sees(&syn(CLIENT, false, 1));
        }
    });
    let Found::Answer(answer) = found else {
        panic!("{found:?}");
    };
    assert_eq!(
        (answer.os_text().as_str(), pauses),
        ("Linux 3.11 and newer", 3)
    );
    for (stranger, expected) in [
        (Peer::client([192, 0, 2, 77].into(), 1), 8),
        (Peer::address([192, 0, 2, 77].into()), 8),
        (peer, 8),
    ] {
        reader.look_up_again(&stranger, 5, || pauses += 1);
        assert_eq!(pauses, expected, "{stranger:?}");
    }
}

#[test]
fn a_dead_a_truncated_and_a_foreign_file_are_no_answer_and_a_new_daemon_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("os.shm");
    let mut reader = Reader::new(path.clone());
    let peer = Peer::client([192, 0, 2, 1].into(), 4711);
    assert_eq!(reader.look_up(&peer), Found::Unavailable);
    let mut daemon = Daemon::new(&path);
    assert_eq!(reader.look_up(&peer), Found::NotSeen);
    daemon.sees(&syn(CLIENT, false, 1));
    assert!(matches!(reader.look_up(&peer), Found::Answer(_)));
    // It ends; it hangs.
    daemon.beat(Timestamp::default());
    assert_eq!(reader.look_up(&peer), Found::Unavailable);
    daemon.beat(Timestamp::from_secs(now().as_secs() - 10));
    assert_eq!(reader.look_up(&peer), Found::Unavailable);
    daemon.beat(ahead());
    assert!(matches!(reader.look_up(&peer), Found::Answer(_)));
    // Another one begins: the reader has the old file open until that is dead.
    let mut second = Daemon::new(&path);
    second.sees(&syn(CLIENT, true, 1));
    daemon.beat(Timestamp::default());
    let Found::Answer(answer) = reader.look_up(&peer) else {
        panic!("the new file is not noticed");
    };
    assert_eq!(answer.os_text(), "Windows 7 or 8");
    // Cut off in the middle, then whole in length but empty, then something else.
    second.file.set_len(4096).expect("cut");
    assert_eq!(reader.look_up(&peer), Found::NotSeen);
    second.file.set_len(10).expect("cut");
    assert_eq!(reader.look_up(&peer), Found::Unavailable);
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("made");
    assert_eq!(reader.look_up(&peer), Found::Unavailable);
}

#[test]
fn whoever_reads_while_it_is_written_gets_whole_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("os.shm");
    let mut daemon = Daemon::new(&path);
    daemon.sees(&syn(CLIENT, false, 20_000));
    let done = AtomicBool::new(false);
    let answers = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reader = Reader::new(path.clone());
            let peer = Peer::client([192, 0, 2, 1].into(), 4711);
            while !done.load(Ordering::Relaxed) {
                if let Found::Answer(answer) = reader.look_up(&peer) {
                    let text = (answer.os_text(), answer.distance, answer.link);
                    let expected = [("Linux 3.11 and newer", 9), ("Windows 7 or 8", 8)];
                    let which = expected
                        .iter()
                        .position(|(os, far)| text.0 == *os && text.1 == Some(*far));
                    let which = which.unwrap_or_else(|| panic!("no whole answer: {text:?}"));
                    answers[which].fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for number in 1..MOST_WRITES {
            daemon.sees(&syn(CLIENT, number % 2 == 1, number));
            if number % 1_000 == 0 {
                daemon.beat(ahead());
            }
            // Who reads may have been held up.
            let both = answers
                .iter()
                .all(|count| count.load(Ordering::Relaxed) > 0);
            if number > WRITES && both {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("it read");
    });
    let answers = answers.map(AtomicU32::into_inner);
    assert!(answers[0] > 0 && answers[1] > 0, "{answers:?}");
}
