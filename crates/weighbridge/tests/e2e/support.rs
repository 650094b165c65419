//! What the end-to-end tests share: a daemon in a lab, and who may run beside whom.

use std::fmt::Debug;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lab::roles::SERVICES_V4;
use lab::{Configuration, Lab, LabConfig, Role, Weighbridge, clock, requirements};
use rustix::fs::{FlockOperation, flock};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// In the environment of a guest: its kernel has all that there is to test.
pub(crate) const IN_GUEST: &str = "WEIGHBRIDGE_TEST_GUEST";

/// Who has not answered after this long will not: a SYN has been repeated in it.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);

/// Who has to answer, and what has to happen, has this long, on a machine that others use too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often, and after which time, something is read again that should be at rest.
const READINGS: usize = 100;
const MOMENT: Duration = Duration::from_millis(20);

/// One DSL line, every line as fast as the machine.
pub(crate) const UNSHAPED: LabConfig = LabConfig {
    dsl_lines: 1,
    shaped: false,
};

/// A daemon in the box of a lab.
pub(crate) struct Bench {
    pub(crate) daemon: Weighbridge,
    pub(crate) lab: Lab,
}

impl Bench {
    /// Address and port of the internet's first server.
    pub(crate) fn server(port: u16) -> SocketAddr {
        SocketAddr::from((SERVICES_V4[0], port))
    }

    /// What a server sees of a client that came by DSL line `number`, from 1.
    pub(crate) fn dsl(&self, number: usize) -> IpAddr {
        IpAddr::V4(self.lab.dsl_lines()[number - 1].outside_v4)
    }

    /// What a server sees of an inside host that came over the T1.
    pub(crate) fn t1(role: Role) -> IpAddr {
        role.inside_v4().map_or(IpAddr::from([0; 4]), IpAddr::V4)
    }

    /// Waits until the daemon has logged this.
    pub(crate) fn until_logged(&self, line: &str) -> Result<()> {
        let is_there = || self.daemon.log().contains(line);
        ensure!(clock::wait_until(PATIENCE, is_there), "not logged: {line}");
        Ok(())
    }

    /// The states of IPv4 traffic of inside hosts. (Beside them hosts chatter in IPv6.)
    pub(crate) fn states(&self) -> Result<Vec<String>> {
        let mut states = self.daemon.states()?;
        states.retain(|state| state.contains("216.28.123."));
        Ok(states)
    }

    /// What the card of a host's port does for the kernel (`ethtool -K`).
    pub(crate) fn set_feature(
        &self,
        role: Role,
        port: &str,
        feature: &str,
        on: bool,
    ) -> Result<()> {
        let mut command = Command::new("ethtool");
        command.args(["-K", port, feature, if on { "on" } else { "off" }]);
        let output = self.lab.namespace(role).run(|| command.output())?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
        Ok(())
    }

    /// The address under which a server sees a new connection of a host.
    pub(crate) fn way_of(&self, role: Role, port: u16) -> Result<IpAddr> {
        Ok(self
            .lab
            .host(role)
            .line_client(Self::server(port))?
            .server_saw()
            .ip())
    }
}

/// What is read at a moment when nothing of it changes: hosts chatter, and two counters are not
/// read at once.
pub(crate) fn at_rest<T: PartialEq>(read: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 0..READINGS {
        let first = read();
        clock::pause(MOMENT);
        if let (Ok(first), Ok(second)) = (first, read())
            && first == second
        {
            return Ok(second);
        }
    }
    read()?;
    bail!("the network has no rest")
}

/// Reads until both that are read are the same, and the same once more: two counters are not read
/// at once, and what one of them has counted may still be on its way to the other.
pub(crate) fn until_same<T: PartialEq + Debug>(read: impl Fn() -> Result<(T, T)>) -> Result<T> {
    let mut found = None;
    clock::wait_until(PATIENCE, || {
        let same = || read().ok().filter(|(one, other)| one == other);
        let first = same();
        clock::pause(MOMENT);
        found = first.and_then(|_| same());
        found.is_some()
    });
    if let Some((same, _)) = found {
        return Ok(same);
    }
    let (one, other) = read()?;
    bail!("{one:?} is not {other:?}")
}

/// The same where one of them is known before.
pub(crate) fn until_is<T: PartialEq + Debug + Clone>(
    wanted: &T,
    read: impl Fn() -> Result<T>,
) -> Result<()> {
    until_same(|| Ok((read()?, wanted.clone()))).map(drop)
}

/// Waits until something is so that has to become so.
pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
    ensure!(clock::wait_until(PATIENCE, is_so), "not so: {what}");
    Ok(())
}

/// Runs a test with a daemon in a lab. The daemon's log is told with a failure; a daemon that has
/// ended by itself is one.
pub(crate) fn with_daemon(
    name: &str,
    config: LabConfig,
    files: &Configuration,
    test: impl FnOnce(&mut Bench) -> Result<()>,
) -> Result<()> {
    with_lab(name, config, |lab| {
        let daemon = Weighbridge::start(&lab, Path::new(BINARY), files)?;
        let mut bench = Guard(Bench { daemon, lab });
        test(&mut bench.0)?;
        ensure!(bench.0.daemon.is_running(), "the daemon ended by itself");
        bench.0.daemon.stop()?;
        bench.0.passed();
        Ok(())
    })
}

/// Runs a test with a lab whose box is bare. A shaped lab has the machine to itself, so that
/// its rates mean something.
pub(crate) fn with_lab(
    name: &str,
    config: LabConfig,
    test: impl FnOnce(Lab) -> Result<()>,
) -> Result<()> {
    if requirements::skip_test(name) {
        return Ok(());
    }
    let _machine = if config.shaped {
        lock(FlockOperation::LockExclusive)?
    } else {
        shared_machine()?
    };
    test(Lab::new(config)?)
}

/// For as long as it is held, nobody has the machine to himself.
pub(crate) fn shared_machine() -> Result<File> {
    lock(FlockOperation::LockShared)
}

fn lock(operation: FlockOperation) -> Result<File> {
    let lock = File::create(std::env::temp_dir().join("weighbridge-e2e.lock"))?;
    flock(&lock, operation)?;
    Ok(lock)
}

/// Tells the daemon's log unless the test has passed.
struct Guard(Bench);

impl Bench {
    fn passed(&mut self) {
        self.daemon.forget_log();
    }
}

impl Drop for Guard {
    #[expect(clippy::print_stderr, reason = "a failing test's evidence")]
    fn drop(&mut self) {
        let log = self.0.daemon.log();
        if !log.is_empty() {
            eprintln!("weighbridge's log:\n{log}");
        }
    }
}
