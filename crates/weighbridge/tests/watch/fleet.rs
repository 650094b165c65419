//! Several mail servers' counts in a real PostgreSQL server, where there is one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::clock::wait_until;
use mail::connection::Peer;
use mail::outcome::{Outcome, Verdict};
use mail::statistics::{Grouping, System};
use mail::time::Timestamp;
use nix::unistd::{User, getuid};
use rustix::process::{Pid, Signal, kill_process};
use weighbridge::mail::fleet::{Sender, tally};
use weighbridge::mail::settings::{FleetSettings, parse};
use weighbridge::mail::storage::{Record, Storage};

const PATIENCE: Duration = Duration::from_mins(1);
const NOON: u64 = 1_700_000_000;

/// Where Debian keeps programs that only the server's user should run.
fn program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let packaged = versions.flatten().map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = packaged.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    places.find_map(|place| Some(place.join(name)).filter(|program| program.exists()))
}

/// A server of its own, on a UNIX socket alone.
struct Server {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    /// Nothing where PostgreSQL is not installed.
    fn new() -> Option<Self> {
        let initdb = program("initdb")?;
        program("postgres")?;
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
        if let Some(user) = unprivileged() {
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("given");
        }
        let made = Self::command(&initdb)
            .args([
                "-A",
                "trust",
                "-U",
                "weighbridge",
                "--no-sync",
                "-E",
                "UTF8",
                "-D",
            ])
            .arg(dir.path().join("data"))
            .output()
            .expect("it runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut server = Self { dir, child: None };
        server.start();
        Some(server)
    }

    /// PostgreSQL refuses to run as root.
    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(user) = unprivileged() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    fn start(&mut self) {
        let postgres = program("postgres").expect("it is there");
        let child = Self::command(&postgres)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(self.dir.path())
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("it starts"));
        let settings = self.settings("nobody");
        let is_up = || {
            settings
                .config()
                .expect("read")
                .connect(postgres::NoTls)
                .is_ok()
        };
        assert!(wait_until(PATIENCE, is_up), "PostgreSQL does not answer");
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGINT: at once, whoever is connected.
            kill_process(Pid::from_child(&child), Signal::INT).expect("sent");
            child.wait().expect("waited");
        }
    }

    fn toml(&self, node: &str) -> String {
        format!(
            "[postgres]\nnode = \"{node}\"\nconnection = \"host={} user=weighbridge dbname=postgres\"\n",
            self.dir.path().display()
        )
    }

    fn settings(&self, node: &str) -> FleetSettings {
        let settings = parse("mail.toml", &self.toml(node)).expect("it reads");
        settings.postgres.expect("it is there")
    }

    /// Accepted and rejected, of all nodes or one.
    fn totals(&self, node: Option<&str>) -> (u64, u64) {
        let tally = tally(&self.settings("nobody"), None, node).expect("it reads");
        let total = tally.report(&Grouping::Family).total;
        (total.accepted, total.rejected)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn unprivileged() -> Option<User> {
    let user = User::from_name("nobody").expect("accounts can be read");
    user.filter(|_| getuid().is_root())
}

/// A mail server with its own database.
struct Node {
    name: &'static str,
    dir: tempfile::TempDir,
}

impl Node {
    fn new(name: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { name, dir }
    }

    fn count(&self, verdict: Verdict, at: u64) {
        let mut storage = Storage::open(&self.dir.path().join("mail.db")).expect("it opens");
        let record = Record {
            outcome: Outcome {
                at: Timestamp::from_secs(at),
                peer: Peer::address([192, 0, 2, 1].into()),
                verdict,
                stage: None,
                message: None,
                reporter: "text",
            },
            system: System {
                name: "Linux".to_owned(),
                flavor: String::new(),
            },
        };
        storage.add(&[record]).expect("counted");
    }

    fn roll_up(&self, now: u64) {
        let mut storage = Storage::open(&self.dir.path().join("mail.db")).expect("it opens");
        storage.roll_up(Timestamp::from_secs(now)).expect("rolled");
    }

    /// Sends until so many are counted: what is sent again counts once, and a busy server may not
    /// answer in time.
    fn send_until(&self, server: &Server, totals: (u64, u64)) {
        let is_so = || {
            self.send(server);
            server.totals(None) == totals
        };
        assert!(wait_until(PATIENCE, is_so), "{:?}", server.totals(None));
    }

    /// Sends what there is to be sent.
    fn send(&self, server: &Server) {
        let sender = Sender::start(&server.settings(self.name), self.dir.path());
        sender.expect("it starts").finish();
    }
}

#[test]
fn counts_of_several_servers_come_together_once_through_retries_and_outages() {
    let Some(mut server) = Server::new() else {
        eprintln!("skipped: PostgreSQL is not installed (Debian: postgresql)");
        return;
    };
    let (one, other) = (Node::new("mx1"), Node::new("mx2"));
    one.count(Verdict::Accepted, NOON);
    one.count(Verdict::Rejected, NOON);
    other.count(Verdict::Accepted, NOON);
    // Both make the tables at the same time.
    std::thread::scope(|scope| {
        scope.spawn(|| one.send(&server));
        other.send(&server);
    });
    one.send(&server);
    other.send_until(&server, (2, 1));
    assert_eq!(server.totals(Some("mx1")), (1, 1));
    // The same hour again, with one more: absolute counts do not add up.
    one.count(Verdict::Accepted, NOON + 1);
    one.send_until(&server, (3, 1));
    one.send_until(&server, (3, 1));

    server.stop();
    one.count(Verdict::Rejected, NOON + 2);
    other.count(Verdict::Rejected, NOON + 4_000);
    one.send(&server);
    server.start();
    assert_eq!(server.totals(None), (3, 1));
    one.send_until(&server, (3, 2));
    other.send_until(&server, (3, 3));

    // Hours become a day on both sides.
    let later = NOON + 200 * 24 * 3_600;
    one.roll_up(later);
    one.send_until(&server, (3, 3));

    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("mail.toml"), server.toml("mx1")).expect("written");
    let report = Command::new(env!("CARGO_BIN_EXE_weighbridge"))
        .args(["report", "--fleet", "--csv", "--config"])
        .arg(dir.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8(report.stdout).expect("text");
    assert!(text.contains("\r\nLinux,3,3,0,0.500000,"), "{text}");
}
