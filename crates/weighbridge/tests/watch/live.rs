//! A mail server's machine, with hosts whose TCP differs; needs root.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::{clock, requirements};
use mail::answer::Basis;
use mail::connection::Peer;
use rustix::process::{Signal, kill_process};
use weighbridge::mail::os::{OsArguments, execute};
use weighbridge_os::{Found, Reader};

use crate::command::{Ran, parsed, ran};
use crate::fingerprints;
use crate::site::{BINARY, Daemon, SERVER, Site};

const SMTP: u16 = 25;
const PATIENCE: Duration = Duration::from_secs(30);
const SETTINGS: &str = r#"
[p0f]
listen = { socket = "DIR/p0f.sock" }
[text]
listen = { socket = "DIR/os.sock", mode = "0666" }
[policy]
listen = { socket = "DIR/policy.sock" }
[milter]
listen = { socket = "DIR/milter.sock" }
[amavis]
address = "127.0.0.1:2345"
[shared-memory]
file = "DIR/os.shm"
mode = "0644"
entries = 1000
"#;

trait Questions {
    fn connect(&self, number: usize, to: &str) -> SocketAddr;
    fn os(&self, more: &[&str]) -> Ran;
    fn report(&self) -> String;
    fn os_of(&self, client: SocketAddr) -> String;
}

impl Questions for Site {
    /// Connects host `number` to the mail server and tells its port. The connection is closed.
    fn connect(&self, number: usize, to: &str) -> SocketAddr {
        let to: IpAddr = to.parse().expect("an address");
        let listener = self.listen((to, SMTP).into());
        let from = self.hosts[number].run(|| {
            let stream = TcpStream::connect_timeout(&(to, SMTP).into(), PATIENCE);
            stream.expect("connected").local_addr().expect("has one")
        });
        listener.accept().expect("accepted");
        from
    }

    fn os(&self, more: &[&str]) -> Ran {
        let socket = self.path("os.sock").display().to_string();
        let arguments: OsArguments = parsed(&[more, &["--socket", &socket]].concat());
        ran(|output| execute(&arguments, output))
    }

    /// The table of outcomes by version, as CSV.
    fn report(&self) -> String {
        let report = Command::new(BINARY)
            .args(["report", "--by", "version", "--csv", "--database"])
            .arg(self.path("state/mail.db"))
            .output()
            .expect("it runs");
        String::from_utf8(report.stdout).expect("text")
    }

    /// What is told of `client` once it has been seen.
    fn os_of(&self, client: SocketAddr) -> String {
        let (address, port) = (client.ip().to_string(), client.port().to_string());
        let mut ran = self.os(&[&address, &port]);
        clock::wait_until(PATIENCE, || {
            ran = self.os(&[&address, &port]);
            ran.status == 0
        });
        assert_eq!(ran.status, 0, "{client} stays unknown");
        ran.out
    }
}

/// A line of the kernel's about the daemon.
fn status(daemon: &Daemon, field: &str) -> String {
    let pid = daemon.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("read");
    let line = status.lines().find(|line| line.starts_with(field));
    line.expect("it is there").to_owned()
}

fn exchange(socket: &Path, question: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(question).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    answer
}

fn p0f_api(socket: &Path, address: [u8; 4]) -> Vec<u8> {
    let mut question = 0x5030_4601_u32.to_ne_bytes().to_vec();
    question.push(4);
    question.extend_from_slice(&address);
    question.resize(21, 0);
    exchange(socket, &question)
}

/// What Postfix is told to do with a client.
fn policy(socket: &Path, client: SocketAddr) -> String {
    let (address, port) = (client.ip(), client.port());
    let question =
        format!("request=smtpd_access_policy\nclient_address={address}\nclient_port={port}\n\n");
    String::from_utf8(exchange(socket, question.as_bytes())).expect("text")
}

fn amavis(client: SocketAddr) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let question = format!("[{}]:{} nonce", client.ip(), client.port());
    socket
        .send_to(question.as_bytes(), "127.0.0.1:2345")
        .expect("sent");
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn in_memory(reader: &mut Reader, client: SocketAddr) -> (String, Basis) {
    match reader.look_up(&Peer::client(client.ip(), client.port())) {
        Found::Answer(answer) => (answer.os_text(), answer.basis),
        other @ (Found::NotSeen | Found::Unavailable) => panic!("{client}: {other:?}"),
    }
}

#[test]
fn hosts_that_differ_are_told_apart_by_every_socket() {
    if requirements::skip_test("hosts_that_differ_are_told_apart_by_every_socket") {
        return;
    }
    let site = Site::new(SETTINGS).expect("a network");
    let daemon = site.start();
    assert!(
        status(&daemon, "Uid:").contains("65534"),
        "{}",
        status(&daemon, "Uid:")
    );
    assert!(status(&daemon, "CapEff:").ends_with("0000000000000000"));
    let plain = site.connect(0, SERVER);
    let odd = site.connect(1, SERVER);
    let six = site.connect(0, "fd99::1");
    assert_eq!(site.os_of(plain), "Plain Linux\n");
    assert_eq!(site.os_of(odd), "Odd one\n");
    assert_eq!(site.os_of(six), "Plain Linux\n");
    // By address, and everything of a connection.
    assert_eq!(site.os(&["10.99.0.3"]).out, "Odd one\n");
    let ran = site.os(&["10.99.0.2", &plain.port().to_string(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(json["basis"], "connection");
    assert_eq!(json["link"], "Ethernet or modem");
    // Who is not answered soon repeats it.
    let syns = json["syns"].as_u64();
    assert_eq!(
        (&json["distance"], syns.is_some_and(|syns| syns >= 1)),
        (&0.into(), true),
        "{json}"
    );
    assert!(
        json["rtt_us"].as_u64().is_some_and(|rtt| rtt < 10_000_000),
        "{json}"
    );
    let unknown = site.os(&["10.99.0.77"]);
    assert_eq!((unknown.status, unknown.out.as_str()), (1, "Unknown\n"));

    let answer = p0f_api(&site.path("p0f.sock"), [10, 99, 0, 3]);
    assert_eq!(answer.len(), 232);
    assert!(answer[40..].starts_with(b"Odd\0") && answer[72..].starts_with(b"one\0"));
    let text = format!("os {} {}\n", odd.ip(), odd.port());
    assert_eq!(exchange(&site.path("os.sock"), text.as_bytes()), b"Odd one");
    let action = policy(&site.path("policy.sock"), odd);
    assert!(
        action.starts_with("action=PREPEND X-OS-Fingerprint: Odd one (exact"),
        "{action}"
    );
    let amavis = site.server.run(|| amavis(odd));
    assert!(
        amavis.contains("nonce Odd one; dist: 0; link: Ethernet or modem"),
        "{amavis}"
    );

    let mut reader = Reader::new(site.path("os.shm"));
    for (client, os) in [(odd, "Odd one"), (six, "Plain Linux")] {
        let known = in_memory(&mut reader, client);
        assert_eq!(known, (os.to_owned(), Basis::Connection));
    }

    for (verdict, message) in [("accept", "m1"), ("reject", "m2"), ("reject", "m2")] {
        let (address, port) = (odd.ip(), odd.port());
        let told = format!("outcome {verdict} data {address} {port} {message}\n");
        assert_eq!(exchange(&site.path("os.sock"), told.as_bytes()), b"ok");
    }

    assert_eq!(daemon.stop(), "");
    let report = site.report();
    assert!(report.contains("\r\nOdd one,1,1,0,0.500000,"), "{report}");
    let log = std::fs::read_to_string(site.path("p0f.log")).expect("a log");
    let expected = format!(
        "mod=syn|cli={}/{}|srv={SERVER}/25|subj=cli|os=Odd one|",
        odd.ip(),
        odd.port()
    );
    assert!(log.contains(&expected), "{log}");

    let of_odd = Peer::client(odd.ip(), odd.port());
    assert_eq!(reader.look_up(&of_odd), Found::Unavailable);
    // The file of signatures has none of SYN+ACKs.
    let unknown = fingerprints::kept(&site.path("state"));
    assert!(unknown.starts_with("[tcp:response]\n; "), "{unknown}");

    // Nobody answers now, at once; what was seen outlives a restart.
    let silent = site.os(&["10.99.0.3"]);
    assert_eq!((silent.status, silent.out.as_str()), (2, ""));
    assert!(silent.err.contains("os.sock"), "{}", silent.err);
    let again = site.start();
    let ran = site.os(&["10.99.0.3", &odd.port().to_string()]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "Odd one\n"));
    assert!(matches!(reader.look_up(&of_odd), Found::Answer(_)));
    assert_eq!(again.stop(), "");
}

/// Nobody reads the daemon's standard output: the thread that reads the packet socket stands still, as
/// it does for a moment on a machine that is busy.
#[test]
fn who_asks_at_once_hears_of_a_syn_that_nobody_has_read_yet() {
    const PIPE: usize = 4096;
    if requirements::skip_test("who_asks_at_once_hears_of_a_syn_that_nobody_has_read_yet") {
        return;
    }
    let site = Site::new(SETTINGS).expect("a network");
    let (mut unread, full) = std::io::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&full, PIPE).expect("a small one");
    let daemon = site.start_into(full.into());
    // A line for each finding is told, of some 300 bytes.
    for _ in 0..PIPE / 100 {
        site.connect(0, SERVER);
    }
    let is_full = || rustix::io::ioctl_fionread(&unread).is_ok_and(|waiting| waiting >= 3000);
    assert!(clock::wait_until(PATIENCE, is_full), "the pipe is not full");
    let mut odd = Vec::new();
    for host in [1, 0, 1] {
        let client = site.connect(host, SERVER);
        let asked = site.os(&[
            &client.ip().to_string(),
            &client.port().to_string(),
            "--json",
        ]);
        let json: serde_json::Value = serde_json::from_str(&asked.out).expect("JSON");
        assert_eq!(json["basis"], "connection", "{json}");
        if host == 1 {
            odd.push(client.port());
        }
    }
    let address = site.os(&["10.99.0.3"]);
    assert_eq!((address.status, address.out.as_str()), (0, "Odd one\n"));

    // What was read for a question is told as well.
    let told = std::thread::spawn(move || {
        let mut told = String::new();
        unread.read_to_string(&mut told).expect("read");
        told
    });
    assert_eq!(daemon.stop(), "");
    let told = told.join().expect("read");
    for port in odd {
        let is_told = |line: &str| line.contains(&port.to_string()) && line.contains("Odd one");
        assert!(told.lines().any(is_told), "{port}: {told}");
    }
}

#[test]
fn what_was_reported_before_the_daemon_is_told_to_end_is_counted() {
    const REPORTS: usize = 50;
    if requirements::skip_test("what_was_reported_before_the_daemon_is_told_to_end_is_counted") {
        return;
    }
    let site = Site::new(SETTINGS).expect("a network");
    let daemon = site.start();
    daemon.hold();
    // Who does not wait for an answer has told it all the same.
    for number in 0..REPORTS {
        let mut stream = UnixStream::connect(site.path("os.sock")).expect("connected");
        let told = format!("outcome reject data 10.99.0.2 4711 m{number}\n");
        stream.write_all(told.as_bytes()).expect("sent");
    }
    kill_process(daemon.pid(), Signal::TERM).expect("sent");
    daemon.let_go();
    assert_eq!(daemon.ended(), "");
    let report = site.report();
    let expected = format!("\r\nUnknown,0,{REPORTS},0,");
    assert!(report.contains(&expected), "{report}");
}
