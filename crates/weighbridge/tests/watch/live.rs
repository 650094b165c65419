//! A mail server's machine, with hosts whose TCP differs; needs root.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::{clock, requirements};
use mail::answer::Basis;
use mail::connection::Peer;
use rustix::process::{Pid, Signal, kill_process};
use weighbridge::mail::os::{OsArguments, execute};
use weighbridge_os::{Found, Reader};

use crate::command::{Ran, parsed, ran};
use crate::fingerprints;

const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");
const SERVER: &str = "10.99.0.1";
const SMTP: u16 = 25;
const PATIENCE: Duration = Duration::from_secs(10);
/// A plain Linux, and one that looks as if it were something else.
const HOSTS: [(&str, &str); 2] = [("plain", "10.99.0.2"), ("odd", "10.99.0.3")];
const SIGNATURES: &str = "\
[mtu]
label = Ethernet or modem
sig = 1500
[tcp:request]
label = s:unix:Plain:Linux
sig = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
sig = 6:64:0:*:*,*:mss,sok,ts,nop,ws::0
label = s:other:Odd:one
sig = 4:128:0:*:*,*:mss,nop,nop,sok,nop,ws:df,id+:0
";
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

/// The network, and the files of the daemon.
struct Site {
    server: Namespace,
    hosts: Vec<Namespace>,
    dir: tempfile::TempDir,
    _id: RunId,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let id = RunId::new()?;
        let server = Namespace::create(&id.namespace("mail"))?;
        server.ip("link add lan type bridge")?;
        server.ip(&format!("addr add {SERVER}/24 dev lan"))?;
        server.ip("addr add fd99::1/64 dev lan nodad")?;
        server.ip("link set lan up")?;
        let mut hosts = Vec::new();
        for (name, address) in HOSTS {
            let host = Namespace::create(&id.namespace(name))?;
            let to = host.name();
            server.ip(&format!(
                "link add {name} type veth peer name eth0 netns {to}"
            ))?;
            server.ip(&format!("link set {name} master lan up"))?;
            host.ip(&format!("addr add {address}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
            hosts.push(host);
        }
        hosts[0].ip("addr add fd99::2/64 dev eth0 nodad")?;
        hosts[1].sysctl("net/ipv4/ip_default_ttl", "128")?;
        hosts[1].sysctl("net/ipv4/tcp_timestamps", "0")?;
        let dir = tempfile::tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let place = dir.path().display().to_string();
        std::fs::write(
            dir.path().join("mail.toml"),
            SETTINGS.replace("DIR", &place),
        )?;
        std::fs::write(dir.path().join("os.fp"), SIGNATURES)?;
        Ok(Self {
            server,
            hosts,
            dir,
            _id: id,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Daemon {
        let mut command = Command::new(BINARY);
        command.args([
            "watch", "-i", "lan", "--json", "--user", "nobody", "--config",
        ]);
        command
            .arg(self.dir.path())
            .arg("--state-dir")
            .arg(self.path("state"));
        command
            .arg("-f")
            .arg(self.path("os.fp"))
            .arg("-o")
            .arg(self.path("p0f.log"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.server.start(&mut command).expect("it starts");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("read");
        assert_eq!(line, "weighbridge watch: ready\n");
        Daemon(child, errors)
    }

    /// Connects host `number` to the mail server and tells its port. The connection is closed.
    fn connect(&self, number: usize, to: &str) -> SocketAddr {
        let to: IpAddr = to.parse().expect("an address");
        let listener = self.server.run(|| TcpListener::bind((to, SMTP)));
        let listener = listener.expect("listens");
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

    /// What is told of `client` once it has been seen.
    fn os_of(&self, client: SocketAddr) -> String {
        let (address, port) = (client.ip().to_string(), client.port().to_string());
        for _ in 0..100 {
            let ran = self.os(&[&address, &port]);
            if ran.status == 0 {
                return ran.out;
            }
            clock::pause(Duration::from_millis(20));
        }
        panic!("{client} stays unknown");
    }
}

struct Daemon(Child, BufReader<std::process::ChildStderr>);

impl Daemon {
    fn stop(mut self) -> String {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).expect("sent");
        assert!(self.0.wait().expect("waited").success());
        let mut said = String::new();
        self.1.read_to_string(&mut said).expect("read");
        said
    }

    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("read");
        let line = status.lines().find(|line| line.starts_with(field));
        line.expect("it is there").to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let site = Site::new().expect("a network");
    let daemon = site.start();
    assert!(
        daemon.status("Uid:").contains("65534"),
        "{}",
        daemon.status("Uid:")
    );
    assert!(daemon.status("CapEff:").ends_with("0000000000000000"));
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
    assert_eq!((&json["distance"], &json["syns"]), (&0.into(), &1.into()));
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
    let policy = format!(
        "request=smtpd_access_policy\nclient_address={}\nclient_port={}\n\n",
        odd.ip(),
        odd.port()
    );
    let action = exchange(&site.path("policy.sock"), policy.as_bytes());
    let action = String::from_utf8(action).expect("text");
    assert!(
        action.starts_with("action=PREPEND X-OS-Fingerprint: Odd one (exact"),
        "{action}"
    );
    let amavis = site.server.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let question = format!("[{}]:{} nonce", odd.ip(), odd.port());
        socket
            .send_to(question.as_bytes(), "127.0.0.1:2345")
            .expect("sent");
        let mut answer = [0; 2048];
        let length = socket.recv(&mut answer).expect("answered");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    });
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
        let told = format!(
            "outcome {verdict} data {} {} {message}\n",
            odd.ip(),
            odd.port()
        );
        assert_eq!(exchange(&site.path("os.sock"), told.as_bytes()), b"ok");
    }

    assert_eq!(daemon.stop(), "");
    let report = Command::new(BINARY)
        .args(["report", "--by", "version", "--csv", "--database"])
        .arg(site.path("state/mail.db"))
        .output()
        .expect("it runs");
    let report = String::from_utf8(report.stdout).expect("text");
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
