//! Whatever ends a run, nothing of it stays: Ctrl-C, a failure, and after `kill -9` the next one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{clock, command, identity, requirements};
use rustix::process::{Pid, Signal, kill_process};

/// Stands in for weighbridge: the plain kernel bridge, and a pfctl that does nothing. So DSL is
/// never used, and the main job fails at that.
const STAND_IN: &str = "#!/bin/sh
[ $1 = run ] || exit 0
ip link add name bridge0 type bridge forward_delay 0
for port in em1 fxp0; do ip link set dev $port master bridge0 up; done
ip link set dev bridge0 up
echo 'weighbridge: ready' >&2
exec sleep 1000
";

struct Run {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    stand_in: PathBuf,
}

impl Run {
    fn start(name: &str) -> Result<Self> {
        let file = format!("weighbridge-stand-in-{name}-{}", std::process::id());
        let stand_in = std::env::temp_dir().join(file);
        command::write_program(&stand_in, STAND_IN)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_weighbridge-lab"))
            .args(["run", "--once", "--weighbridge"])
            .arg(&stand_in)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            output,
            stand_in,
        })
    }

    fn wait_for(&mut self, text: &str) -> Result<()> {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let length = self.output.read_line(&mut line)?;
            anyhow::ensure!(length > 0, "it ended before {text:?}");
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process")?;
        kill_process(pid, signal)?;
        Ok(self.child.wait()?)
    }

    /// Namespaces and directories that carry this run's process number.
    fn left(&self) -> Vec<String> {
        let prefix = format!("wb{}x", self.child.id());
        let mut names = identity::existing();
        let directory = std::fs::read_dir(std::env::temp_dir())
            .into_iter()
            .flatten()
            .flatten();
        names.extend(directory.filter_map(|entry| entry.file_name().into_string().ok()));
        names.retain(|name| name.starts_with(&prefix));
        names
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.stand_in);
    }
}

/// Processes that are killed end a moment later.
const PATIENCE: Duration = Duration::from_secs(30);

fn assert_no_process_of(program: &Path) {
    let none = clock::wait_until(PATIENCE, || processes_of(program) == 0);
    assert!(none, "{} goes on", program.display());
}

/// Processes that run a program, by its file.
fn processes_of(program: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let program = program.to_string_lossy().into_owned();
    commands
        .filter(|command| String::from_utf8_lossy(command).contains(&program))
        .count()
}

#[test]
fn ctrl_c_removes_the_lab_and_the_daemon_in_it() {
    if requirements::skip_test("Ctrl-C") {
        return;
    }
    let mut run = Run::start("int").unwrap();
    run.wait_for("over the T1 alone").unwrap();
    assert!(run.left().len() > 5, "{:?}", run.left());
    let status = run.signal(Signal::INT).unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(run.left(), Vec::<String>::new());
    assert_no_process_of(&run.stand_in);
}

#[test]
fn a_failure_removes_the_lab_and_tells_the_reason() {
    if requirements::skip_test("failure") {
        return;
    }
    let mut run = Run::start("fail").unwrap();
    run.wait_for("weighbridge's log").unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(1));
    let mut reason = String::new();
    let stderr = run.child.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut reason).unwrap();
    assert!(reason.contains("the server saw 216.28.123.99"), "{reason}");
    assert_eq!(run.left(), Vec::<String>::new());
}

#[test]
fn what_a_killed_run_leaves_is_cleaned_and_the_lab_of_a_live_one_is_not() {
    if requirements::skip_test("kill -9") {
        return;
    }
    let mut dead = Run::start("dead").unwrap();
    let mut live = Run::start("live").unwrap();
    dead.wait_for("over the T1 alone").unwrap();
    live.wait_for("over the T1 alone").unwrap();
    dead.signal(Signal::KILL).unwrap();
    assert!(dead.left().len() > 5, "{:?}", dead.left());
    identity::clean().unwrap();
    assert_eq!(dead.left(), Vec::<String>::new());
    assert_no_process_of(&dead.stand_in);
    assert!(live.left().len() > 5, "{:?}", live.left());
    live.signal(Signal::INT).unwrap();
}
