//! `log`: which packets pflog(4) is told of (pf.conf(5), PACKET LOGGING).

use crate::addr::Family;
use crate::decision::{DropReason, LogAction, LogEntry};
use crate::engine::Engine;
use crate::engine::packet::{Place, Work};
use crate::engine::translate::Course;
use crate::evaluate::{CompiledRule, Verb};
use crate::installed::RuleId;
use crate::key::translate;
use crate::rule::{Action, Log};

/// What an entry says beside where and of which packet.
#[derive(Clone, Copy)]
struct Note {
    log: u8,
    rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor of `rule`.
    anchor: Option<RuleId>,
    action: LogAction,
    reason: DropReason,
}

impl Engine {
    /// A filter rule matched: `match` rules log at once, the others only where a `match` rule
    /// with `log (matches)` came before.
    pub(super) fn log_match(&self, rule: &CompiledRule, course: &mut Course, work: &mut Work<'_>) {
        let own = rule.log.filter(|_| rule.verb == Verb::Match);
        let anchor = course.anchor;
        let note = |log| Note {
            log,
            rule: Some(rule.id),
            anchor,
            action: action_of(rule.verb),
            reason: DropReason::Match,
        };
        if let Some(own) = own {
            self.log_course(note(own.interface), course, work);
        }
        // A rule that has `matches` itself has been logged already, or will be.
        if !rule.log.is_some_and(|log| log.matches) {
            let others = course.log_matches.iter();
            for log in others.filter(|log| own.is_none_or(|own| own.interface != **log)) {
                self.log_course(note(*log), course, work);
            }
        }
        if let Some(own) = own {
            course.log_all |= own.all;
            if own.matches && !course.log_matches.contains(&own.interface) {
                course.log_matches.push(own.interface);
            }
        }
    }

    /// The rule that decides has decided.
    pub(super) fn log_decision(
        &self,
        rule: &CompiledRule,
        action: LogAction,
        course: &Course,
        work: &mut Work<'_>,
    ) {
        let Some(own) = rule.log else {
            return;
        };
        // It was logged there when it matched.
        if !own.matches && course.log_matches.contains(&own.interface) {
            return;
        }
        let note = Note {
            log: own.interface,
            rule: Some(rule.id),
            anchor: course.anchor,
            action,
            reason: DropReason::Match,
        };
        self.log_course(note, course, work);
    }

    /// A translation rule of the old grammar: the packet is logged as it was before.
    pub(super) fn log_translation(&self, course: &Course, work: &mut Work<'_>) {
        let Some(rule) = course.translation_rule.filter(|_| course.translated) else {
            return;
        };
        let Some(entry) = self.rules.get(rule) else {
            return;
        };
        if let Some(log) = entry.rule.log {
            let note = Note {
                log: log.interface,
                rule: Some(rule),
                anchor: course.anchor,
                action: translation(&entry.rule.action),
                reason: DropReason::Match,
            };
            self.log_work(note, course.place, work);
        }
    }

    /// Whether the state that this evaluation makes has each of its packets logged.
    pub(super) fn logs_each(&self, rule: Option<&CompiledRule>, course: &Course) -> bool {
        let all = |log: Option<Log>| log.is_some_and(|log| log.all);
        let by_translation = course
            .translation_rule
            .is_some_and(|rule| all(self.log_of(rule)));
        course.log_all || by_translation || all(rule.and_then(|rule| rule.log))
    }

    /// A state with `log (all)` passes a packet. PF names the translation rule if that has `all`,
    /// else the filter rule; and each `match` rule.
    pub(super) fn log_by_state(&self, slot: u32, place: Place, work: &mut Work<'_>) {
        let Some(state) = self.states.get(slot) else {
            return;
        };
        work.logs_each = true;
        let of = |rule: RuleId| {
            self.log_of(rule)
                .filter(|log| log.all)
                .map(|log| (rule, log))
        };
        let decisive = state
            .translation_rule
            .and_then(of)
            .or_else(|| state.rule.and_then(of));
        let matched = state.match_rules.iter().copied().filter_map(of);
        for (rule, log) in decisive.into_iter().chain(matched) {
            let note = Note {
                log: log.interface,
                rule: Some(rule),
                anchor: state.anchor,
                action: LogAction::Pass,
                reason: DropReason::Match,
            };
            self.log_work(note, place, work);
        }
    }

    /// A packet that the rules let pass is dropped all the same. PF logs one with IP options whether
    /// the rule has `log` or not.
    pub(super) fn log_refusal(
        &self,
        log: Option<Log>,
        (rule, anchor): (Option<RuleId>, Option<RuleId>),
        place: Place,
        reason: DropReason,
        work: &mut Work<'_>,
    ) {
        if log.is_some() || reason == DropReason::IpOption {
            let action = if reason == DropReason::Synproxy {
                LogAction::SynproxyDrop
            } else {
                LogAction::Block
            };
            let note = Note {
                log: log.map_or(0, |log| log.interface),
                rule,
                anchor,
                action,
                reason,
            };
            self.log_work(note, place, work);
        }
    }

    /// A packet that cannot be read or normalised: PF logs it always; where a `scrub` rule with
    /// `log` matched, by that.
    pub(super) fn entry_of_malformed(
        &self,
        reason: DropReason,
        place: Place,
        bytes: &[u8],
        rule: Option<(RuleId, Option<Log>)>,
    ) -> LogEntry {
        let family = match bytes.first() {
            Some(first) if first >> 4 == 6 => Family::Inet6,
            _ => Family::Inet,
        };
        let log = rule.and_then(|(rule, log)| Some((rule, log?)));
        let note = Note {
            log: log.map_or(0, |(_, log)| log.interface),
            rule: log.map(|(rule, _)| rule),
            anchor: None,
            action: LogAction::Block,
            reason,
        };
        self.entry(note, place, family, bytes, None)
    }

    fn log_of(&self, rule: RuleId) -> Option<Log> {
        self.rules.get(rule)?.rule.log
    }

    /// Logs the packet as it is now.
    fn log_work(&self, note: Note, place: Place, work: &mut Work<'_>) {
        let whole = work.bytes.get(..work.meta.total_len).unwrap_or(work.bytes);
        let entry = self.entry(note, place, work.meta.family, whole, work.owner);
        work.logged.push(entry);
    }

    /// Logs the packet as the rules of an evaluation have made it so far.
    fn log_course(&self, note: Note, course: &Course, work: &mut Work<'_>) {
        if !course.translated || course.applied {
            return self.log_work(note, course.place, work);
        }
        let whole = work.bytes.get(..work.meta.total_len).unwrap_or(work.bytes);
        let (mut bytes, mut meta) = (whole.to_vec(), work.meta);
        // What cannot be translated will be dropped for it; until then it is as it came.
        let _ = translate(&mut meta, &mut bytes, &course.identity, &course.tuple);
        let entry = self.entry(note, course.place, meta.family, &bytes, work.owner);
        work.logged.push(entry);
    }

    fn entry(
        &self,
        note: Note,
        place: Place,
        family: Family,
        bytes: &[u8],
        owner: Option<u32>,
    ) -> LogEntry {
        let rule = note.rule.and_then(|rule| self.rules.get(rule));
        let log = rule.and_then(|entry| entry.rule.log);
        let kept = bytes.len().min(self.log_snap_length);
        let rule = note.rule.and_then(|rule| self.rules.get(rule));
        let number = rule.and_then(|rule| rule.number);
        let inside = rule.filter(|rule| !rule.anchor.is_main());
        let caller = note.anchor.and_then(|rule| self.rules.get(rule)?.number);
        LogEntry {
            log: note.log,
            rule: if inside.is_some() { caller } else { number },
            in_anchor: inside.map(|rule| (rule.anchor.clone(), number)),
            identifier: rule
                .and_then(|entry| entry.rule.identifier)
                .unwrap_or_default(),
            owner: owner.filter(|_| log.is_some_and(|log| log.user)),
            action: note.action,
            reason: note.reason,
            direction: place.direction,
            interface: self.names.shared(place.name),
            family,
            length: bytes.len(),
            bytes: bytes.get(..kept).unwrap_or_default().to_vec(),
        }
    }
}

const fn action_of(verb: Verb) -> LogAction {
    match verb {
        Verb::Pass | Verb::Translate { .. } | Verb::DoNotTranslate => LogAction::Pass,
        Verb::Block(_) => LogAction::Block,
        Verb::Match => LogAction::Match,
    }
}

const fn translation(action: &Action) -> LogAction {
    match action {
        Action::Nat | Action::NoNat => LogAction::Nat,
        Action::Binat | Action::NoBinat => LogAction::Binat,
        Action::Rdr | Action::NoRdr => LogAction::Rdr,
        Action::Pass | Action::Block(_) | Action::Match | Action::Scrub | Action::NoScrub => {
            LogAction::Pass
        }
    }
}
