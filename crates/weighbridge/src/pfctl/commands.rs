//! What pfctl does, in the order in which PF's own does it.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use pf_engine::addr::Prefix;
use pf_engine::env::Interface;
use pf_engine::ruleset::Dialect;

use super::arguments::{Arguments, Flush, Show, both_dns};
use super::kill::{self, Kill};
use super::load::{Surroundings, directory, own_dialect, own_surroundings, read_rules};
use super::show::{Scope, Section, Style};
use super::{Failure, hosts, names, tables};
use crate::config::{SOCKET_VARIABLE, control_socket};
use crate::control::client::{Client, ClientError, NOT_UNDERSTOOD};
use crate::control::protocol::{
    Description, DialectName, FileBytes, FlushRequest, FlushTarget, KillLimitedRequest,
    KillRequest, KillSourcesRequest, KillTarget, LoadedStates, Outcome, PrefixText, Request,
    ShowRequest, TableCommand,
};
use crate::daemon::keep::file::read as read_states;
use crate::output::Output;
use crate::text::reason;

/// States that the daemon is given at a time.
const STATES_PER_LOAD: usize = 2_048;

/// Does everything that `arguments` ask for. Returns the exit status.
///
/// # Errors
/// At the first thing that does not work.
pub fn perform(mut arguments: Arguments, output: &mut Output<'_>) -> Result<u8, Failure> {
    if arguments.only_translation
        && own_dialect(&arguments).map_err(Failure::Message)? == Dialect::OpenBsd
    {
        (arguments.only_translation, arguments.no_dns) = (false, true);
        if arguments.names {
            return Err(both_dns().into());
        }
    }
    let mut session = Session {
        arguments: &arguments,
        output,
        client: None,
    };
    let mut status = session.before_kills()?;
    if !arguments.kill.is_empty() {
        session.kill()?;
    }
    if !arguments.kill_sources.is_empty() {
        session.kill_sources()?;
    }
    if let Some(file) = &arguments.load_states {
        session.load_states(file)?;
    }
    match (&arguments.table, &arguments.file) {
        (Some((name, command)), _) => status = session.table(name, *command)?,
        (None, Some(file)) => session.load(file)?,
        (None, None) => {}
    }
    if let Some(file) = &arguments.save_states {
        session.save_states(file)?;
    }
    session.after_loads()?;
    Ok(status)
}

/// One run of pfctl. The daemon is called when it is first needed.
struct Session<'a, 'b> {
    arguments: &'a Arguments,
    output: &'a mut Output<'b>,
    client: Option<Client>,
}

impl Session<'_, '_> {
    /// `-d`, `-s`, `-z` and `-F`. With `-n` PF does none of them, without a word.
    fn before_kills(&mut self) -> Result<u8, Failure> {
        let arguments = self.arguments;
        let mut status = 0;
        if arguments.dry_run {
            return Ok(status);
        }
        if arguments.disable {
            self.set_enabled(false)?;
        }
        if let Some(show) = arguments.show {
            status = self.show(show)?;
        }
        if arguments.clear_counters {
            self.call(&Request::ClearRuleCounters)?;
            if arguments.show.is_none() {
                self.say("pf: rule counters cleared");
            }
        }
        if let Some(flush) = arguments.flush {
            self.flush(flush)?;
        }
        Ok(status)
    }

    /// `-e` and `-x`; with `-n` neither.
    fn after_loads(&mut self) -> Result<(), Failure> {
        let arguments = self.arguments;
        if arguments.dry_run {
            return Ok(());
        }
        if arguments.enable {
            self.set_enabled(true)?;
        }
        if let Some(level) = arguments.debug_level {
            self.call(&Request::SetDebug(level.to_owned()))?;
            self.say(&format!("debug level set to '{level}'"));
        }
        Ok(())
    }

    fn client(&mut self) -> Result<&mut Client, Failure> {
        Ok(match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&socket(self.arguments))?),
        })
    }

    fn call(&mut self, request: &Request) -> Result<Outcome, Failure> {
        self.client()?;
        let (Some(client), output) = (&mut self.client, &mut *self.output) else {
            return Err(Failure::OutputClosed);
        };
        let mut out = |text: &str| -> io::Result<()> { output.text(text) };
        Ok(client.call(request, &mut out)?)
    }

    /// As [`Session::call`]; with `-r` addresses are printed by their names.
    fn call_naming(&mut self, request: &Request) -> Result<Outcome, Failure> {
        if !self.arguments.names {
            return self.call(request);
        }
        let mut text = String::new();
        let mut keep = |part: &str| -> io::Result<()> {
            text.push_str(part);
            Ok(())
        };
        let outcome = self.client()?.call(request, &mut keep)?;
        self.output.text(&names::named(&text, &names::resolve))?;
        Ok(outcome)
    }

    /// A message, unless `-q`.
    fn say(&mut self, message: &str) {
        if !self.arguments.quiet {
            self.output.message(message);
        }
    }

    fn set_enabled(&mut self, enabled: bool) -> Result<(), Failure> {
        let changed = self.call(&Request::SetEnabled(enabled))? == Outcome::Changed(true);
        let message = match (enabled, changed) {
            (true, true) => "pf enabled",
            (false, true) => "pf disabled",
            (true, false) => return Err(Failure::Message("pf already enabled".into())),
            (false, false) => return Err(Failure::Message("pf not enabled".into())),
        };
        self.say(message);
        Ok(())
    }

    fn show(&mut self, show: Show) -> Result<u8, Failure> {
        let (sections, titles) = match show {
            Show::Running => return self.show_running(),
            Show::Section(section) => (vec![section], false),
            Show::All => (Section::ALL.to_vec(), true),
        };
        let request = Request::Show(ShowRequest {
            sections,
            titles,
            style: Style {
                verbose: self.arguments.verbose,
                swap_service_names: self.arguments.swap_service_names,
                debug: self.arguments.debug,
            },
            dialect: self.arguments.dialect.map(DialectName),
            scope: self.arguments.scope.clone(),
            interface: self.arguments.interface.clone(),
        });
        match show {
            Show::Section(Section::States) => self.call_naming(&request),
            Show::Section(_) | Show::Running | Show::All => self.call(&request),
        }
        .map(|_| 0)
    }

    /// Prints whether the filter is enabled; the exit status tells it too.
    fn show_running(&mut self) -> Result<u8, Failure> {
        let enabled = self.describe()?.enabled;
        let text = if enabled { "Enabled\n" } else { "Disabled\n" };
        self.output.text(text)?;
        Ok(u8::from(!enabled))
    }

    fn describe(&mut self) -> Result<Description, Failure> {
        if let Outcome::Description(description) = self.call(&Request::Describe)? {
            return Ok(description);
        }
        Err(Failure::Message(NOT_UNDERSTOOD.into()))
    }

    fn flush(&mut self, flush: Flush) -> Result<(), Failure> {
        let all = [
            FlushTarget::Ether,
            FlushTarget::Rules,
            FlushTarget::Nat,
            FlushTarget::Tables,
            FlushTarget::Queues,
            FlushTarget::States,
            FlushTarget::Sources,
            FlushTarget::Info,
            FlushTarget::Fingerprints,
            FlushTarget::Options,
        ];
        let targets = match flush {
            Flush::Target(target) => vec![target],
            // An anchor has rules and tables of its own, and nothing else.
            Flush::All if self.arguments.scope != Scope::default() => all
                .into_iter()
                .filter(|target| {
                    matches!(
                        target,
                        FlushTarget::Ether
                            | FlushTarget::Rules
                            | FlushTarget::Nat
                            | FlushTarget::Tables
                    )
                })
                .collect(),
            Flush::All => all.to_vec(),
        };
        if flush == Flush::All && self.arguments.interface.is_some() {
            return Err(Failure::Usage(
                "don't specify an interface with -Fall".into(),
            ));
        }
        // `all` is all that the dialect's own pfctl knows of.
        let dialect = match (flush, self.arguments.dialect) {
            (Flush::All, None) => Some(self.describe()?.dialect.0),
            (_, dialect) => dialect.filter(|_| flush == Flush::All),
        };
        for target in targets {
            let outcome = self.call(&flush_request(target, self.arguments))?;
            let of = self.arguments.interface.as_ref();
            let of = of.filter(|_| target == FlushTarget::Info);
            let of = of.map(|name| format!(" for interface {name}"));
            if dialect.is_some_and(|dialect| !is_known(target, dialect)) {
                continue;
            }
            if let Some(message) = flushed(target, &outcome) {
                self.say(&(message + &of.unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Failure> {
        if let (Some(limiter), Some("source")) = (
            self.arguments.limiter,
            self.arguments.kill.first().map(String::as_str),
        ) {
            return self.kill_limited(limiter);
        }
        let kill = Kill::read(&self.arguments.kill, self.arguments.lookup())?;
        if self.arguments.dry_run {
            return Ok(());
        }
        let outcome = self.call(&Request::Kill(KillRequest {
            targets: kill.targets.clone(),
            interface: self.arguments.interface.clone(),
            matching: self.arguments.kill_matching,
        }))?;
        self.say(&kill.message(count(&outcome)));
        Ok(())
    }

    /// `-S`. The file is the user's own; it may be read by nobody else. With `-n` the states are
    /// read and no file is written.
    fn save_states(&mut self, file: &str) -> Result<(), Failure> {
        if self.arguments.dry_run {
            let mut unwritten = |_: &str| Ok(());
            self.client()?.call(&Request::SaveStates, &mut unwritten)?;
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let opened = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(file);
        let failed = |error: &io::Error| Failure::Message(format!("{file}: {}", reason(error)));
        let mut saved = opened.map_err(|error| failed(&error))?;
        let mut write = |text: &str| saved.write_all(text.as_bytes());
        match self.client()?.call(&Request::SaveStates, &mut write) {
            Ok(_) => Ok(()),
            Err(ClientError::Output(error)) => Err(failed(&error)),
            Err(error) => Err(error.into()),
        }
    }

    /// `-L`. With `-n` the file is only checked. It is handed over in pieces, so that packets
    /// do not wait, once all of it is known to be right.
    fn load_states(&mut self, file: &str) -> Result<(), Failure> {
        let opened = File::open(file)
            .map_err(|error| Failure::Message(format!("{file}: {}", reason(&error))))?;
        let wrong = |what: &dyn Display| Failure::Message(format!("states not loaded: {what}"));
        let contents = read_states(BufReader::new(opened)).map_err(|damage| wrong(&damage))?;
        if let Some(fault) = contents.fault() {
            return Err(wrong(&fault));
        }
        if self.arguments.dry_run {
            return Ok(());
        }
        let mut all = LoadedStates::default();
        for piece in contents.into_files(STATES_PER_LOAD) {
            let outcome = self.call(&Request::LoadStates(FileBytes(piece)))?;
            if let Outcome::Loaded(loaded) = outcome {
                all += loaded;
            }
        }
        let LoadedStates {
            states,
            expired,
            without_interface,
            without_room,
        } = all;
        self.say(&format!("{states} states loaded"));
        for (count, why) in [
            (expired, "had expired"),
            (without_interface, "have lost their interface"),
            (without_room, "found no room"),
        ] {
            if count > 0 {
                self.say(&format!("{count} states {why}"));
            }
        }
        Ok(())
    }

    /// `-I id -k source -k host`.
    fn kill_limited(&mut self, limiter: u8) -> Result<(), Failure> {
        let Some(host) = self.arguments.kill.get(1) else {
            return Err(Failure::Message(
                "-k source needs a second -k with the source".into(),
            ));
        };
        let sources = hosts::resolve(host, self.arguments.lookup()).map_err(Failure::Message)?;
        if self.arguments.dry_run {
            return Ok(());
        }
        let outcome = self.call(&Request::KillLimited(KillLimitedRequest {
            limiter,
            sources: sources.into_iter().map(PrefixText).collect(),
        }))?;
        self.say(&format!("killed {} sources", count(&outcome)));
        Ok(())
    }

    /// `-K source [-K target]`.
    fn kill_sources(&mut self) -> Result<(), Failure> {
        let mut hosts = Vec::new();
        for host in &self.arguments.kill_sources {
            hosts.push(hosts::resolve(host, self.arguments.lookup()).map_err(Failure::Message)?);
        }
        let sources = hosts.first().map_or(&[][..], Vec::as_slice);
        let targets = hosts.get(1).map(Vec::as_slice);
        let requests = kill::pairs(sources, targets, |source, target| KillSourcesRequest {
            source,
            target,
        });
        if self.arguments.dry_run {
            return Ok(());
        }
        let outcome = self.call(&Request::KillSources(requests))?;
        let (from, to) = (sources.len(), targets.map_or(0, <[Prefix]>::len));
        self.say(&format!(
            "killed {} src nodes from {from} sources and {to} destinations",
            count(&outcome)
        ));
        Ok(())
    }

    fn table(&mut self, name: &str, command: TableCommand) -> Result<u8, Failure> {
        let dialect = self.arguments.dialect.unwrap_or_default();
        let request = tables::request(self.arguments, name, command, dialect)?;
        match self.call_naming(&Request::Table(request)) {
            Ok(Outcome::Table(done)) => {
                for message in tables::messages(command, &done, self.arguments.dry_run) {
                    self.say(&message);
                }
                Ok(tables::status(command, &done))
            }
            Ok(_) => Ok(0),
            Err(Failure::Message(message)) if !message.ends_with(['.', ')']) => {
                Err(Failure::Message(format!("{message}.")))
            }
            Err(failure) => Err(failure),
        }
    }

    fn load(&mut self, file: &str) -> Result<(), Failure> {
        let around = if self.arguments.dry_run {
            own_surroundings(self.arguments).map_err(Failure::Message)?
        } else {
            self.daemons_surroundings()?
        };
        let request = read_rules(self.arguments, file, around, self.output)?;
        if !self.arguments.dry_run {
            self.call(&Request::Load(request))?;
        }
        Ok(())
    }

    fn daemons_surroundings(&mut self) -> Result<Surroundings, Failure> {
        let description = self.describe()?;
        let interfaces = description.interfaces.into_iter();
        let dialect: Dialect = description.dialect.0;
        Ok(Surroundings {
            dialect: self.arguments.dialect.unwrap_or(dialect),
            interfaces: interfaces.map(Interface::from).collect(),
        })
    }
}

/// Where the daemon listens: `--socket`, the environment, weighbridge.toml, the usual place.
fn socket(arguments: &Arguments) -> PathBuf {
    let named = arguments.socket.clone();
    let named = named.or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
    control_socket(named, directory(arguments))
}

fn count(outcome: &Outcome) -> usize {
    if let Outcome::Count(count) = outcome {
        *count
    } else {
        0
    }
}

/// The request; with `-i` for an interface alone, where that makes sense.
fn flush_request(target: FlushTarget, arguments: &Arguments) -> Request {
    match (target, &arguments.interface) {
        (FlushTarget::States, Some(interface)) => Request::Kill(KillRequest {
            targets: vec![KillTarget::All],
            interface: Some(interface.clone()),
            matching: arguments.kill_matching,
        }),
        (FlushTarget::Info, Some(interface)) => Request::ClearInterface(interface.clone()),
        (target, _) => Request::Flush(FlushRequest {
            target,
            scope: arguments.scope.clone(),
        }),
    }
}

/// Whether pfctl of that dialect has a word for it.
const fn is_known(target: FlushTarget, dialect: Dialect) -> bool {
    match target {
        FlushTarget::Ether => matches!(dialect, Dialect::FreeBsd),
        FlushTarget::Nat | FlushTarget::Queues => !matches!(dialect, Dialect::OpenBsd),
        FlushTarget::Rules
        | FlushTarget::States
        | FlushTarget::Sources
        | FlushTarget::Info
        | FlushTarget::Tables
        | FlushTarget::Options
        | FlushTarget::Fingerprints => true,
    }
}

/// PF says nothing of fingerprints.
fn flushed(target: FlushTarget, outcome: &Outcome) -> Option<String> {
    Some(match target {
        FlushTarget::Rules => "rules cleared".into(),
        FlushTarget::Ether => "Ethernet rules cleared".into(),
        FlushTarget::Nat => "nat cleared".into(),
        FlushTarget::Queues => "altq cleared".into(),
        FlushTarget::States => format!("{} states cleared", count(outcome)),
        FlushTarget::Sources => "source tracking entries cleared".into(),
        FlushTarget::Info => "pf: statistics cleared".into(),
        FlushTarget::Tables => format!("{} tables deleted.", count(outcome)),
        FlushTarget::Options => "pf: interface flags reset".into(),
        FlushTarget::Fingerprints => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flush_messages_are_pfs() {
        let say = |target| flushed(target, &Outcome::Count(7)).unwrap_or_default();
        assert_eq!(say(FlushTarget::States), "7 states cleared");
        assert_eq!(say(FlushTarget::Tables), "7 tables deleted.");
        assert_eq!(say(FlushTarget::Rules), "rules cleared");
    }
}
