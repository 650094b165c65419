//! A mail server's network: hosts whose TCP differs, and `weighbridge watch` on the server; needs root.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::clock;
use lab::identity::RunId;
use lab::namespace::Namespace;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");
pub(crate) const SERVER: &str = "10.99.0.1";
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
/// The network, and the files of the daemon.
pub(crate) struct Site {
    pub(crate) server: Namespace,
    pub(crate) hosts: Vec<Namespace>,
    pub(crate) dir: tempfile::TempDir,
    _id: RunId,
}

impl Site {
    /// `settings` are `mail.toml`, with `DIR` for the site's directory.
    pub(crate) fn new(settings: &str) -> anyhow::Result<Self> {
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
            settings.replace("DIR", &place),
        )?;
        std::fs::write(dir.path().join("os.fp"), SIGNATURES)?;
        Ok(Self {
            server,
            hosts,
            dir,
            _id: id,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Listens on the server, where this process may just have listened before: a child that another
    /// test has forked has the closed socket open until it executes.
    pub(crate) fn listen(&self, at: SocketAddr) -> TcpListener {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut bound = None;
        clock::wait_until(PATIENCE, || {
            let now = self.server.run(|| TcpListener::bind(at));
            let in_use = |error: &std::io::Error| error.kind() == ErrorKind::AddrInUse;
            !bound.insert(now).as_ref().is_err_and(in_use)
        });
        let listener = bound.expect("it was tried");
        listener.unwrap_or_else(|error| panic!("{at}: {error}"))
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_into(Stdio::null())
    }

    /// The daemon tells its findings to `findings`.
    pub(crate) fn start_into(&self, findings: Stdio) -> Daemon {
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
        command.stdout(findings).stderr(Stdio::piped());
        let mut child = self.server.start(&mut command).expect("it starts");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("read");
        assert_eq!(line, "weighbridge watch: ready\n");
        Daemon(child, errors)
    }
}

pub(crate) struct Daemon(Child, BufReader<std::process::ChildStderr>);

impl Daemon {
    pub(crate) fn stop(self) -> String {
        kill_process(self.pid(), Signal::TERM).expect("sent");
        self.ended()
    }

    /// It has been told to end; what it has said.
    pub(crate) fn ended(mut self) -> String {
        assert!(self.0.wait().expect("waited").success());
        let mut said = String::new();
        self.1.read_to_string(&mut said).expect("read");
        said
    }

    /// Nothing of it runs any more when this returns, until it is let go; a signal alone is only
    /// on its way then.
    pub(crate) fn hold(&self) {
        kill_process(self.pid(), Signal::STOP).expect("sent");
        let (_, now) = waitpid(Some(self.pid()), WaitOptions::UNTRACED)
            .expect("waited")
            .expect("something happened to it");
        assert!(now.stopped(), "{now:?}");
    }

    pub(crate) fn let_go(&self) {
        kill_process(self.pid(), Signal::CONT).expect("sent");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
