//! A machine under emulation, with a kernel of its own: for what this machine's kernel has not, and
//! for kernels that are older.
//!
//! QEMU, `BusyBox` and the kernel are those that `scripts/packages.sh` unpacks. QEMU translates each
//! instruction, so it needs no help of the processor. The root of the file system is an archive in
//! memory; commands and what they say cross a serial line.

mod image;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::image::Image;
use crate::clock;
use crate::namespace::Namespace;

/// How long it may take from QEMU's start to the first command; 6 s on a machine at rest.
const BOOT_LIMIT: Duration = Duration::from_mins(5);
/// How long a command may take, where nothing else is said.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);
const MONITOR_LIMIT: Duration = Duration::from_mins(1);
/// How long a guest lives when nobody ends it: its parent may have been killed.
const LIFE_SECS: u32 = 1800;
const MEMORY: &str = "1024";
/// What the guest says when it takes commands.
const READY: &str = "guest: ready";
/// What begins the line behind a command's output.
const END: &str = "guest: status ";
/// Where the monitor says that it listens.
const MONITOR_PROMPT: &str = "(qemu) ";

/// The guest's first process: the file system, devices, then commands. Loaded on demand is what
/// the kernel asks for by name; the bus and the cards it does not ask for. A serial line that nobody
/// holds forgets what was sent to it.
const INIT: &str = "\
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
chmod 1777 /tmp
mount -t tmpfs run /run
mount --make-rshared /
echo /bin/modprobe > /proc/sys/kernel/modprobe
for module in virtio_pci virtio_net tun; do modprobe $module; done
ip link set dev lo up
(sleep LIFE; poweroff -f) &
exec 3<> /dev/ttyS1
stty raw -echo <&3
echo 'READY' >&3
sh <&3 2>&1 | cat >&3
poweroff -f
";

/// A machine that is not running yet.
#[derive(Debug)]
pub struct Machine {
    qemu: PathBuf,
    kernel: PathBuf,
    image: Image,
    taps: Vec<String>,
    processors: u32,
}

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    monitor: UnixStream,
    console: PathBuf,
}

/// What a command in a guest came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it wrote to its standard output and error.
    pub text: String,
}

impl Machine {
    /// A machine with one processor and no network card, from the directories where QEMU (with
    /// `BusyBox`) and a kernel are unpacked.
    pub fn new(qemu: &Path, kernel: &Path) -> Result<Self> {
        let mut image = Image::new();
        image.file("/init", init().into_bytes(), true);
        let busybox = qemu.join("bin/busybox");
        let busybox = fs::read(&busybox).with_context(|| busybox.display().to_string())?;
        image.file("/bin/busybox", busybox, true);
        image.tree(&kernel.join("lib/modules"), "/lib/modules")?;
        Ok(Self {
            qemu: qemu.to_owned(),
            kernel: only_file(&kernel.join("boot"))?,
            image,
            taps: Vec::new(),
            processors: 1,
        })
    }

    /// With a program of this machine, at the same path, and the libraries it needs.
    pub fn program(mut self, path: &Path) -> Result<Self> {
        self.image.program(path)?;
        Ok(self)
    }

    /// With a text file.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.image.file(path, text.as_bytes().to_vec(), false);
        self
    }

    /// With a network card, `eth0` the first, whose cable ends in this TAP device.
    #[must_use]
    pub fn card(mut self, tap: &str) -> Self {
        self.taps.push(tap.to_owned());
        self
    }

    /// With so many processors.
    #[must_use]
    pub fn processors(mut self, number: u32) -> Self {
        self.processors = number;
        self
    }

    /// Boots it. QEMU runs inside the namespace, where the TAP devices are; `directory` is for its
    /// files.
    pub fn boot(self, inside: &Namespace, directory: &Path) -> Result<Guest> {
        let archive = directory.join("guest.cpio");
        self.image.write_to(&archive)?;
        let (console, monitor) = (directory.join("console"), directory.join("monitor"));
        let mut command = self.command(&archive, &console, &monitor);
        let mut child = inside
            .start(&mut command)
            .with_context(|| format!("cannot run {command:?}"))?;
        let started = Guest::of(&mut child, console, &monitor);
        let (input, lines, monitor, console) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let guest = Guest {
            child,
            input,
            lines,
            monitor,
            console,
        };
        guest.wait_for(READY, BOOT_LIMIT)?;
        Ok(guest)
    }

    fn command(&self, archive: &Path, console: &Path, monitor: &Path) -> Command {
        let share = self.qemu.join("usr/share");
        let libraries = ["usr/lib", "lib"]
            .map(|place| self.qemu.join(place).join("x86_64-linux-gnu"))
            .map(|path| path.display().to_string());
        let mut command = Command::new(self.qemu.join("usr/bin/qemu-system-x86_64"));
        command
            .env("QEMU_MODULE_DIR", format!("{}/qemu", libraries[0]))
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .arg("-L")
            .arg(share.join("qemu"))
            .arg("-L")
            .arg(share.join("seabios"))
            .args(["-machine", "pc", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "max", "-m", MEMORY, "-smp"])
            .arg(self.processors.to_string())
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(archive)
            // The kernel's test of the timer fails where emulation is slow.
            .args([
                "-append",
                "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check",
            ])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-serial", "stdio", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        for (number, tap) in self.taps.iter().enumerate() {
            let cable = format!("tap,id=n{number},ifname={tap},script=no,downscript=no");
            // Bonding uses no port whose speed it does not know.
            let card = format!(
                "virtio-net-pci,id=c{number},netdev=n{number},mac=02:57:42:00:00:{number:02x},\
                 romfile=,speed=1000,duplex=full"
            );
            command.args(["-netdev", &cable, "-device", &card]);
        }
        command
    }
}

type Started = (ChildStdin, Receiver<String>, UnixStream, PathBuf);

impl Guest {
    fn of(child: &mut Child, console: PathBuf, monitor: &Path) -> Result<Started> {
        let input = child.stdin.take().context("a standard input")?;
        let output = child.stdout.take().context("a standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        let mut connected = None;
        // Its socket is there a moment before it listens.
        clock::wait_until(MONITOR_LIMIT, || {
            connected = UnixStream::connect(monitor).ok();
            connected.is_some()
        });
        let mut monitor = connected.context("QEMU does not start")?;
        monitor.set_read_timeout(Some(MONITOR_LIMIT))?;
        until_prompt(&mut monitor)?;
        Ok((input, lines, monitor, console))
    }

    /// Runs a script of the shell; how long it may take is `COMMAND_LIMIT`.
    pub fn try_run(&mut self, script: &str) -> Result<Answer> {
        self.try_run_within(COMMAND_LIMIT, script)
    }

    /// Runs a script of the shell, at most so long.
    pub fn try_run_within(&mut self, limit: Duration, script: &str) -> Result<Answer> {
        let quoted = script.replace('\'', "'\\''");
        let line = format!("sh -c '{quoted}' < /dev/null; printf '\\n{END}%s\\n' $?\n");
        self.input.write_all(line.as_bytes())?;
        self.input.flush()?;
        let (last, before) = self
            .wait_for(END, limit)
            .with_context(|| format!("in the guest: {script}"))?;
        let status = last.trim_start_matches(END).trim();
        Ok(Answer {
            status: status.parse().with_context(|| last.clone())?,
            text: before.join("\n"),
        })
    }

    /// The same; a status other than 0 is an error. Returns what was said.
    pub fn run(&mut self, script: &str) -> Result<String> {
        let answer = self.try_run(script)?;
        ensure!(answer.status == 0, "in the guest: {script}: {answer:?}");
        Ok(answer.text)
    }

    /// Plugs the cable of a card in, or pulls it.
    pub fn plug(&mut self, card: usize, plugged: bool) -> Result<()> {
        let state = if plugged { "on" } else { "off" };
        let line = format!("set_link c{card} {state}\n");
        self.monitor.write_all(line.as_bytes())?;
        until_prompt(&mut self.monitor)
    }

    /// What the kernel has said.
    #[must_use]
    pub fn console(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.console) {
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The first line that begins so, and the lines before it.
    fn wait_for(&self, beginning: &str, limit: Duration) -> Result<(String, Vec<String>)> {
        let end = clock::now() + limit;
        let mut before = Vec::new();
        loop {
            let left = end.saturating_duration_since(clock::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return Ok((line, before)),
                Ok(line) => before.push(line),
                Err(why) => bail!(
                    "no `{beginning}` in {limit:?} ({why}) but {before:?}; its console: {}",
                    self.console()
                ),
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn init() -> String {
    INIT.replace("LIFE", &LIFE_SECS.to_string())
        .replace("READY", READY)
}

/// The monitor echoes what it reads with control characters in between; only its end matters.
fn until_prompt(monitor: &mut UnixStream) -> Result<()> {
    let mut said = Vec::new();
    while !said.ends_with(MONITOR_PROMPT.as_bytes()) {
        let mut bytes = [0; 256];
        let count = monitor.read(&mut bytes).context("QEMU's monitor")?;
        ensure!(count > 0, "QEMU has ended");
        said.extend_from_slice(&bytes[..count]);
    }
    Ok(())
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let file = files.next().context("no kernel")??;
    ensure!(
        files.next().is_none(),
        "several kernels in {}",
        directory.display()
    );
    Ok(file.path())
}
