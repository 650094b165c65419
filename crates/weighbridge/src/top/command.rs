//! The command: its options, batches, and the terminal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use clap::Args;
use pf_engine::addr::Prefix;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::filter;
use super::keys::{Action, DELAY_MAX, Key, Shown};
use super::order::{self, Order};
use super::rows::Measured;
use super::sample::{ROWS_MAX, Sample, Sampler};
use super::{screen, view};
use crate::config::SocketArgument;
use crate::output::{Output, with_process_output};
use crate::pfctl::hosts::{self, Lookup};
use crate::text::reason;
use crate::tools::WRONG_COMMAND_LINE;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show states, rules, queues, links, tables and gateways as they change: pftop(8) for this daemon.

On a terminal keys change what is shown: h explains them. Elsewhere, and with -b, a list is
printed once, or -d times.

  weighbridge top                          states; 0 to 9 and the arrows change the view
  weighbridge top -v speed -o rate         the fastest first
  weighbridge top -f 'dst port 443 and outb > 1000000'
  weighbridge top -b -a -v rules           all rules, once, for a file or a program
  weighbridge top --json -v links -d 2     as JSON, a line for each update

Filters are those of pftop(8): [ip|ip6|tcp|udp|icmp|…] [src|dst|gw] [host|net|port|proto] ID,
in, out, rnr NUMBER, ifname NAME, comparisons of inp, outp, inb, outb, age and exp; and, or, not.";

/// Rows of a batch unless told otherwise (pftop).
const BATCH_ROWS: usize = 20;
/// Columns of a batch at most.
const WIDTH_MAX: usize = 1_023;
/// The time between the two samples of a batch that shows rates.
const RATE_TIME: Duration = Duration::from_secs(1);
/// So long a signal may wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// `weighbridge top`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option letter")]
pub struct TopArguments {
    /// All rows (in a batch)
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Batch: print instead of drawing; so it is where the output is no terminal
    #[arg(short = 'b', long)]
    pub batch: bool,
    /// Remember this many states for their rates; 0: none
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t = ROWS_MAX)]
    pub cache: usize,
    /// End after so many updates [default: in a batch 1]
    #[arg(short = 'd', long, value_name = "NUMBER")]
    pub count: Option<u64>,
    /// Show only the states that pass
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Keys work: the default on a terminal
    #[arg(short = 'i', long, conflicts_with_all = ["batch", "json", "all"])]
    pub interactive: bool,
    /// Sort states: none, bytes, exp, pkt, age, src, dest, sport, dport, rate, peak
    #[arg(short = 'o', long, value_name = "FIELD")]
    pub order: Option<String>,
    /// The other way round
    #[arg(short = 'r', long)]
    pub reverse: bool,
    /// Seconds between updates
    #[arg(short = 's', long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=DELAY_MAX))]
    pub seconds: u64,
    /// default, long, state, time, size, rules, label, speed, queue, links, tables, gateways
    #[arg(short = 'v', long, value_name = "NAME")]
    pub view: Option<String>,
    /// Columns of a batch
    #[arg(short = 'w', long, value_name = "COLUMNS", default_value_t = 80)]
    pub width: usize,
    /// A batch as JSON, one line for each update
    #[arg(long)]
    pub json: bool,
    /// Where the daemon is.
    #[command(flatten)]
    pub socket: SocketArgument,
    /// Rows to show
    #[arg(value_name = "NUMBER")]
    pub rows: Option<usize>,
}

/// Runs it on the process's own terminal or output.
#[must_use]
pub fn run(arguments: &TopArguments) -> ExitCode {
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    let wanted = !(arguments.batch || arguments.json || arguments.all);
    if arguments.interactive && !terminal {
        return fail("-i needs a terminal", WRONG_COMMAND_LINE);
    }
    if terminal && wanted {
        return match shown(arguments) {
            Ok(shown) => on_terminal(arguments, shown),
            Err(message) => fail(&message, WRONG_COMMAND_LINE),
        };
    }
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs a batch; returns the exit status.
pub fn execute(arguments: &TopArguments, output: &mut Output<'_>) -> u8 {
    let shown = match shown(arguments) {
        Ok(shown) => shown,
        Err(message) => return told(&message, WRONG_COMMAND_LINE, output),
    };
    match batch(arguments, &shown, output) {
        Ok(()) => 0,
        Err(message) => told(&message, 1, output),
    }
}

/// Tells what went wrong; returns the exit status for it.
fn told(message: &str, status: u8, output: &mut Output<'_>) -> u8 {
    output.message(&format!("weighbridge top: {message}"));
    status
}

/// What the options ask for.
fn shown(arguments: &TopArguments) -> Result<Shown, String> {
    let mut shown = Shown {
        reversed: arguments.reverse,
        cached: arguments.cache > 0,
        delay: Duration::from_secs(arguments.seconds),
        lines: arguments.rows.filter(|rows| *rows > 0),
        ..Shown::default()
    };
    if let Some(word) = &arguments.order {
        shown.order = Order::named(word)?;
    }
    if let Some(name) = &arguments.view {
        let _ = shown.select(view::named(name)?);
    }
    if let Some(text) = &arguments.filter {
        let parsed = filter::parse(text, &resolve);
        let parsed = parsed.map_err(|error| {
            let blanks = " ".repeat(error.at);
            let (at, message) = (error.at + 1, error.message);
            format!(
                "filter: column {at}: {message}\n  {}\n  {blanks}^",
                super::cell::plain(text)
            )
        })?;
        shown.filter = Some((text.clone(), parsed));
    }
    Ok(shown)
}

fn resolve(name: &str) -> Vec<Prefix> {
    hosts::resolve(name, Lookup::Names).unwrap_or_default()
}

/// Time since the command began.
#[expect(
    clippy::disallowed_methods,
    reason = "rates need the time between two samples, and keys a deadline"
)]
fn clock() -> impl Fn() -> Duration {
    let begin = Instant::now();
    move || begin.elapsed()
}

fn batch(arguments: &TopArguments, shown: &Shown, output: &mut Output<'_>) -> Result<(), String> {
    let elapsed = clock();
    let mut sampler = Sampler::new(&arguments.socket.path(), arguments.cache);
    let mut take = || {
        let filter = shown.filter.as_ref().map(|(_, filter)| filter);
        sampler.take(shown.view().kind, filter, shown.cached, elapsed())
    };
    if needs_two(shown) {
        take()?;
        wait(RATE_TIME.min(shown.delay));
    }
    let count = arguments.count.unwrap_or(1);
    for number in 1..=count {
        let mut sample = take()?;
        order::sort(&mut sample.rows, shown.order, shown.reversed);
        let text = if arguments.json {
            as_json(shown, &sample, rows(arguments, &sample))?
        } else {
            printed(shown, &sample, arguments)
        };
        match output.text(&text).and_then(|()| output.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("cannot write: {}", reason(&error))),
            Ok(()) => {}
        }
        if number < count {
            wait(shown.delay);
        }
    }
    Ok(())
}

/// Whether one sample alone could not tell what is shown.
fn needs_two(shown: &Shown) -> bool {
    use super::fields::Field::{BytesRate, PacketRate};
    let first = ["speed", "queue", "links"].contains(&shown.view().name);
    let rates = shown.view().fields.iter();
    let always = rates.copied().any(|f| matches!(f, PacketRate | BytesRate));
    (shown.cached && (first || shown.order.needs_speed())) || always
}

/// A wait that nothing ends but time.
fn wait(time: Duration) {
    let (_open, never) = channel::<()>();
    let _ = never.recv_timeout(time);
}

fn rows(arguments: &TopArguments, sample: &Sample) -> usize {
    if arguments.all {
        return sample.rows.len();
    }
    arguments
        .rows
        .filter(|rows| *rows > 0)
        .unwrap_or(BATCH_ROWS)
}

/// A list as pftop's batch mode has it.
fn printed(shown: &Shown, sample: &Sample, arguments: &TopArguments) -> String {
    let width = arguments.width.clamp(1, WIDTH_MAX);
    let (places, count) = (screen::layout(shown, width), rows(arguments, sample));
    let summary = screen::summary(shown, sample, count);
    let mut text = format!("\n\n{summary}\n{}\n", screen::title(&places));
    for row in sample.rows.iter().take(count) {
        text.push_str(&screen::row(&places, row));
        text.push('\n');
    }
    text
}

#[derive(Serialize)]
struct Json<'a> {
    view: &'a str,
    enabled: bool,
    /// Rows that there are, with those that the filter holds back.
    total: usize,
    /// Rows that pass it.
    passed: usize,
    rows: &'a [Measured],
}

fn as_json(shown: &Shown, sample: &Sample, count: usize) -> Result<String, String> {
    let rows = sample.rows.get(..count).unwrap_or(&sample.rows);
    let json = Json {
        view: shown.view().name,
        enabled: sample.enabled,
        total: sample.total,
        passed: sample.rows.len() + sample.left_out,
        rows,
    };
    let text = serde_json::to_string(&json);
    text.map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

fn on_terminal(arguments: &TopArguments, shown: Shown) -> ExitCode {
    let broken = |error: io::Error| format!("the terminal does not work: {}", reason(&error));
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(error) => return fail(&broken(error), 1),
    };
    let ended = Session::new(arguments, shown).and_then(|mut session| {
        let ended = session.until_quit(&mut terminal);
        ended.map_err(broken)
    });
    ratatui::restore();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, 1),
    }
}

/// Tells it on the process's own output.
fn fail(message: &str, status: u8) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(told(message, status, output)))
}

/// One run on a terminal.
struct Session {
    shown: Shown,
    sampler: Sampler,
    sample: Sample,
    elapsed: Box<dyn Fn() -> Duration>,
    ended: Arc<AtomicBool>,
    updates_left: Option<u64>,
    colour: bool,
}

impl Session {
    fn new(arguments: &TopArguments, shown: Shown) -> Result<Self, String> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ended))
                .map_err(|error| format!("signals cannot be caught: {}", reason(&error)))?;
        }
        Ok(Self {
            sample: Sample::empty(shown.view().kind),
            sampler: Sampler::new(&arguments.socket.path(), arguments.cache),
            shown,
            elapsed: Box::new(clock()),
            ended,
            updates_left: arguments.count.filter(|count| *count > 0),
            colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        })
    }

    fn until_quit(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let mut due = Duration::ZERO;
        let mut action = Action::Update;
        loop {
            if action == Action::Update {
                self.update();
                due = (self.elapsed)() + self.shown.delay;
            }
            match action {
                Action::Quit => return Ok(()),
                Action::Redraw => terminal.clear()?,
                Action::Nothing | Action::Draw | Action::Update => {}
            }
            if action != Action::Nothing {
                terminal.draw(|frame| {
                    screen::draw(frame, &self.shown, &self.sample, self.colour);
                })?;
            }
            if self.updates_left == Some(0) || self.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let rest = due.saturating_sub((self.elapsed)());
            action = if event::poll(rest.min(PATIENCE))? {
                self.obey(&event::read()?, terminal)?
            } else if rest.is_zero() && !self.shown.paused {
                Action::Update
            } else {
                Action::Nothing
            };
        }
    }

    /// A daemon that does not answer is told of; what was known stays on the screen.
    fn update(&mut self) {
        let filter = self.shown.filter.as_ref().map(|(_, filter)| filter);
        let (kind, now) = (self.shown.view().kind, (self.elapsed)());
        match self.sampler.take(kind, filter, self.shown.cached, now) {
            Ok(sample) => {
                self.sample = sample;
                if self
                    .shown
                    .message
                    .as_ref()
                    .is_some_and(|text| is_of_daemon(text))
                {
                    self.shown.message = None;
                }
            }
            Err(message) => {
                if self.sample.kind != kind {
                    self.sample = Sample::empty(kind);
                }
                self.shown.message = Some(format!("{DAEMON}{message}"));
            }
        }
        self.updates_left = self.updates_left.map(|left| left.saturating_sub(1));
        self.sort();
    }

    fn sort(&mut self) {
        let (order, reversed) = (self.shown.order, self.shown.reversed);
        order::sort(&mut self.sample.rows, order, reversed);
    }

    fn obey(&mut self, event: &Event, terminal: &DefaultTerminal) -> io::Result<Action> {
        let Event::Key(event) = event else {
            return Ok(Action::Redraw);
        };
        let Some(key) = key(*event) else {
            return Ok(Action::Nothing);
        };
        let height = usize::from(terminal.size()?.height);
        let page = screen::page(&self.shown, height);
        let before = (self.shown.order, self.shown.reversed);
        let rows = self.sample.rows.len();
        let action = self.shown.press(key, rows, page, &resolve);
        let after = (self.shown.order, self.shown.reversed);
        if before != after {
            // Without an order rows stand as they came: that has to be asked for again.
            if self.shown.order == Order::None {
                return Ok(Action::Update);
            }
            self.sort();
        }
        Ok(action)
    }
}

/// What stands before messages about the daemon.
const DAEMON: &str = "daemon: ";

fn is_of_daemon(message: &str) -> bool {
    message.starts_with(DAEMON)
}

/// The key of a terminal's event, if it means anything to us.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "terminals have many keys more"
)]
fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char(letter) if control => Key::Control(letter.to_ascii_lowercase()),
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
