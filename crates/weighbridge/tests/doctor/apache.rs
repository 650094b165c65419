//! Debian's httpd in a network namespace.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::{clock, requirements};

use super::packages::unpacked;
use super::{BINARY, doctor, libraries};

/// httpd's message comes once a second; this is as long as it may take.
const LONG: Duration = Duration::from_mins(1);

/// As long as two or three messages would take.
const QUIET: Duration = Duration::from_millis(2500);

/// httpd in a namespace, with a configuration of its own.
struct Httpd {
    namespace: Namespace,
    run: RunId,
    root: PathBuf,
    child: Option<Child>,
}

impl Httpd {
    /// A namespace with the address 10.0.0.5, its loopback up.
    fn new(test: &str) -> Option<Self> {
        if requirements::skip_test(test) {
            return None;
        }
        let root = unpacked(test, "root")?;
        let run = RunId::new().expect("an id");
        let namespace = Namespace::create(&run.namespace("web")).expect("a namespace");
        for line in [
            "link add e0 type veth peer name e1",
            "link set e0 up",
            "link set e1 up",
            "addr add 10.0.0.5/24 dev e0",
        ] {
            namespace.ip(line).expect("ip");
        }
        Some(Self {
            namespace,
            run,
            root,
            child: None,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.run.directory().join(name)
    }

    fn configure(&self, listen: &str) {
        let modules = self.root.join("usr/lib/apache2/modules");
        let directory = self.run.directory().display().to_string();
        fs::write(self.path("ports.conf"), format!("{listen}\n")).expect("written");
        let module = |name: &str| {
            format!(
                "LoadModule {name}_module {}/mod_{name}.so\n",
                modules.display()
            )
        };
        let text = module("mpm_prefork")
            + &module("authz_core")
            + &format!(
                "ServerRoot {directory}\nServerName localhost\nUser nobody\nGroup nogroup\n\
                 PidFile {directory}/pid\nDefaultRuntimeDir {directory}\nErrorLog {directory}/error.log\n\
                 <IfModule prefork.c>\n  StartServers 8\n  MaxSpareServers 2\n</IfModule>\n\
                 Include *ports.conf\n"
            );
        fs::write(self.path("httpd.conf"), text).expect("written");
    }

    fn start(&mut self) {
        self.stop();
        let _ = fs::remove_file(self.path("error.log"));
        let mut command = Command::new(self.root.join("usr/sbin/apache2"));
        command
            .env("LD_LIBRARY_PATH", libraries(&self.root))
            .arg("-f")
            .arg(self.path("httpd.conf"))
            .arg("-DFOREGROUND")
            // When it ends it ends its whole process group.
            .process_group(0);
        self.child = Some(self.namespace.start(&mut command).expect("httpd starts"));
        let pid = self.path("pid");
        assert!(clock::wait_until(LONG, || pid.exists()), "{}", self.log());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    fn complaints(&self) -> usize {
        self.log().matches("connect to listener on").count()
    }

    fn doctor(&self, more: &[&str]) -> (i32, String) {
        let config = self.path("httpd.conf");
        let program = self.root.join("usr/sbin/apache2");
        let mut command = Command::new(BINARY);
        command
            .env("LD_LIBRARY_PATH", libraries(&self.root))
            .args(["doctor", "apache", "--httpd-config"])
            .arg(config)
            .arg("--httpd")
            .arg(program)
            .args(more);
        self.namespace.run(|| doctor(&mut command))
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ports(httpd: &Httpd) -> String {
    let path: &Path = &httpd.path("ports.conf");
    fs::read_to_string(path).expect("read")
}

#[test]
fn httpd_without_a_loopback_is_found_mended_and_quiet_afterwards() {
    let Some(mut httpd) = Httpd::new("doctor::apache without a loopback") else {
        return;
    };
    // A loopback that was never up has no address: with one, connections stay unanswered, which
    // httpd logs at level debug only.
    for line in ["addr del 127.0.0.1/8 dev lo", "link set lo down"] {
        httpd.namespace.ip(line).expect("ip");
    }
    httpd.configure("Listen 0.0.0.0:80");
    httpd.start();
    assert!(
        clock::wait_until(LONG, || httpd.complaints() > 0),
        "{}",
        httpd.log()
    );
    let (status, text) = httpd.doctor(&["--fix", "--yes"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("apache/wildcard-listener"), "{text}");
    assert!(text.contains("ports.conf:1: Listen 0.0.0.0:80"), "{text}");
    assert!(
        text.contains("Network is unreachable: AH00056: connect to listener"),
        "{text}"
    );
    assert!(text.contains("ip link set dev lo up"), "{text}");
    assert!(
        text.contains("-Listen 0.0.0.0:80\n+Listen 10.0.0.5:80\n"),
        "{text}"
    );
    assert_eq!(ports(&httpd), "Listen 10.0.0.5:80\n");
    httpd.start();
    clock::pause(QUIET);
    assert_eq!(httpd.complaints(), 0, "{}", httpd.log());
    let (status, text) = httpd.doctor(&[]);
    assert_eq!(status, 0, "{text}");
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn the_loopback_is_the_better_cure_and_leaves_the_doctor_without_a_word() {
    let Some(mut httpd) = Httpd::new("doctor::apache with a loopback") else {
        return;
    };
    httpd.namespace.ip("link set lo down").expect("ip");
    httpd.configure("Listen 80");
    assert_eq!(httpd.doctor(&[]).0, 1);
    httpd.namespace.ip("link set lo up").expect("ip");
    for listen in [
        "Listen 80",
        "Listen 0.0.0.0:80",
        "Listen [::]:80",
        "Listen 10.0.0.5:80",
    ] {
        httpd.configure(listen);
        assert_eq!(httpd.doctor(&[]), (0, String::new()), "{listen}");
    }
    httpd.start();
    clock::pause(QUIET);
    assert_eq!(httpd.complaints(), 0, "{}", httpd.log());
}

#[test]
fn without_the_loopback_of_ipv6_the_wildcard_of_ipv4_is_proposed() {
    let Some(mut httpd) = Httpd::new("doctor::apache without ::1") else {
        return;
    };
    httpd
        .namespace
        .sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        .expect("sysctl");
    httpd.configure("Listen [::]:80");
    httpd.start();
    assert!(
        clock::wait_until(LONG, || httpd.complaints() > 0),
        "{}",
        httpd.log()
    );
    let (status, text) = httpd.doctor(&["--fix", "--yes"]);
    assert_eq!(status, 1, "{text}");
    assert_eq!(ports(&httpd), "Listen 0.0.0.0:80\n", "{text}");
    httpd.start();
    clock::pause(QUIET);
    assert_eq!(httpd.complaints(), 0, "{}", httpd.log());
    assert_eq!(httpd.doctor(&[]), (0, String::new()));
}

#[test]
fn a_process_in_another_namespace_is_looked_at_from_outside() {
    let Some(mut httpd) = Httpd::new("doctor::apache from outside") else {
        return;
    };
    httpd.namespace.ip("link set lo down").expect("ip");
    httpd.configure("Listen 80");
    httpd.start();
    let pid = httpd.child.as_ref().map_or(0, Child::id).to_string();
    let config = httpd.path("httpd.conf");
    let look = || {
        doctor(
            Command::new(BINARY)
                .args(["doctor", "apache", "--pid", &pid, "--httpd-config"])
                .arg(&config),
        )
    };
    let (status, text) = look();
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("the network of that process"), "{text}");
    httpd.namespace.ip("link set lo up").expect("ip");
    assert_eq!(look(), (0, String::new()));
}
