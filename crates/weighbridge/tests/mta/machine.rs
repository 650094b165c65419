//! A Debian machine with a mail server, and the mail that it has delivered.

use std::cell::Cell;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use lab::{clock, requirements};

use crate::debian;
use crate::packages::unpacked;
use crate::site::{BINARY, Daemon, SERVER, Site};
use crate::smtp::{Mail, PATIENCE, SMTP, send};

/// What the mail side serves, for all servers.
const SETTINGS: &str = r#"
[p0f]
listen = { socket = "DIR/p0f.sock", mode = "0666" }
[text]
listen = { socket = "DIR/os.sock", mode = "0666" }
[milter]
listen = { address = "127.0.0.1:9999" }
[amavis]
address = "127.0.0.1:2345"
"#;
/// How long a server may take to begin.
const BEGIN: Duration = Duration::from_mins(3);

/// Why nobody answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Away {
    /// The daemon was killed: its sockets are there, nobody listens.
    Killed,
    /// It was stopped: it takes connections and says nothing.
    Silent,
}

/// A mail server in its network, and the daemon that it asks.
pub(crate) struct Machine {
    pub(crate) site: Site,
    /// How many messages of each of the site's hosts were taken while the daemon was there.
    taken: [Cell<usize>; 2],
    daemon: Option<Daemon>,
    server: Option<Child>,
}

impl Machine {
    /// Nothing when `test` has to be skipped. `packages` is what `scripts/packages.sh` calls
    /// them; `script` becomes the mail server. In its environment are `DIRECTORY`, of the site,
    /// `CONTRIB`, the repository's, and `WEIGHBRIDGE`, the binary; mail for bob goes to `$DIRECTORY/bob/Maildir`.
    pub(crate) fn start(test: &str, packages: &str, script: &str) -> Option<Self> {
        let packages = packages_for(test, packages)?;
        let mut machine = Self::without_server();
        let site = &machine.site;
        let log = File::create(site.path("server.log")).expect("a log");
        let server = debian::start(&site.server, &packages, site.dir.path(), script, &log);
        let server = server.expect("it starts");
        machine.server = Some(server);
        machine.wait_until_it_listens();
        Some(machine)
    }

    /// The network and the daemon alone.
    pub(crate) fn without_server() -> Self {
        let site = Site::new(SETTINGS).expect("a network");
        site.server.ip("link set lo up").expect("a loopback");
        let daemon = Some(site.start());
        Self {
            site,
            taken: [Cell::new(0), Cell::new(0)],
            daemon,
            server: None,
        }
    }

    fn wait_until_it_listens(&self) {
        let listens = clock::wait_until(BEGIN, || {
            let to = format!("{SERVER}:{SMTP}").parse().expect("an address");
            self.site
                .server
                .run(|| TcpStream::connect_timeout(&to, PATIENCE).is_ok())
        });
        assert!(listens, "it does not listen: {}", self.log());
    }

    /// Host `number` of the site sends mail; the answer.
    pub(crate) fn send(&self, number: usize, mail: &Mail<'_>) -> String {
        send(&self.site.hosts[number], mail)
    }

    /// Host `number` of the site connects, and the daemon has seen it.
    pub(crate) fn connect(&self, number: usize) -> SocketAddr {
        let to = format!("{SERVER}:{SMTP}").parse().expect("an address");
        // A server listens there itself.
        let listener = self.server.is_none().then(|| self.site.listen(to));
        let stream = self.site.hosts[number].run(|| TcpStream::connect_timeout(&to, PATIENCE));
        let from = stream.expect("connected").local_addr().expect("has one");
        drop(listener);
        let known = clock::wait_until(BEGIN, || {
            let asked = Command::new(BINARY)
                .args(["os", &from.ip().to_string(), &from.port().to_string()])
                .arg("--socket")
                .arg(self.site.path("os.sock"))
                .output();
            asked.is_ok_and(|asked| asked.status.success())
        });
        assert!(known, "{from} stays unknown");
        from
    }

    /// A message of host `number` was taken.
    pub(crate) fn count_taken(&self, number: usize) {
        let count = &self.taken[number];
        count.set(count.get() + 1);
    }

    /// How the report's line of host `number` begins; `rest` is what is behind those taken.
    pub(crate) fn line(&self, number: usize, rest: &str) -> String {
        let name = ["Plain Linux", "Odd one"][number];
        format!("\r\n{name},{},{rest}", self.taken[number].get())
    }

    /// What the server has said; only asked for when something is wrong.
    pub(crate) fn log(&self) -> String {
        clock::pause(Duration::from_secs(1));
        fs::read_to_string(self.site.path("server.log")).unwrap_or_default()
    }

    /// Waits until a log of the server's, in the site's directory, has each text so many times.
    pub(crate) fn until_logged(&self, log: &str, texts: &[(&str, usize)]) {
        let read = || fs::read_to_string(self.site.path(log)).unwrap_or_default();
        let are_there = || {
            let told = read();
            let mut texts = texts.iter();
            texts.all(|(text, times)| told.matches(text).count() >= *times)
        };
        let came = clock::wait_until(BEGIN, are_there);
        assert!(came, "{texts:?} not in {log}: {}", read());
    }

    /// The delivered message with this subject, once it is there.
    pub(crate) fn delivered(&self, subject: &str) -> String {
        let wanted = format!("\nSubject: {subject}\n");
        let mut found = None;
        let came = clock::wait_until(BEGIN, || {
            found = self
                .messages()
                .into_iter()
                .find(|text| text.contains(&wanted));
            found.is_some()
        });
        assert!(came, "{subject} was not delivered: {}", self.log());
        found.expect("it came")
    }

    fn messages(&self) -> Vec<String> {
        let new = self.site.path("bob/Maildir/new");
        let files = fs::read_dir(new).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .map(|text| text.replace("\r\n", "\n"))
            .collect()
    }

    /// The daemon is there again, and does not answer.
    pub(crate) fn lose_daemon(&mut self, how: Away) {
        self.kill_daemon();
        let daemon = self.site.start();
        match how {
            Away::Killed => drop(daemon),
            Away::Silent => {
                daemon.hold();
                self.daemon = Some(daemon);
            }
        }
    }

    /// The daemon does not come to anything while `work` is done.
    pub(crate) fn while_daemon_is_held_up(&self, work: impl FnOnce()) {
        let daemon = self.daemon.as_ref().expect("it runs");
        daemon.hold();
        work();
        daemon.let_go();
    }

    pub(crate) fn start_daemon(&mut self) {
        self.daemon = Some(self.site.start());
    }

    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.take();
    }

    /// The daemon ends in order; the report's lines, system and counts.
    pub(crate) fn report(&mut self) -> String {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
        self.reported()
    }

    /// The same, and each of these lines begins in it.
    pub(crate) fn reports(&mut self, lines: &[String]) {
        let report = self.report();
        for line in lines {
            assert!(report.contains(line), "{line}: {report}");
        }
    }

    /// What is in the report while the daemon runs, once it has this line.
    pub(crate) fn until_reported(&self, line: &str) {
        let is_there = || self.reported().contains(line);
        let came = clock::wait_until(BEGIN, is_there);
        assert!(came, "{line} not in {}", self.reported());
    }

    fn reported(&self) -> String {
        let report = Command::new(BINARY)
            .args(["report", "--by", "version", "--csv", "--database"])
            .arg(self.site.path("state/mail.db"))
            .output()
            .expect("it runs");
        String::from_utf8(report.stdout).expect("text")
    }
}

impl Drop for Machine {
    /// All that was started in the machine's namespace ends with it.
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Where packages are unpacked; nothing when `test` has to be skipped.
pub(crate) fn packages_for(test: &str, name: &str) -> Option<PathBuf> {
    if requirements::skip_test(test) {
        return None;
    }
    unpacked(test, name)
}

/// The value of a header, if it is there once.
pub(crate) fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let head = message.split("\n\n").next()?;
    let mut values = head
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next();
    assert_eq!(values.next(), None, "one {name} only: {head}");
    value
}
