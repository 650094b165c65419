//! What pfctl does, in the order in which PF's own does it.

use std::io;
use std::path::PathBuf;

use pf_engine::addr::Prefix;
use pf_engine::env::Interface;
use pf_engine::ruleset::Dialect;

use super::arguments::{Arguments, Flush, Show};
use super::load::{Surroundings, own_surroundings, read_rules};
use super::show::{Scope, Section, Style};
use super::{Failure, hosts, tables};
use crate::config::{self, DEFAULT_CONFIG_DIR, DEFAULT_SOCKET, SOCKET_VARIABLE};
use crate::control::client::Client;
use crate::control::protocol::{
    Description, DialectName, FlushRequest, FlushTarget, KillRequest, Outcome, PrefixText, Request,
    ShowRequest, TableCommand,
};
use crate::output::Output;

/// Words that PF takes for `-k` in place of a host.
const KILL_WORDS: [&str; 6] = ["label", "id", "gateway", "nat", "source", "key"];

/// Does everything that `arguments` ask for. Returns the exit status.
///
/// # Errors
/// At the first thing that does not work.
pub fn perform(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, Failure> {
    let mut session = Session {
        arguments,
        output,
        client: None,
    };
    let mut status = 0;
    if arguments.disable && !arguments.dry_run {
        session.set_enabled(false)?;
    }
    if let Some(show) = arguments.show {
        status = session.show(show)?;
    }
    if arguments.clear_counters && !arguments.dry_run {
        session.call(&Request::ClearRuleCounters)?;
    }
    if let Some(flush) = arguments.flush.filter(|_| !arguments.dry_run) {
        session.flush(flush)?;
    }
    if !arguments.kill.is_empty() {
        session.kill()?;
    }
    match (&arguments.table, &arguments.file) {
        (Some((name, command)), _) => status = session.table(name, *command)?,
        (None, Some(file)) => session.load(file)?,
        (None, None) => {}
    }
    if arguments.enable && !arguments.dry_run {
        session.set_enabled(true)?;
    }
    Ok(status)
}

/// One run of pfctl. The daemon is called when it is first needed.
struct Session<'a, 'b> {
    arguments: &'a Arguments,
    output: &'a mut Output<'b>,
    client: Option<Client>,
}

impl Session<'_, '_> {
    fn call(&mut self, request: &Request) -> Result<Outcome, Failure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&socket(self.arguments))?),
        };
        let output = &mut *self.output;
        let mut out = |text: &str| -> io::Result<()> { output.text(text) };
        Ok(client.call(request, &mut out)?)
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
        });
        self.call(&request).map(|_| 0)
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
        Err(Failure::Message(
            "the daemon's answer is not understood; are both of one version?".into(),
        ))
    }

    fn flush(&mut self, flush: Flush) -> Result<(), Failure> {
        let all = [
            FlushTarget::Rules,
            FlushTarget::Nat,
            FlushTarget::Tables,
            FlushTarget::States,
            FlushTarget::Info,
        ];
        let targets = match flush {
            Flush::Target(target) => vec![target],
            // An anchor has rules and tables of its own, and nothing else.
            Flush::All if self.arguments.scope != Scope::default() => all
                .into_iter()
                .filter(|target| !matches!(target, FlushTarget::States | FlushTarget::Info))
                .collect(),
            Flush::All => all.to_vec(),
        };
        for target in targets {
            let scope = self.arguments.scope.clone();
            let outcome = self.call(&Request::Flush(FlushRequest { target, scope }))?;
            self.say(&flushed(target, &outcome));
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Failure> {
        let Some(source) = self.arguments.kill.first() else {
            return Ok(());
        };
        if KILL_WORDS.contains(&source.as_str()) {
            return Err(Failure::Message(format!(
                "-k {source} is not supported yet"
            )));
        }
        let sources = hosts::resolve(source).map_err(Failure::Message)?;
        let destinations = self.arguments.kill.get(1);
        let destinations = destinations.map(|host| hosts::resolve(host)).transpose();
        let destinations = destinations.map_err(Failure::Message)?;
        let requests = kill_requests(&sources, destinations.as_deref());
        if self.arguments.dry_run {
            return Ok(());
        }
        let outcome = self.call(&Request::Kill(requests))?;
        let killed = count(&outcome);
        let (from, to) = (sources.len(), destinations.map_or(0, |all| all.len()));
        self.say(&format!(
            "killed {killed} states from {from} sources and {to} destinations"
        ));
        Ok(())
    }

    fn table(&mut self, name: &str, command: TableCommand) -> Result<u8, Failure> {
        let dialect = self.arguments.dialect.unwrap_or_default();
        let request = tables::request(self.arguments, name, command, dialect)?;
        match self.call(&Request::Table(request)) {
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
            own_surroundings(self.arguments)
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
    let dir = arguments.config.clone();
    let dir = dir.unwrap_or_else(|| DEFAULT_CONFIG_DIR.into());
    let named = arguments.socket.clone();
    named
        .or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from))
        .or_else(|| config::read_settings(&dir).ok()?.socket)
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}

fn count(outcome: &Outcome) -> usize {
    if let Outcome::Count(count) = outcome {
        *count
    } else {
        0
    }
}

fn flushed(target: FlushTarget, outcome: &Outcome) -> String {
    match target {
        FlushTarget::Rules => "rules cleared".into(),
        FlushTarget::Nat => "nat cleared".into(),
        FlushTarget::States => format!("{} states cleared", count(outcome)),
        FlushTarget::Info => "pf: statistics cleared".into(),
        FlushTarget::Tables => format!("{} tables deleted.", count(outcome)),
    }
}

/// Every pair of one family.
fn kill_requests(sources: &[Prefix], destinations: Option<&[Prefix]>) -> Vec<KillRequest> {
    let pair = |source: &Prefix, destination: Option<&Prefix>| KillRequest {
        source: PrefixText(*source),
        destination: destination.map(|prefix| PrefixText(*prefix)),
    };
    let mut requests = Vec::new();
    for source in sources {
        match destinations {
            None => requests.push(pair(source, None)),
            Some(all) => {
                let same = all.iter().filter(|to| to.family() == source.family());
                requests.extend(same.map(|to| pair(source, Some(to))));
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_prefix;

    #[test]
    fn sources_and_destinations_are_paired_within_a_family() {
        let all = |texts: &[&str]| -> Vec<Prefix> {
            texts
                .iter()
                .map(|text| parse_prefix(text).expect("valid"))
                .collect()
        };
        let sources = all(&["192.0.2.1", "2001:db8::1"]);
        let requests = kill_requests(&sources, Some(&all(&["198.51.100.0/24"])));
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].source.0.to_string(), "192.0.2.1");
        assert_eq!(kill_requests(&sources, None).len(), 2);
    }

    #[test]
    fn flush_messages_are_pfs() {
        let say = |target| flushed(target, &Outcome::Count(7));
        assert_eq!(say(FlushTarget::States), "7 states cleared");
        assert_eq!(say(FlushTarget::Tables), "7 tables deleted.");
        assert_eq!(say(FlushTarget::Rules), "rules cleared");
    }
}
