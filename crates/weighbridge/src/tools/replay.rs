//! `weighbridge replay`: a capture through the rules.

mod report;
mod run;
mod sides;
mod totals;
mod world;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pf_conf::Loaded;
use pf_engine::addr::Prefix;
use pf_engine::env::Interface;

use self::run::{LogWriter, Options, Replay};
use self::sides::Sides;
use self::world::World;
use super::explain::with_named;
use super::interfaces::parse_routes;
use super::{Complaint, Reading, status};
use crate::capture::link;
use crate::capture::{Capture, CaptureError, Frame};
use crate::output::{Output, with_process_output};
use crate::text::{parse_prefix, reason};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Send the packets of a capture through the rules, and tell what becomes of each.

The engine is the one that filters live traffic, with states, translation, reassembly and timeouts;
its clock is that of the packets. FILE is a pcap or pcapng file (- is standard input) of Ethernet,
with or without VLAN tags, raw IP, Linux cooked, loopback, or PFLOG packets: what a box has logged
can be tried with other rules. Needs no daemon and no privileges, and sends nothing.

Where a packet meets the rules:
  (nothing said)       it comes in by the first --interface, else by the first that a rule names;
                       it goes out where the capture tells that the box sent it (Linux cooked,
                       pcapng); a PFLOG packet meets them where it was logged
  --in-if em1          it comes in by em1
  --in-if em1 --inside 10.0.0.0/8
                       what hosts of 10.0.0.0/8 send comes in by em1, the rest goes out of em1: a
                       capture of that wire
  --in-if em1 --out-if em0 --inside 10.0.0.0/8
                       what hosts of 10.0.0.0/8 send comes in by em1 and, if it passes, goes out of
                       em0; the rest comes in by em0 and goes out of em1; what is for an address of
                       the box stays there, and what is from one only goes out
  --interface em1=10.0.0.1/8 --interface em0=192.0.2.1/24
                       the same: two interfaces, the networks of the first are inside
With translation, capture where its answers can be recognised: answers to a translated connection
are those to the address that it was translated to.

Each line has the number of the packet, its time (UTC), where it met the rules, the packet in the
words of `weighbridge explain --packet`, and the verdict: pass, block (by a rule), drop (for another
reason) or held (a fragment, until its datagram is whole), the number of the rule, the state, the
route, and as what it goes on. What the filter sends itself follows. The last lines are totals.

Examples:
  weighbridge replay office.pcap --rules pf.conf --in-if em1
  weighbridge replay office.pcap --rules new.conf --interface em1=10.0.0.1/8 --interface em0 \\
      --states --counters
  tcpdump -r old.pcap -w - net 10/8 | weighbridge replay - --rules pf.conf --quiet --counters
  weighbridge replay office.pcap --rules pf.conf --log log.pcap && tcpdump -nr log.pcap
  weighbridge replay --json office.pcap --rules pf.conf | \\
      jq -c 'select(.evaluations[-1].verdict? == \"block\")'

What a capture holds only the beginning of is filled up with zeros. Random choices are the same each
time. Packets that the filter sends itself do not come back: hosts behind `synproxy state` answer
only if the capture has their answers.

Exit status: 0 the capture was replayed, whatever the verdicts; 1 rules or capture have errors (what
came before the error is told); 2 wrong command line.";

/// `weighbridge replay`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub struct ReplayArguments {
    /// The capture; `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The rules
    #[arg(long, value_name = "FILE")]
    pub rules: PathBuf,
    /// The interface by which packets come in
    #[arg(long, value_name = "NAME")]
    pub in_if: Option<String>,
    /// The interface on the other side
    #[arg(long, value_name = "NAME")]
    pub out_if: Option<String>,
    /// The networks behind the first interface
    #[arg(long, value_name = "NETWORK/LENGTH", value_delimiter = ',')]
    pub inside: Vec<String>,
    /// A route of the box, for af-to, no-route and urpf-failed; `default` is a destination too
    #[arg(long, value_name = "DESTINATION/LENGTH=INTERFACE,GATEWAY")]
    pub route: Vec<String>,
    /// Write what rules with `log` log to a pcap file of PFLOG packets, which tcpdump reads
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// At the end the states, as `pfctl -vvss` prints them
    #[arg(long)]
    pub states: bool,
    /// At the end rules and counters, as `pfctl -vvsn`, `-vvsr` (of all anchors) and `-vsi` do
    #[arg(long)]
    pub counters: bool,
    /// No line for each packet
    #[arg(long, short)]
    pub quiet: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How the rules are read.
    #[command(flatten)]
    pub reading: Reading,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &ReplayArguments) -> ExitCode {
    with_process_output(arguments.reading.plain, |output| {
        ExitCode::from(execute(arguments, output))
    })
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &ReplayArguments, output: &mut Output<'_>) -> u8 {
    let done = replay(arguments, output);
    status(done, output)
}

/// The IP packets of a capture, up to where it cannot be read further.
pub(crate) fn packets(input: impl Read) -> impl Iterator<Item = Vec<u8>> {
    let mut capture = Capture::open(input).ok();
    let mut frame = Frame::default();
    let frames = std::iter::from_fn(move || {
        let more = capture.as_mut()?.next(&mut frame).unwrap_or(false);
        more.then(|| link::unwrap(&frame))
    });
    frames.filter_map(|carried| Some(carried.ok()?.bytes))
}

fn replay(arguments: &ReplayArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let stdin = Path::new("-");
    if arguments.file == stdin && arguments.rules == stdin {
        let both = "capture and rules cannot both come from standard input";
        return Err(Complaint::Usage(both.to_owned()));
    }
    let routes = parse_routes(&arguments.route).map_err(Complaint::Usage)?;
    let inside = networks(&arguments.inside)?;
    let (main, options) = arguments.reading.open(&arguments.rules, output)?;
    let loaded = main.load(&options, output)?;
    let given = &options.interfaces;
    let chosen = Chosen::new(arguments, inside, given, &loaded)?;
    let ways = routes.iter().map(|route| route.interface.as_str());
    let named = ways.chain(chosen.names());
    let (interfaces, notes) = with_named(&loaded, named, given.clone());
    for note in &notes {
        output.message(&format!("weighbridge: {note}"));
    }
    let world = World::new(interfaces, routes);
    let sides = chosen.sides(&world)?;
    let name = name(&arguments.file);
    let input = open(&arguments.file).map_err(|error| told(&name, &error.into()))?;
    let capture = Capture::open(BufReader::new(input)).map_err(|error| told(&name, &error))?;
    let log = arguments.log.as_deref().map(LogWriter::create).transpose();
    let options = Options {
        is_json: arguments.json,
        is_quiet: arguments.quiet,
        guessed: chosen.guessed.then_some(chosen.inner),
        states: arguments.states,
        counters: arguments.counters,
    };
    let mut replay = Replay::new(&loaded, world, sides, log?, options)?;
    replay.run(capture, &name, output)?;
    Ok(0)
}

fn name(file: &Path) -> String {
    if file == Path::new("-") {
        "stdin".to_owned()
    } else {
        file.display().to_string()
    }
}

fn told(name: &str, error: &CaptureError) -> Complaint {
    Complaint::Message(format!("{name}: {error}"))
}

fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let opened = File::open(file)?;
    if opened.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(opened))
}

fn networks(given: &[String]) -> Result<Vec<Prefix>, Complaint> {
    let one = |text: &String| {
        let wrong = || format!("--inside {text}: use NETWORK/LENGTH, as 10.0.0.0/8");
        parse_prefix(text).ok_or_else(|| Complaint::Usage(wrong()))
    };
    given.iter().map(one).collect()
}

/// The interfaces on both sides, by name.
struct Chosen {
    inner: String,
    outer: Option<String>,
    inside: Vec<Prefix>,
    /// Nobody said which interface.
    guessed: bool,
    /// Somebody said what is inside.
    is_told: bool,
}

impl Chosen {
    fn new(
        arguments: &ReplayArguments,
        inside: Vec<Prefix>,
        known: &[Interface],
        loaded: &Loaded,
    ) -> Result<Self, Complaint> {
        let given = if arguments.reading.interface.is_empty() {
            &[]
        } else {
            known
        };
        let (first, second) = match (&arguments.in_if, given) {
            (Some(name), _) => (Some(name.clone()), None),
            (None, [first, second]) => (Some(first.name.clone()), Some(second.name.clone())),
            (None, given) => (given.first().map(|first| first.name.clone()), None),
        };
        let outer = arguments.out_if.clone().or(second);
        let is_told = !inside.is_empty();
        if first.is_none() && (outer.is_some() || is_told) {
            let which = "which interface is the inside? Use --in-if NAME".to_owned();
            return Err(Complaint::Usage(which));
        }
        let guessed = first.is_none();
        let inner = first.unwrap_or_else(|| named_first(loaded));
        let inside = if is_told {
            inside
        } else {
            attached(&inner, known)
        };
        Ok(Self {
            inner,
            outer,
            inside,
            guessed,
            is_told,
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let outer = self.outer.as_deref();
        [self.inner.as_str()].into_iter().chain(outer)
    }

    fn sides(&self, world: &World) -> Result<Sides, Complaint> {
        let missing = |name: &str| Complaint::Usage(format!("no interface {name}"));
        let index = |name: &str| world.find(name).ok_or_else(|| missing(name));
        let inner = index(&self.inner)?;
        match &self.outer {
            Some(outer) if *outer == self.inner => {
                let same = format!("{outer} cannot be on both sides");
                Err(Complaint::Usage(same))
            }
            Some(_) if self.inside.is_empty() => Err(Complaint::Usage(format!(
                "what is behind {0}? Use --inside NETWORK/LENGTH or --interface \
                 {0}=ADDRESS/LENGTH",
                self.inner
            ))),
            Some(outer) => Ok(Sides::Through {
                inner,
                outer: index(outer)?,
                inside: self.inside.clone(),
            }),
            None if self.is_told => Ok(Sides::Wire(inner, self.inside.clone())),
            None => Ok(Sides::One(inner)),
        }
    }
}

/// The networks that an interface is attached to.
fn attached(name: &str, known: &[Interface]) -> Vec<Prefix> {
    let interface = known.iter().find(|interface| interface.name == name);
    let addresses = interface.into_iter().flat_map(|i| &i.addresses);
    addresses
        .filter_map(|own| Prefix::new(own.address, own.prefix_len).map(|net| net.masked()))
        .collect()
}

/// The interface that rules name first.
fn named_first(loaded: &Loaded) -> String {
    let rules = &loaded.ruleset;
    let lists = [&rules.filter, &rules.nat, &rules.rdr, &rules.binat];
    let mut named = lists
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.interface.as_ref())
        .filter(|interface| !interface.negated && interface.name != "any");
    let first = named.next();
    first.map_or_else(|| "em0".to_owned(), |interface| interface.name.clone())
}

/// Why a file for the log cannot be used.
fn log_failed(path: &Path, error: &io::Error) -> Complaint {
    Complaint::Message(format!("{}: {}", path.display(), reason(error)))
}
