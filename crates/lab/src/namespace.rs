//! One network namespace: a host, a switch, a router.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::thread::JoinHandle;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{self, CommandError, Tool};

/// A network namespace with a name. [`crate::identity::RunId`] removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes the namespace `name` with its loopback up, IPv6 on whatever the machine prefers, and
    /// duplicate-address detection off (an IPv6 address is usable at once).
    pub fn create(name: &str) -> anyhow::Result<Self> {
        command::run(Tool::Ip, &format!("netns add {name}"))?;
        let path = format!("/run/netns/{name}");
        let handle = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let namespace = Self {
            name: name.to_owned(),
            handle,
        };
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
            namespace.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        namespace.ip("link set dev lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns exec` wants it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure on a thread inside the namespace and waits for it. Sockets it opens and
    /// processes it starts stay inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread inside the namespace; the threads it starts are inside too.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<JoinHandle<T>> {
        let handle = self.handle.try_clone()?;
        let inside = Self {
            name: self.name.clone(),
            handle,
        };
        Ok(std::thread::spawn(move || {
            inside.enter();
            drop(inside);
            work()
        }))
    }

    /// Starts a process inside the namespace.
    pub fn start(&self, command: &mut Command) -> std::io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// `ip -n NAMESPACE …`.
    pub fn ip(&self, line: &str) -> Result<String, CommandError> {
        command::run(Tool::Ip, &format!("-n {} {line}", self.name))
    }

    /// Several `ip` commands, one a line.
    pub fn ip_batch(&self, lines: &[String]) -> Result<(), CommandError> {
        let input = lines.join("\n") + "\n";
        command::run_with_input(Tool::Ip, &format!("-n {} -batch -", self.name), &input).map(drop)
    }

    /// `tc` inside the namespace.
    pub fn tc(&self, line: &str) -> Result<String, CommandError> {
        command::run(Tool::Tc, &format!("-n {} {line}", self.name))
    }

    /// `nft` inside the namespace, with a script.
    pub fn nft(&self, script: &str) -> Result<String, CommandError> {
        self.run(|| command::run_with_input(Tool::Nft, "-f -", script))
    }

    /// Writes a file under /proc/sys, for example `net/ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        self.run(|| std::fs::write(format!("/proc/sys/{key}"), value))
            .with_context(|| format!("cannot set {key} in {}", self.name))
    }

    /// Reads a file as a process inside sees it (`/proc/thread-self/net/…`, `/proc/sys/net/…`).
    pub fn read(&self, path: &str) -> anyhow::Result<String> {
        self.run(|| std::fs::read_to_string(path))
            .with_context(|| format!("cannot read {path}"))
    }

    #[expect(
        clippy::expect_used,
        reason = "nothing may run outside of its namespace by mistake"
    )]
    fn enter(&self) {
        move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("entering a network namespace that this process made");
    }
}
