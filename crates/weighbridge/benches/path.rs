//! Packets through the box beside the kernel's own means, in one run: its bridge without a filter,
//! with `br_netfilter` and a stateful nftables ruleset, bare redirection at TCX and in the driver,
//! routing with masquerading; and Weighbridge with its flow cache off, on and, where it has that,
//! in the driver.
//!
//! `make bench-path` (root). Each contestant has network namespaces of its own each time; rounds are
//! interleaved, in another order each; each figure is the median with the least and the greatest.
//! `BENCH_ROUNDS` (5), `BENCH_MILLIS` (600, of each measurement), `BENCH_ONLY` (words of which one is
//! in the name of what is to be measured) and `BENCH_SEED` (1). Writes path.md, path.json and
//! path.svg into target/bench.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what a benchmark is for"
)]

#[path = "path/boxes.rs"]
mod boxes;
#[path = "path/chart.rs"]
mod chart;
#[path = "path/contestants.rs"]
mod contestants;
#[path = "path/figures.rs"]
mod figures;
#[path = "path/goals.rs"]
mod goals;
#[path = "path/jobs.rs"]
mod jobs;
#[path = "path/machine.rs"]
mod machine;
#[path = "path/measure.rs"]
mod measure;
#[path = "path/net.rs"]
mod net;
#[path = "path/packets.rs"]
mod packets;
#[path = "path/process.rs"]
mod process;
#[path = "path/rules.rs"]
mod rules;
#[path = "common/samples.rs"]
mod samples;
#[path = "path/sockets.rs"]
mod sockets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::clock::now;
use serde_json::json;

use self::boxes::Refused;
use self::contestants::Contestant;
use self::figures::Figures;
use self::jobs::{Dice, Job, Scene};
use self::machine::Machine;
use self::measure::Round;

/// What is to be done.
struct Plan {
    rounds: u32,
    time: Duration,
    seed: u64,
    jobs: Vec<Job>,
}

/// What could not be measured, and why.
#[derive(Default)]
struct Left {
    /// Because it is not to be had here.
    out: BTreeSet<String>,
    /// Because something failed.
    failed: BTreeSet<String>,
}

fn main() -> ExitCode {
    let missing = lab::requirements::missing();
    if !missing.is_empty() {
        eprintln!("no measurements: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Plan {
    fn new() -> Result<Self> {
        let only = std::env::var("BENCH_ONLY").unwrap_or_default();
        let only: Vec<_> = only
            .split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        let jobs = jobs::selected(&only);
        anyhow::ensure!(!jobs.is_empty(), "nothing is called {}", only.join(" or "));
        Ok(Self {
            rounds: u32::try_from(setting("BENCH_ROUNDS", 5)?)?.max(1),
            time: Duration::from_millis(setting("BENCH_MILLIS", 600)?.max(100)),
            seed: setting("BENCH_SEED", 1)?,
            jobs,
        })
    }

    /// Seconds, about.
    fn length(&self) -> f64 {
        let time = self.time.as_secs_f64();
        let rounds = |job: &Job| f64::from(self.rounds.min(job.scene.rounds()));
        self.jobs
            .iter()
            .map(|job| job.seconds(time) * rounds(job))
            .sum()
    }

    /// The jobs of a round, from 1.
    fn jobs_of(&self, round: u32) -> Vec<Job> {
        let jobs = self.jobs.iter().copied();
        jobs.filter(|job| round <= job.scene.rounds()).collect()
    }

    fn describe(&self) -> String {
        format!(
            "{} rounds of {} measurements, {} ms each, order of seed {}",
            self.rounds,
            self.jobs.len(),
            self.time.as_millis(),
            self.seed
        )
    }
}

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn run() -> Result<ExitCode> {
    let plan = Plan::new()?;
    let machine = Machine::here()?;
    eprintln!(
        "{}: about {:.0} minutes",
        plan.describe(),
        (plan.length() / 60.0).ceil()
    );
    if let Some(warning) = machine.warning() {
        eprintln!("{warning}");
    }
    let mut figures = Figures::default();
    let left = measure(&plan, &mut figures)?;
    figures.sort();
    report(&plan, &machine, &figures, &left)?;
    if left.failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn measure(plan: &Plan, figures: &mut Figures) -> Result<Left> {
    let mut left = Left::default();
    let mut dice = Dice::new(plan.seed);
    let (start, mut done) = (now(), 0.0);
    for number in 1..=plan.rounds {
        let mut round = Round {
            figures,
            time: plan.time,
            floor: 0.0,
        };
        eprintln!("round {number} of {}: the generator", plan.rounds);
        round.generator().context("the generator")?;
        for job in dice.shuffle(&plan.jobs_of(number)) {
            let rest = remaining(start, done, plan.length());
            eprintln!("round {number} of {}: {job} ({rest})", plan.rounds);
            if let Err(error) = round.job(job) {
                left.note(job, &error);
            }
            done += job.seconds(plan.time.as_secs_f64());
        }
    }
    Ok(left)
}

/// How long it takes still, by what it has taken.
fn remaining(start: Instant, done: f64, all: f64) -> String {
    let elapsed = start.elapsed().as_secs_f64();
    let pace = if done > 0.0 { elapsed / done } else { 1.0 };
    let minutes = (all - done) * pace / 60.0;
    format!("{minutes:.1} minutes to go")
}

impl Left {
    fn note(&mut self, job: Job, error: &anyhow::Error) {
        let text = format!("{job}: {error:#}").trim().replace('\n', "; ");
        eprintln!("  {text}");
        // What a build may not have yet, or the machine has no room for.
        let optional = job.who == Contestant::Xdp || job.scene == Scene::Million;
        if optional && error.is::<Refused>() {
            self.out.insert(text);
        } else {
            self.failed.insert(text);
        }
    }

    fn markdown(&self) -> String {
        let out = self.out.iter().map(|text| format!("Left out: {text}\n\n"));
        let failed = self.failed.iter().map(|text| format!("FAILED: {text}\n\n"));
        out.chain(failed).collect()
    }
}

fn report(plan: &Plan, machine: &Machine, figures: &Figures, left: &Left) -> Result<()> {
    let goals = goals::judge(figures);
    let warning = machine.warning().unwrap_or_default();
    let about = format!("{}. {}", plan.describe(), machine.markdown()?);
    let text = format!(
        "{warning}\n\n{about}\n\nEach figure: median (least - greatest). The generator, the box and \
         the end of the packets share the first CPU; a daemon and a server have the second.\n\n\
         {}\n{}### Goals\n\n{}\n{warning}\n",
        figures.markdown(),
        left.markdown(),
        goals::markdown(&goals)
    );
    println!("{}", text.trim());
    let json = json!({
        "machine": machine.json()?,
        "rounds": plan.rounds,
        "milliseconds": u64::try_from(plan.time.as_millis())?,
        "seed": plan.seed,
        "measured": figures.json(),
        "goals": goals::json(&goals),
        "left_out": left.out,
        "failed": left.failed,
    });
    let directory = directory();
    std::fs::create_dir_all(&directory)?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    write("path.md", text.trim())?;
    write("path.json", &serde_json::to_string_pretty(&json)?)?;
    write("path.svg", &chart::svg(figures, &about))?;
    eprintln!(
        "written: path.md, path.json and path.svg in {}",
        directory.display()
    );
    Ok(())
}

/// `bench` of the directory that everything is built in.
fn directory() -> PathBuf {
    let built = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    built.unwrap_or(here).join("bench")
}
