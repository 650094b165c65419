//! The bridge box: `weighbridge run` in its namespace, and `weighbridge pfctl` beside it.

mod emptier;
mod path;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use self::emptier::Emptier;
pub use self::path::{FAST_PATH, FastPath};
use crate::counters::Count;
use crate::roles::Role;
use crate::{Lab, article, clock};

/// The line with which the daemon says that the network is set up and filtered.
const READY: &str = "weighbridge: ready";
/// Most of it is what the kernel takes to verify the programs: two seconds, under emulation a
/// minute.
const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// Settings by which two DSL lines are probed: the first by its modem, the second by what is
/// behind it.
pub const TWO_GATEWAYS: &str = "\n[[gateway]]\n\
    interface = \"em0\"\n\
    address = \"192.168.0.1\"\n\
    [[gateway]]\n\
    interface = \"em3\"\n\
    address = \"172.16.0.1\"\n\
    kind = \"tcp\"\n\
    targets = [\"198.51.100.10:80\", \"198.51.100.20:80\", \"198.51.100.30:80\"]\n\
    quorum = 2\n";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The files of a configuration directory, and whether somebody empties the flow cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    files: BTreeMap<String, String>,
    fast_path: Option<FastPath>,
}

impl Configuration {
    /// The article's own files, with DSL on or off.
    #[must_use]
    pub fn article(dsl: bool) -> Self {
        let pf_conf = article::pf_conf(dsl);
        let files = [
            ("weighbridge.toml", article::WEIGHBRIDGE_TOML),
            ("hostname.fxp0", article::HOSTNAME_FXP0),
            ("hostname.em1", article::HOSTNAME_EM1),
            ("hostname.em0", article::HOSTNAME_EM0),
            ("bridgename.bridge0", article::BRIDGENAME_BRIDGE0),
            ("pf.conf", pf_conf.as_str()),
        ];
        Self::of(&files)
    }

    /// These files, by their names.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter();
        let files = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self {
            files: files.collect(),
            fast_path: None,
        }
    }

    /// Today's dialect, the article's bridge, and this rule set.
    #[must_use]
    pub fn modern(pf_conf: &str) -> Self {
        Self::article(false)
            .with("weighbridge.toml", "")
            .with("pf.conf", pf_conf)
    }

    /// With another file, or another text of a file.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    /// Without a file.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.files.remove(name);
        self
    }

    /// With this flow cache; without it with that of [`FAST_PATH`]. What the files say themselves
    /// comes first.
    #[must_use]
    pub fn on_path(mut self, fast_path: Option<FastPath>) -> Self {
        self.fast_path = fast_path;
        self
    }

    /// The text of a file, empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.files.get(name).map_or("", String::as_str)
    }

    /// Daemons of several labs must not write to one packet log.
    fn keeping_logs_in(&self, directory: &Path) -> Self {
        self.with_key("log-directory", &directory.display().to_string())
    }

    /// With the setting of the flow cache that it has.
    pub fn for_this_run(&self) -> anyhow::Result<Self> {
        let path = self.path_under_test()?;
        Ok(path.map_or_else(
            || self.clone(),
            |path| self.with_key("fast-path", path.setting()),
        ))
    }

    /// The flow cache that it has, unless its files say so.
    fn path_under_test(&self) -> anyhow::Result<Option<FastPath>> {
        match self.fast_path {
            None => FastPath::of_environment(),
            path => Ok(path),
        }
    }

    /// With a setting, unless it is made already.
    fn with_key(&self, key: &str, value: &str) -> Self {
        let text = self.text("weighbridge.toml");
        if text.contains(key) {
            return self.clone();
        }
        // Behind the header of a table it would be one of the table's keys.
        let (keys, tables) = text.split_at(text.find("\n[").unwrap_or(text.len()));
        let text = format!("{keys}\n{key} = \"{value}\"\n{tables}");
        self.clone().with("weighbridge.toml", &text)
    }

    /// Writes the files.
    pub fn write_to(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        self.files
            .iter()
            .try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
    }
}

/// One label of `pfctl -vvsl` in the four fields of 2006.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The label, macros expanded.
    pub name: String,
    /// How often its rule was looked at.
    pub evaluations: u64,
    /// Packets and bytes, both ways.
    pub count: Count,
}

/// A daemon that runs in the box of a [`Lab`]. Dropping it ends it.
#[derive(Debug)]
pub struct Weighbridge {
    child: Child,
    binary: PathBuf,
    config: PathBuf,
    packet_logs: PathBuf,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
    inside: Arc<crate::namespace::Namespace>,
    _emptier: Option<Emptier>,
}

impl Weighbridge {
    /// Starts it and waits until it is ready; its log is in the error when it is not.
    pub fn start(lab: &Lab, binary: &Path, files: &Configuration) -> anyhow::Result<Self> {
        Self::start_with(lab, binary, files, &[])
    }

    /// The same with more arguments.
    pub fn start_with(
        lab: &Lab,
        binary: &Path,
        files: &Configuration,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let (mut this, ready) = Self::launch(lab, binary, files, arguments)?;
        if let Err(error) = this.wait_until_ready(&ready) {
            let log = this.log();
            return Err(error.context(format!("weighbridge did not start; its log:\n{log}")));
        }
        lab.set_default_route_of_box();
        Ok(this)
    }

    /// Runs it where it is expected to fail; returns its exit status and what it said.
    pub fn fail(
        lab: &Lab,
        binary: &Path,
        files: &Configuration,
        arguments: &[&str],
    ) -> anyhow::Result<(ExitStatus, String)> {
        let (mut this, ready) = Self::launch(lab, binary, files, arguments)?;
        let mut status = None;
        clock::wait_until(START_LIMIT, || {
            status = this.child.try_wait().ok().flatten();
            status.is_some() || this.log().contains(READY)
        });
        let Some(status) = status else {
            bail!("it goes on running:\n{}", this.log())
        };
        // The thread that reads its log may be a moment behind, and lets go when it has read all.
        let _ = ready.recv_timeout(START_LIMIT);
        Ok((status, this.log()))
    }

    fn launch(
        lab: &Lab,
        binary: &Path,
        files: &Configuration,
        arguments: &[&str],
    ) -> anyhow::Result<(Self, Receiver<()>)> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let config = lab.directory().join(format!("config{number}"));
        let socket = lab.directory().join(format!("control{number}.sock"));
        let packet_logs = lab.directory().join(format!("log{number}"));
        let path = files.path_under_test()?;
        let files = files.keeping_logs_in(&packet_logs);
        files.for_this_run()?.write_to(&config)?;
        let inside = Arc::clone(lab.namespace(Role::Box));
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(lab.directory().join("state"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = inside
            .start(&mut command)
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let log = Arc::new(Mutex::new(String::new()));
        let ready = follow(&mut child, &log);
        let empties = path == Some(FastPath::Emptied);
        Ok((
            Self {
                child,
                _emptier: empties.then(|| Emptier::start(binary, &socket)),
                binary: binary.to_owned(),
                config,
                packet_logs,
                socket,
                log,
                inside,
            },
            ready,
        ))
    }

    fn wait_until_ready(&mut self, ready: &Receiver<()>) -> anyhow::Result<()> {
        match ready.recv_timeout(START_LIMIT) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("not ready after {START_LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended with {}", self.child.wait()?),
        }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration directory.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where it keeps its packet logs, unless the configuration says otherwise.
    #[must_use]
    pub fn packet_logs(&self) -> &Path {
        &self.packet_logs
    }

    /// How a person calls `pfctl` for this daemon.
    #[must_use]
    pub fn pfctl_command(&self) -> String {
        format!(
            "{} pfctl --socket {}",
            self.binary.display(),
            self.socket.display()
        )
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Empties what [`Weighbridge::log`] returns.
    pub fn forget_log(&self) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `pfctl` with these arguments, whatever comes of it.
    pub fn pfctl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.binary);
        command
            .arg("pfctl")
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments);
        let output = self.inside.run(|| command.stdin(Stdio::null()).output());
        output.context("cannot run pfctl")
    }

    /// `pfctl` that must succeed; returns its standard output.
    pub fn pfctl_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.pfctl(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("pfctl {}: {} {stderr}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes `pf.conf` and loads it with `pfctl -f`.
    pub fn load(&self, pf_conf: &str) -> anyhow::Result<()> {
        let file = self.config.join("pf.conf");
        std::fs::write(&file, pf_conf)?;
        self.pfctl_ok(&["-f", &file.to_string_lossy()]).map(drop)
    }

    /// `weighbridge flows --json`: what the flow cache does, by name.
    pub fn flows(&self) -> anyhow::Result<BTreeMap<String, serde_json::Value>> {
        let mut command = Command::new(&self.binary);
        command.args(["flows", "--json", "--socket"]);
        let output = command.arg(&self.socket).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// `pfctl -vvsl`, in the article's dialect.
    pub fn labels(&self) -> anyhow::Result<Vec<Label>> {
        let text = self.pfctl_ok(&["-vvsl"])?;
        Ok(text.lines().filter_map(parse_label).collect())
    }

    /// One label; zero when there is none of that name.
    pub fn label(&self, name: &str) -> anyhow::Result<Label> {
        let found = self.labels()?.into_iter().find(|label| label.name == name);
        let none = Label {
            name: name.to_owned(),
            evaluations: 0,
            count: Count::default(),
        };
        Ok(found.unwrap_or(none))
    }

    /// The lines of `pfctl -ss`.
    pub fn states(&self) -> anyhow::Result<Vec<String>> {
        let text = self.pfctl_ok(&["-ss"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to end as `systemctl stop` does, and waits for it.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.end_by(Signal::TERM)
    }

    /// Asks it to make way for another daemon, and waits for it.
    pub fn hand_over(&mut self) -> anyhow::Result<ExitStatus> {
        self.end_by(Signal::USR2)
    }

    fn end_by(&mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process")?;
        kill_process(pid, signal)?;
        let mut status = None;
        clock::wait_until(STOP_LIMIT, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.with_context(|| format!("it goes on after {signal:?}; its log:\n{}", self.log()))
    }
}

impl Drop for Weighbridge {
    fn drop(&mut self) {
        if self.is_running() && self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Keeps the log; the receiver hears of the ready line, and of the end.
fn follow(child: &mut Child, log: &Arc<Mutex<String>>) -> Receiver<()> {
    let (sender, receiver) = channel();
    let log = Arc::clone(log);
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let ready = line.contains(READY);
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if ready {
                    let _ = sender.send(());
                }
            }
        });
    }
    receiver
}

/// `<label> <evaluations> <packets> <bytes>`, where the label may hold blanks.
fn parse_label(line: &str) -> Option<Label> {
    let mut fields = line.rsplitn(4, ' ');
    let mut number = || fields.next()?.parse().ok();
    let (bytes, packets, evaluations) = (number()?, number()?, number()?);
    let name = fields.next()?.to_owned();
    Some(Label {
        name,
        evaluations,
        count: Count { packets, bytes },
    })
}

/// The binary `weighbridge` beside the running one (in `target/release` or an install).
pub fn binary_beside_this_one() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("weighbridge");
    if File::open(&path).is_err() {
        bail!(
            "{} is missing: build it with `cargo build --release`",
            path.display()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_article_s_label_line_is_read() {
        let label = parse_label("DSL-1 216.28.123.99:80 17 702 377264").unwrap();
        assert_eq!(label.name, "DSL-1 216.28.123.99:80");
        assert_eq!(label.evaluations, 17);
        assert_eq!(
            label.count,
            Count {
                packets: 702,
                bytes: 377_264
            }
        );
    }
}
