//! Work that takes longer than packets can wait: it is done in pieces.

use pf_engine::anchor::AnchorPath;
use pf_engine::engine::{Engine, ForgetSources, Forgetting, KillFilter, Killing, Staging};
use pf_engine::queue::QueueTree;
use tracing::info;

use super::{
    Answer, Change, Desk, ENTRIES_PER_TURN, Handled, Installation, SOURCES_FORGOTTEN_PER_TURN,
    STATES_KILLED_PER_TURN, outcome,
};
use crate::control::protocol::Outcome;
use crate::control::queueing;
use crate::pfctl::show::LoadedBy;

/// A piece of work that is not done yet. One is at hand at a time; other requests wait for it,
/// packets do not.
#[derive(Debug)]
pub enum Ongoing {
    /// A ruleset.
    Install(Box<Installing>),
    /// A change of a table.
    Change(Box<Change>),
    /// States that are killed, or sources that are forgotten.
    Kill(Box<Kills>),
}

/// Kills, one after the other.
#[derive(Debug)]
pub struct Kills {
    /// Text for standard output at the end.
    text: String,
    /// The last is at hand.
    under_way: Vec<Kill>,
    killed: usize,
    /// What is told at the end of how many there were.
    tells: fn(usize) -> Outcome,
}

/// One of them.
#[derive(Debug)]
enum Kill {
    States(Killing),
    Sources(Forgetting),
}

impl Kill {
    /// Whether there is more to do.
    fn go_on(&mut self, engine: &mut Engine) -> bool {
        match self {
            Self::States(killing) => engine.go_on_killing(killing, STATES_KILLED_PER_TURN),
            Self::Sources(forgetting) => {
                engine.go_on_forgetting(forgetting, SOURCES_FORGOTTEN_PER_TURN)
            }
        }
    }

    const fn killed(&self) -> usize {
        match self {
            Self::States(killing) => killing.killed(),
            Self::Sources(forgetting) => forgetting.forgotten(),
        }
    }
}

/// A ruleset on its way into force.
#[derive(Debug)]
pub struct Installing {
    staging: Staging,
    anchor: AnchorPath,
    /// If they are to be set.
    queues: Option<Vec<QueueTree>>,
    rules: usize,
    by: LoadedBy,
}

impl Ongoing {
    pub(super) fn kill(
        engine: &Engine,
        filters: impl IntoIterator<Item = KillFilter>,
        text: String,
    ) -> Self {
        let filters = filters.into_iter();
        let begin = |filter| Kill::States(engine.begin_killing(filter));
        Self::Kill(Box::new(Kills {
            text,
            under_way: filters.map(begin).collect(),
            killed: 0,
            tells: Outcome::Count,
        }))
    }

    pub(super) fn forget(
        engine: &Engine,
        sources: impl IntoIterator<Item = ForgetSources>,
        text: String,
        tells: fn(usize) -> Outcome,
    ) -> Self {
        let sources = sources.into_iter();
        let begin = |which| Kill::Sources(engine.begin_forgetting(which));
        Self::Kill(Box::new(Kills {
            text,
            under_way: sources.map(begin).collect(),
            killed: 0,
            tells,
        }))
    }

    pub(super) fn install(engine: &Engine, installation: Installation, by: LoadedBy) -> Self {
        let Installation {
            mut ruleset,
            anchor,
            parts,
            merge,
        } = installation;
        if merge {
            let mut options = engine.options().clone();
            options.merge(std::mem::take(&mut ruleset.options));
            ruleset.options = options;
        }
        let whole = anchor.is_main() && parts.queues;
        Self::Install(Box::new(Installing {
            rules: ruleset.filter.len(),
            queues: whole.then(|| ruleset.queues.clone()),
            staging: Staging::new(anchor.clone(), parts, ruleset),
            anchor,
            by,
        }))
    }
}

/// Does the next piece.
pub fn proceed(desk: &mut Desk<'_>, ongoing: Ongoing) -> Handled {
    match ongoing {
        Ongoing::Install(mut installing) => {
            let staging = &mut installing.staging;
            if desk.engine.stage(desk.now, staging, ENTRIES_PER_TURN) {
                return Handled::More(Ongoing::Install(installing));
            }
            Handled::Done(install(desk, *installing))
        }
        Ongoing::Change(mut change) => match change.proceed(desk) {
            Some(answer) => Handled::Done(answer),
            None => Handled::More(Ongoing::Change(change)),
        },
        Ongoing::Kill(mut kills) => match go_on_killing(desk.engine, &mut kills) {
            Some(answer) => Handled::Done(answer),
            None => Handled::More(Ongoing::Kill(kills)),
        },
    }
}

fn go_on_killing(engine: &mut Engine, kills: &mut Kills) -> Option<Answer> {
    if let Some(kill) = kills.under_way.last_mut() {
        if kill.go_on(engine) {
            return None;
        }
        kills.killed = kills.killed.saturating_add(kill.killed());
        kills.under_way.pop();
    }
    let done = kills.under_way.is_empty();
    done.then(|| Answer::Outcome(std::mem::take(&mut kills.text), (kills.tells)(kills.killed)))
}

fn install(desk: &mut Desk<'_>, installing: Installing) -> Answer {
    let Installing {
        staging,
        anchor,
        queues,
        rules,
        by,
    } = installing;
    if let Some(queues) = &queues
        && let Err(message) = queueing::put(desk.engine, desk.scheduler, queues)
    {
        return Answer::Refused(format!("{message}\nrules not loaded"));
    }
    match desk.engine.install_staged(desk.now, staging) {
        Ok(()) => {
            info!(rules, %anchor, uid = by.uid, pid = by.pid, "rules loaded");
            *desk.loaded_by = by;
            outcome(Outcome::Ok)
        }
        Err(error) => {
            if queues.is_some() {
                queueing::put_back(desk.engine, desk.scheduler);
            }
            Answer::Refused(format!("{error}: rules not loaded"))
        }
    }
}
