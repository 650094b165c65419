//! `weighbridge run`: from the configuration directory to a filtering box.
//!
//! Everything that can be checked without touching the box is checked first. What is changed
//! afterwards is taken back when a later step fails.

mod bad_states;
mod carrier;
mod claims;
mod clock;
pub(crate) mod env;
mod event_loop;
mod fast_path;
mod files;
mod gateways;
pub(crate) mod keep;
mod limits;
mod links;
mod links_process;
pub(crate) mod logging;
mod notify;
mod owner;
mod packets;
mod reload;
mod room;
mod shares;
pub(crate) mod signals;
mod ways;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use datapath::netlink::{Applied, Monitor, Netlink, WayMonitor};
use datapath::{Datapath, FailPolicy};
use mio::Poll;
use pf_conf::{LoadOptions, Loaded};
use pf_engine::anchor::AnchorPath;
use pf_engine::engine::{Engine, EngineConfig};
use pf_engine::env::Interface;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use tracing::{debug, info, warn};

use self::claims::Claims;
use self::clock::Clock;
use self::env::LiveEnv;
use self::event_loop::{EventLoop, Parts};
use self::files::DiskFiles;
use self::gateways::Gateways;
use self::keep::Keeper;
use self::links::LinkKeeper;
use self::links_process::LinksProcess;
use self::reload::{Reloaded, Reloader};
use self::signals::Signals;
use crate::accounts;
use crate::cli::RunArguments;
use crate::config::{
    self, Configuration, DEFAULT_SOCKET, DEFAULT_STATE_DIR, RULES_FILE, RulesFile,
};
use crate::control::queueing;
use crate::control::server::rights::TableSocket;
use crate::control::server::socket::ControlSocket;
use crate::control::server::status::StatusSocket;
use crate::control::server::{Control, Sockets};
use crate::memory;
use crate::output::with_process_output;
use crate::pfctl::show::LoadedBy;
use crate::pflog::record::PFLOG_HEADER;
use crate::pflog::writer::Logger;
use crate::random::Random;
use crate::unfiltered;

/// Runs the daemon until it is stopped.
#[must_use]
pub fn run(arguments: &RunArguments) -> ExitCode {
    let result = prepare(arguments).and_then(|plan| start(&plan));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("weighbridge: {}", whole_text(&error)));
            ExitCode::FAILURE
        }
    }
}

/// How an error goes on with what to do.
const HINT: &str = "\n  hint: ";

/// The error with its causes, but for those that its own text tells already.
fn whole_text(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            told if told.contains(&cause) => text,
            told => match told.split_once(HINT) {
                Some((what, hint)) => format!("{what}: {cause}{HINT}{hint}"),
                None => format!("{told}: {cause}"),
            },
        }
    })
}

fn say(line: &str) {
    with_process_output(true, |output| output.message(line));
}

/// All that was found out before anything is changed.
struct Plan {
    config: PathBuf,
    configuration: Configuration,
    managed: Vec<String>,
    filtered: Arc<[String]>,
    dialect: Dialect,
    socket: PathBuf,
    state_dir: PathBuf,
    rules_path: PathBuf,
    rich_errors: bool,
}

/// Reads and checks everything, and logs nothing but problems.
fn prepare(arguments: &RunArguments) -> Result<Plan> {
    let configuration = config::read(&arguments.config, arguments.rules.as_deref());
    let configuration = configuration.map_err(|problems| all_problems(&problems))?;
    logging::start(arguments.log.unwrap_or(configuration.settings.log));
    let settings = &configuration.settings;
    Ok(Plan {
        config: arguments.config.clone(),
        managed: configuration.managed(),
        filtered: configuration.filtered().into(),
        dialect: arguments.dialect.unwrap_or(settings.dialect),
        socket: first_path([&arguments.socket, &settings.socket], DEFAULT_SOCKET),
        state_dir: first_path(
            [&arguments.state_dir, &settings.state_dir],
            DEFAULT_STATE_DIR,
        ),
        rules_path: arguments
            .rules
            .clone()
            .unwrap_or_else(|| arguments.config.join(RULES_FILE)),
        rich_errors: with_process_output(arguments.plain, |output| output.rich_errors),
        configuration,
    })
}

fn first_path(choices: [&Option<PathBuf>; 2], default: &str) -> PathBuf {
    let chosen = choices.into_iter().flatten().next();
    chosen.cloned().unwrap_or_else(|| default.into())
}

fn all_problems(problems: &[config::Problem]) -> anyhow::Error {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow!("the configuration has errors\n{}", lines.join("\n"))
}

/// The order matters: what only looks, then privileges, then what changes the box. Hooks come
/// before links, so that nothing crosses a bridge that we make without being looked at; packets
/// wait in the TAP until the loop runs.
fn start(plan: &Plan) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let present = netlink.interfaces()?;
    check_interfaces(plan, &present)?;
    let wanted = &plan.configuration.links;
    let expected = env::with_devices(present.clone(), wanted);
    let expected = env::as_configured(expected, wanted);
    rehearse(load_rules(plan, expected, 0)?)?;
    datapath::check_privileges()?;
    let log = plan.configuration.settings.packet_log();
    log.prepare().map_err(anyhow::Error::msg)?;
    // While there are privileges and one thread.
    let sockets = Sockets {
        control: ControlSocket::bind(&plan.socket)?,
        tables: tables_socket(plan)?,
        status: status_socket(plan)?,
    };
    let mut datapath = fast_path::open(&plan.configuration.settings)?;
    let claims = claims_of(plan, &datapath)?;
    let keeper = LinkKeeper::new(netlink, wanted.clone(), plan.managed.clone(), claims);
    let mut keeper = keeper.couple(plan.configuration.coupled());
    let mut process = None;
    let attached = keeper.attach(&mut datapath, &present);
    let made = attached.and_then(|()| make_links(plan, &mut keeper, &mut datapath, &mut process));
    let applied = match made {
        Ok(applied) => applied,
        Err(error) => {
            abandon(&mut datapath, &mut keeper);
            process.into_iter().for_each(LinksProcess::abandon);
            return Err(error);
        }
    };
    let mut datapath = Some(datapath);
    match filter(plan, &mut keeper, &mut process, &mut datapath, sockets) {
        Ok(()) => Ok(()),
        Err(error) => {
            // What went wrong later is as if the daemon had died: `fail-policy` holds.
            if let Some(datapath) = &mut datapath {
                abandon(datapath, &mut keeper);
            }
            keeper.undo(applied);
            process.into_iter().for_each(LinksProcess::abandon);
            Err(error)
        }
    }
}

/// Makes the links, those that are a process of their own first.
fn make_links(
    plan: &Plan,
    keeper: &mut LinkKeeper,
    datapath: &mut Datapath,
    process: &mut Option<LinksProcess>,
) -> Result<Applied> {
    let wanted = &plan.configuration.links;
    if links_process::is_needed(wanted) {
        *process = LinksProcess::start(&plan.config, wanted, || {
            // What has gone again by now will be seen to be gone.
            if let Err(error) = hook_all(keeper, datapath) {
                debug!("while the links are made: {error:#}");
            }
        })?;
        hook_all(keeper, datapath)?;
    }
    keeper.apply()
}

/// Puts hooks on what has come.
fn hook_all(keeper: &mut LinkKeeper, datapath: &mut Datapath) -> Result<()> {
    let present = keeper.interfaces()?;
    keeper.attach(datapath, &present)
}

/// What others make and this daemon filters.
fn claims_of(plan: &Plan, datapath: &Datapath) -> Result<Claims> {
    let settings = &plan.configuration.settings;
    Claims::new(
        (settings.tap.clone(), datapath.tap().0),
        settings.fail_policy == FailPolicy::Pass,
        &plan.configuration.links,
        &plan.managed,
    )
}

fn tables_socket(plan: &Plan) -> Result<Option<TableSocket>> {
    let tables = plan.configuration.settings.tables.as_ref();
    let socket = tables.map(TableSocket::bind).transpose();
    socket.context("[tables] of weighbridge.toml")
}

fn status_socket(plan: &Plan) -> Result<Option<StatusSocket>> {
    let socket = StatusSocket::bind(&plan.configuration.settings.status, &plan.socket);
    socket.context("[status] of weighbridge.toml")
}

/// A start that failed leaves the network as it was.
fn abandon(datapath: &mut Datapath, keeper: &mut LinkKeeper) {
    let blocked = datapath.abandon();
    keeper.abandon_claims();
    if !blocked.is_empty() {
        tracing::warn!(
            "{} stay blocked, as they were; `weighbridge unhook` lets packets pass there",
            blocked.join(", ")
        );
    }
}

/// Installs the rules in an engine that nobody asks: limits are checked by installing.
fn rehearse(loaded: Loaded) -> Result<()> {
    let config = EngineConfig {
        hash_key: [0; 2],
        creator_id: 0,
    };
    let now = Instant::default();
    let mut engine = Engine::new(now, config);
    know_memory(&mut engine);
    let installed = engine.install(now, loaded.ruleset);
    installed.context("cannot install the rules")
}

/// Every interface that is named must be there, or be a bridge, a lagg or a VLAN that is about to be
/// made.
fn check_interfaces(plan: &Plan, present: &[Interface]) -> Result<()> {
    let links = &plan.configuration.links;
    let made = links.made();
    let there: BTreeSet<&str> = present.iter().map(|i| i.name.as_str()).collect();
    let members = links.bridges.iter().flat_map(|bridge| &bridge.members);
    let configured = links.interfaces.iter().map(|interface| &interface.name);
    let named: BTreeSet<&str> = plan
        .managed
        .iter()
        .chain(members)
        .chain(configured)
        .map(String::as_str)
        .collect();
    let missing: Vec<String> = named
        .into_iter()
        .filter(|name| !there.contains(name) && !made.contains(name))
        .map(|name| format!("{name} ({})", named_by(plan, name)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let there: Vec<&str> = there.into_iter().collect();
    bail!(
        "no such interface: {}\n  hint: correct the name; there are: {}",
        missing.join(", "),
        there.join(", ")
    )
}

/// Which file asks for an interface.
fn named_by(plan: &Plan, name: &str) -> String {
    let links = &plan.configuration.links;
    let mut bridges = links.bridges.iter();
    let bridge = bridges.find(|bridge| bridge.members.iter().any(|member| member == name));
    let own = plan.config.join(format!("hostname.{name}"));
    let of_bridge = bridge.map(|bridge| plan.config.join(format!("bridgename.{}", bridge.name)));
    let is_configured = links.interfaces.iter().any(|wanted| wanted.name == name);
    let own = [of_bridge, Some(own)].into_iter().flatten();
    let file = own.into_iter().find(|file| file.exists());
    let file = file.unwrap_or_else(|| {
        let shared = if is_configured || bridge.is_some() {
            "rc.conf"
        } else {
            "weighbridge.toml"
        };
        plan.config.join(shared)
    });
    file.display().to_string()
}

/// Reads pf.conf as it is on the disk; without one there are no rules.
fn load_rules(plan: &Plan, interfaces: Vec<Interface>, hash_seed: u64) -> Result<Loaded> {
    let nowhere = RulesFile {
        path: plan.rules_path.clone(),
        bytes: Vec::new(),
    };
    let file = plan.configuration.rules.as_ref().unwrap_or(&nowhere);
    let options = LoadOptions {
        dialect: plan.dialect,
        defines: Vec::new(),
        interfaces,
        accounts: accounts::of_machine(),
        anchor: AnchorPath::main(),
        hash_seed,
        memory: memory::of_machine(),
    };
    let name = file.path.display().to_string();
    let mut files = DiskFiles::relative_to(file.path.parent().unwrap_or(Path::new("")));
    let loaded = pf_conf::load(&name, &file.bytes, &mut files, &options);
    let mut loaded = loaded.map_err(|diagnostics| {
        let text = if plan.rich_errors {
            diagnostics.rendered(true)
        } else {
            diagnostics.plain()
        };
        anyhow!(
            "{name} has errors: nothing was changed\n{}",
            text.trim_end()
        )
    })?;
    loaded.optimize(loaded.level(None), &[]);
    Ok(loaded)
}

/// Loads the rules and runs until stopped. The data path is taken when packets begin to flow.
fn filter(
    plan: &Plan,
    keeper: &mut LinkKeeper,
    process: &mut Option<LinksProcess>,
    opened: &mut Option<Datapath>,
    sockets: Sockets,
) -> Result<()> {
    let clock = Clock::start();
    let mut random = Random::new().context("no random numbers from the kernel")?;
    let monitor = Monitor::open()?;
    let ways = WayMonitor::open()?;
    let interfaces = keeper.interfaces()?;
    let datapath = opened.as_mut().context("no data path")?;
    keeper.attach(datapath, &interfaces)?;
    clean_up(datapath)?;
    let mut engine = engine_with_rules(plan, datapath, &interfaces, &clock, &mut random)?;
    let mut states = Keeper::open(&plan.state_dir, plan.dialect);
    states.restore(&mut engine, &clock, &interfaces);
    let gateways = Gateways::start(&plan.configuration.settings, &mut engine, clock.now());
    let settings = &plan.configuration.settings;
    let changes = fast_path::begin(settings, &mut engine, datapath, &clock)?;
    // Threads started from here on have no more rights than this one.
    if process.is_some() {
        datapath::drop_capabilities_of_starter()?;
    } else {
        datapath::drop_capabilities()?;
    }
    let poll = Poll::new().context("cannot wait for events")?;
    let waker = event_loop::waker(&poll)?;
    let control = Control::start(sockets, &waker);
    let control = control.context("cannot serve pfctl")?;
    let log = plan.configuration.settings.packet_log();
    let logger = Logger::start(log, control.feed()).context("cannot log packets")?;
    let signals = Signals::install().context("cannot handle signals")?;
    let reloaded = Reloaded {
        path: plan.rules_path.clone(),
        dialect: plan.dialect,
        filtered: plan.filtered.clone(),
    };
    let env = LiveEnv::new(interfaces, keeper.routes()?, random);
    let parts = Parts {
        datapath: opened.take().context("no data path")?,
        logger,
        reloader: Reloader::new(reloaded, waker),
        control,
        signals,
        env,
        states,
        loaded_by: own_identity(),
        dialect: plan.dialect,
        filtered: plan.filtered.clone(),
        gateways,
        clock,
        engine,
        changes,
        monitor,
        ways,
        keeper,
        process,
    };
    let mut event_loop = EventLoop::new(poll, parts)?;
    ready(plan);
    event_loop.run()?;
    info!("stopped");
    Ok(())
}

/// An engine that filters as the files say, its queues in force.
fn engine_with_rules(
    plan: &Plan,
    datapath: &mut Datapath,
    interfaces: &[Interface],
    clock: &Clock,
    random: &mut Random,
) -> Result<Engine> {
    let settings = &plan.configuration.settings;
    let mut engine = new_engine(clock, random);
    let loaded = load_rules(plan, interfaces.to_vec(), random.seed())?;
    unfiltered::log(&loaded, interfaces, &plan.filtered);
    let ruleset = loaded.ruleset;
    queueing::put(&mut engine, datapath, &ruleset.queues).map_err(anyhow::Error::msg)?;
    let installed = engine.install(clock.now(), ruleset);
    installed.context("cannot install the rules")?;
    if plan.configuration.enabled() {
        engine.set_enabled(clock.now(), true);
    }
    let header = u32::try_from(PFLOG_HEADER).unwrap_or(u32::MAX);
    let kept = usize::try_from(settings.packet_log().snap_length.saturating_sub(header));
    engine.set_log_snap_length(kept.unwrap_or(usize::MAX));
    Ok(engine)
}

/// Interfaces that are no longer managed are no longer blocked either.
fn clean_up(datapath: &mut Datapath) -> Result<()> {
    for name in datapath.clean_up()? {
        info!("{name} was blocked and is no longer filtered: packets pass there");
    }
    Ok(())
}

fn new_engine(clock: &Clock, random: &mut Random) -> Engine {
    let config = EngineConfig {
        hash_key: [random.seed(), random.seed()],
        creator_id: random.next(),
    };
    let mut engine = Engine::new(clock.now(), config);
    know_memory(&mut engine);
    engine
}

/// Limits follow from the memory that there is.
fn know_memory(engine: &mut Engine) {
    if let Some(bytes) = memory::of_machine() {
        engine.set_memory(bytes);
    } else {
        warn!("it is not known how much memory there is: limits are PF's own");
    }
}

fn own_identity() -> LoadedBy {
    LoadedBy {
        uid: rustix::process::getuid().as_raw(),
        pid: std::process::id(),
    }
}

fn ready(plan: &Plan) {
    let (managed, rules) = (plan.managed.join(", "), plan.rules_path.display());
    if plan.configuration.rules.is_some() {
        info!("filtering {managed} ({rules})");
    } else {
        warn!("{managed}: everything passes, there is no {rules}");
    }
    say("weighbridge: ready");
    if let Err(error) = notify::ready() {
        warn!(%error, "the service manager was not told that we are ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("no such device");
        let error = anyhow::Error::new(inner).context("em0: no such device\n  hint: look");
        let error = error.context("cannot filter em0");
        assert_eq!(
            whole_text(&error),
            "cannot filter em0: em0: no such device\n  hint: look"
        );
    }

    #[test]
    fn a_hint_stands_behind_all_causes() {
        let inner = std::io::Error::other("not permitted");
        let error = anyhow::Error::new(inner).context("cannot load\n  hint: run as root");
        assert_eq!(
            whole_text(&error),
            "cannot load: not permitted\n  hint: run as root"
        );
    }
}
