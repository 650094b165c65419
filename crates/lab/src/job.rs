//! The main job of `make run`: the article, from the T1 alone to the label that shows by how
//! much it works, on real packets.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::counters::{Count, FlowCounter, port};
use crate::daemon::Label;
use crate::roles::SERVICES_V4;
use crate::service::{HTTP, sha256_of_bytes};
use crate::{Configuration, Download, Lab, LabConfig, Role, Weighbridge, article, clock, identity};

/// What a T1 carries in about four seconds, and what the DSL line does.
const T1_BYTES: u64 = 720_000;
const DSL_BYTES: u64 = 2_800_000;
/// One packet's worth.
const FEW_BYTES: u64 = 1000;
/// What the article's reader may expect at least of a line with four times the rate.
const LEAST_FACTOR: f64 = 3.0;
/// How long counters may take to agree, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the labels are printed while the lab stays up.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// The article's line.
const LABEL: &str = "DSL-1 216.28.123.99:80";

/// How the job is run.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// The binary `weighbridge`.
    pub binary: PathBuf,
    /// End after the measurements; otherwise stay up under load until Ctrl-C.
    pub once: bool,
    /// When something fails, leave the lab up until Ctrl-C.
    pub keep: bool,
    /// Print the daemon's log at the end.
    pub verbose: bool,
}

/// What was measured, rates in bits a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// 216.28.123.99 over the T1 alone.
    pub t1: f64,
    /// The same host and port with DSL on.
    pub dsl: f64,
    /// 216.28.123.34 by DSL while 216.28.123.50 used the T1.
    pub together: (f64, f64),
    /// The article's label, as `pfctl -vvsl` prints it.
    pub label: Label,
    /// What the host's own kernel counted of the same packets.
    pub counted: Count,
}

impl Measured {
    /// Why this is not what the article promises; empty when it is.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.factor() < LEAST_FACTOR {
            complaints.push(format!("DSL is only {:.2} times the T1", self.factor()));
        }
        let (dsl, t1) = self.together;
        if dsl + t1 <= self.dsl.max(self.t1) {
            complaints.push("both lines together carry no more than one".to_owned());
        }
        if self.label.evaluations == 0 || self.label.count == Count::default() {
            complaints.push(format!("the label {LABEL} counted nothing"));
        }
        if self.label.count != self.counted {
            complaints.push(format!(
                "the label counted {:?}, the host's kernel {:?}",
                self.label.count, self.counted
            ));
        }
        complaints
    }

    /// By how much DSL is faster.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.dsl / self.t1.max(1.0)
    }
}

/// Runs the job and tells `out` about it. An error says what is wrong.
pub fn run(job: &JobConfig, out: &mut impl Write) -> anyhow::Result<()> {
    for name in identity::clean()? {
        writeln!(out, "removed {name}, left behind by a run that was killed")?;
    }
    let mut progress = Progress {
        out,
        start: clock::now(),
    };
    progress.say("building the article's network in namespaces of this machine")?;
    let lab = Lab::new(LabConfig::default())?;
    describe(&lab, progress.out)?;
    let result = show(&lab, job, &mut progress);
    if let (true, Err(error)) = (job.keep, &result) {
        writeln!(
            progress.out,
            "\nfailed: {error:#}\nThe lab stays up (--keep) until Ctrl-C."
        )?;
        loop {
            std::thread::park();
        }
    }
    result
}

struct Progress<'a, W: Write> {
    out: &'a mut W,
    start: std::time::Instant,
}

impl<W: Write> Progress<'_, W> {
    fn say(&mut self, what: &str) -> std::io::Result<()> {
        writeln!(
            self.out,
            "[{:5.1} s] {what}",
            self.start.elapsed().as_secs_f64()
        )?;
        self.out.flush()
    }
}

/// Who is where.
fn describe(lab: &Lab, out: &mut impl Write) -> std::io::Result<()> {
    let name = |role| lab.namespace(role).name().to_owned();
    writeln!(
        out,
        "          inside   216.28.123.34, .99, .10, .50 = {}, …",
        name(Role::H34)
    )?;
    writeln!(
        out,
        "          bridge   em1, fxp0, em0              = {}",
        name(Role::Box)
    )?;
    writeln!(
        out,
        "          Cisco    T1, 1.544 Mbit/s            = {}",
        name(Role::Cisco)
    )?;
    writeln!(
        out,
        "          modem    DSL, 6 Mbit/s down, 1 up    = {}",
        name(Role::Modem1)
    )?;
    writeln!(
        out,
        "          internet {}               = {}",
        SERVICES_V4[0],
        name(Role::Internet)
    )
}

fn show<W: Write>(
    lab: &Lab,
    job: &JobConfig,
    progress: &mut Progress<'_, W>,
) -> anyhow::Result<()> {
    progress.say("starting weighbridge with the article's files, DSL off as printed")?;
    let mut daemon = Weighbridge::start(lab, &job.binary, &Configuration::article(false))?;
    let result = measure(lab, &daemon, progress).and_then(|measured| {
        report(&measured, progress.out)?;
        let complaints = measured.complaints();
        ensure!(complaints.is_empty(), "{}", complaints.join("; "));
        if job.once {
            Ok(())
        } else {
            stay(lab, &daemon, progress)
        }
    });
    if job.verbose || result.is_err() {
        writeln!(progress.out, "\nweighbridge's log:\n{}", daemon.log())?;
    }
    ensure!(
        daemon.is_running() || result.is_err(),
        "weighbridge ended by itself"
    );
    result
}

fn measure<W: Write>(
    lab: &Lab,
    daemon: &Weighbridge,
    progress: &mut Progress<'_, W>,
) -> anyhow::Result<Measured> {
    let server = SocketAddr::from((SERVICES_V4[0], HTTP));
    let host = lab.host(Role::H99);
    host.ping(server.ip(), 56)
        .context("the bridge does not carry a ping")?;

    progress.say("216.28.123.99 downloads over the T1 alone")?;
    let t1 = checked(host.download(server, T1_BYTES)?, inside(Role::H99))?;

    progress.say("dsl_enable = \"\"; pfctl -f pf.conf")?;
    lab.until_connections_end()?;
    daemon.load(&article::pf_conf(true))?;
    let flow = FlowCounter::start(host.namespace(), HTTP)?;

    progress.say("216.28.123.99 downloads by DSL")?;
    let modem = IpAddr::V4(lab.dsl_lines()[0].outside_v4);
    // Whether it is DSL at all is soon told.
    checked(host.download(server, FEW_BYTES)?, modem)?;
    let dsl = checked(host.download(server, DSL_BYTES)?, modem)?;

    progress.say("216.28.123.34 downloads by DSL while 216.28.123.50 uses the T1")?;
    let together = download_together(lab, server)?;

    progress.say("pfctl -vvsl")?;
    lab.until_connections_end()?;
    let (label, counted) = counted_by_both(daemon, &flow)?;
    let large = flow.larger_than_a_frame()?.packets;
    ensure!(
        large == 0,
        "{large} packets were no single frames: the comparison would mean nothing"
    );
    Ok(Measured {
        t1: t1.rate(),
        dsl: dsl.rate(),
        together,
        label,
        counted,
    })
}

/// The label, and what the host's kernel has counted: as soon as both agree, for one is read after
/// the other. The last of them if they do not come to.
fn counted_by_both(daemon: &Weighbridge, flow: &FlowCounter<'_>) -> anyhow::Result<(Label, Count)> {
    let read = || -> anyhow::Result<_> { Ok((daemon.label(LABEL)?, flow.count()?)) };
    clock::wait_until(PATIENCE, || {
        read().is_ok_and(|(label, counted)| label.count == counted)
    });
    read()
}

/// .34 by DSL and .50 over the T1 at the same time; both must have gone where they should.
fn download_together(lab: &Lab, server: SocketAddr) -> anyhow::Result<(f64, f64)> {
    let outside = lab.namespace(Role::Internet);
    let before = port(outside, "t1")?.sent.bytes;
    let other = lab.host(Role::H50).download_in_background(server, T1_BYTES);
    let dsl = lab.host(Role::H34).download(server, DSL_BYTES)?;
    let Ok(t1) = other.join() else {
        bail!("216.28.123.50's download panicked")
    };
    let dsl = checked(dsl, IpAddr::V4(lab.dsl_lines()[0].outside_v4))?;
    let t1 = checked(t1?, inside(Role::H50))?;
    let over_t1 = port(outside, "t1")?.sent.bytes - before;
    ensure!(
        (t1.bytes..DSL_BYTES).contains(&over_t1),
        "{over_t1} bytes went over the T1 where one download of {} was due",
        t1.bytes
    );
    Ok((dsl.rate(), t1.rate()))
}

/// What the internet sees of an inside host that came over the T1.
fn inside(role: Role) -> IpAddr {
    IpAddr::V4(role.inside_v4().unwrap_or(Ipv4Addr::UNSPECIFIED))
}

/// The right bytes, from the right line.
fn checked(download: Download, from: IpAddr) -> anyhow::Result<Download> {
    ensure!(
        download.sha256 == sha256_of_bytes(download.bytes),
        "the bytes were damaged"
    );
    let seen = download.server_saw.ip();
    ensure!(
        seen == from,
        "the server saw {seen}, not {from}: the wrong line"
    );
    Ok(download)
}

fn report(measured: &Measured, out: &mut impl Write) -> std::io::Result<()> {
    let mega = |rate: f64| rate / 1e6;
    let (dsl, t1) = measured.together;
    let Label {
        name,
        evaluations,
        count,
    } = &measured.label;
    writeln!(out)?;
    writeln!(
        out,
        "216.28.123.99 over the T1 alone     {:6.2} Mbit/s",
        mega(measured.t1)
    )?;
    writeln!(
        out,
        "216.28.123.99 port 80 with DSL on   {:6.2} Mbit/s, {:.2} times as much",
        mega(measured.dsl),
        measured.factor()
    )?;
    writeln!(
        out,
        ".34 by DSL while .50 uses the T1    {:6.2} Mbit/s ({:.2} + {:.2})",
        mega(dsl + t1),
        mega(dsl),
        mega(t1)
    )?;
    writeln!(
        out,
        "\n# pfctl -vvsl\n{name} {evaluations} {} {}",
        count.packets, count.bytes
    )?;
    writeln!(
        out,
        "216.28.123.99's own kernel counted {} packets, {} bytes of port 80",
        measured.counted.packets, measured.counted.bytes
    )?;
    out.flush()
}

/// Keeps the lines busy and shows the labels grow, until Ctrl-C.
fn stay<W: Write>(
    lab: &Lab,
    daemon: &Weighbridge,
    progress: &mut Progress<'_, W>,
) -> anyhow::Result<()> {
    explain(lab, daemon, progress.out)?;
    identity::expect_signal();
    for role in Role::INSIDE {
        let host = lab.host(role);
        std::thread::spawn(move || {
            let server = SocketAddr::from((SERVICES_V4[1], HTTP));
            // Until the lab goes away under it.
            while host.download(server, 200_000).is_ok() {
                clock::pause(Duration::from_secs(1));
            }
        });
    }
    loop {
        clock::pause(REPORT_EVERY);
        if let Err(error) = show_labels(daemon, progress) {
            // Ctrl-C reaches the daemon too; then this process is about to end as well.
            clock::pause(Duration::from_secs(2));
            return Err(error);
        }
    }
}

fn show_labels<W: Write>(
    daemon: &Weighbridge,
    progress: &mut Progress<'_, W>,
) -> anyhow::Result<()> {
    progress.say("pfctl -vvsl")?;
    let labels = daemon.labels()?;
    for label in labels.iter().filter(|label| label.count.packets > 0) {
        let Label {
            name,
            evaluations,
            count,
        } = label;
        writeln!(
            progress.out,
            "{name} {evaluations} {} {}",
            count.packets, count.bytes
        )?;
    }
    Ok(())
}

fn explain(lab: &Lab, daemon: &Weighbridge, out: &mut impl Write) -> anyhow::Result<()> {
    let pfctl = daemon.pfctl_command();
    let name = |role| lab.namespace(role).name().to_owned();
    writeln!(
        out,
        "\nThe lab stays up, with some load, until Ctrl-C. To look inside:"
    )?;
    for arguments in ["-vvsl", "-ss", "-vvsr", "-si"] {
        writeln!(out, "  {pfctl} {arguments}")?;
    }
    let file = daemon.config().join("pf.conf");
    writeln!(out, "  {pfctl} -f {}", file.display())?;
    writeln!(out, "  ip netns exec {} bash", name(Role::H99))?;
    writeln!(out, "  ip netns exec {} tcpdump -ni em0", name(Role::Box))?;
    writeln!(out, "  ip netns exec {} ip -s link\n", name(Role::Box))?;
    Ok(())
}

/// What a run of the lab needs that is not there, before anything is built.
pub fn check(binary: &Path) -> anyhow::Result<()> {
    let missing = crate::requirements::missing();
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    ensure!(
        binary.is_file(),
        "{} is missing: run `cargo build --release`",
        binary.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measured {
        let counted = Count {
            packets: 702,
            bytes: 377_264,
        };
        let label = Label {
            name: LABEL.to_owned(),
            evaluations: 17,
            count: counted,
        };
        Measured {
            t1: 1.43e6,
            dsl: 5.6e6,
            together: (5.5e6, 1.4e6),
            label,
            counted,
        }
    }

    #[test]
    fn what_the_article_promises_is_no_complaint() {
        assert_eq!(good().complaints(), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_named() {
        let slow = Measured {
            dsl: 4.0e6,
            ..good()
        };
        assert_eq!(slow.complaints(), ["DSL is only 2.80 times the T1"]);
        let mut miscounted = good();
        miscounted.label.count.packets = 701;
        assert_eq!(miscounted.complaints().len(), 1);
        let mut silent = good();
        silent.label.count = Count::default();
        assert_eq!(silent.complaints().len(), 2);
        let alone = Measured {
            together: (4.0e6, 1.4e6),
            ..good()
        };
        assert_eq!(
            alone.complaints(),
            ["both lines together carry no more than one"]
        );
    }
}
