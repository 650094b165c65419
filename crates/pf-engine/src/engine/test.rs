//! One evaluation: a packet at an interface in a direction, by state or else by the rules
//! (pf.conf(5), STATEFUL FILTERING).

use std::sync::Arc;

use crate::compile::ListKind;
use crate::counters::Count;
use crate::decision::{DropReason, LogAction};
use crate::engine::normalize::normalize;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::engine::systems::systems;
use crate::engine::translate::Course;
use crate::engine::walk::{Found, Walk};
use crate::engine::{Engine, RuleList};
use crate::env::{Env, IfIndex};
use crate::evaluate::{self, CompiledRule, Content, Ground, Subject, Verb};
use crate::installed::RuleId;
use crate::key::Tuple;
use crate::names::NameId;
use crate::rule::{BlockReply, Direction, Scrub};
use crate::state::State;
use crate::wire::{Icmp, IcmpBody, Meta};

impl Engine {
    /// Whether the packet may pass `place`; rewrites it if so.
    pub(super) fn test(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let (family, bytes) = (work.meta.family, length(&work.meta));
        let tested = self.test_whole(place, work, env);
        self.count_at(place, family, Count::one(bytes), tested.is_ok());
        if let Ok(passed) = &tested {
            Self::note_addresses(place, passed.state, work);
        }
        tested
    }

    fn test_whole(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        self.trace_entry(place, work);
        let content = Content::of(&work.meta);
        let normal = match work.normalization.take() {
            Some(normal) => normal,
            None => self.normalization(place, content, work, env),
        };
        work.scrub = normal.scrub;
        work.handling.routing_table = normal.routing_table.or(work.handling.routing_table);
        work.is_unlike_its_flow |= normal.rule.is_some() && normal.scrub != Scrub::NONE;
        work.is_unlike_its_flow |= normal.routing_table.is_some();
        self.check_segment(place, &normal, work)?;
        let passed = self.filter_one(place, content, work, env)?;
        work.is_unlike_its_flow |= work.scrub.random_id || content == Content::Fragment;
        normalize(work, env)?;
        Ok(passed)
    }

    /// The verdict of the state that covers the packet, else of the rules.
    fn filter_one(
        &mut self,
        place: Place,
        content: Content,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let by_state = if content == Content::Fragment {
            // Without ports it cannot be found; PF asks the rules for each.
            None
        } else if is_icmp_error(&work.meta) {
            self.test_error(place, work, env)
        } else {
            self.test_state(place, work, env)
        };
        if let Some(tested) = by_state {
            return tested;
        }
        self.recreate_syn(place, work);
        let tested = match self.test_rules(place, work, env) {
            // As in PF, whatever the reason was counts too.
            Err(refused) if content == Content::Fragment => {
                self.count_drop(refused);
                return Err(DropReason::Fragment.into());
            }
            tested => tested?,
        };
        // A client that was answered with a cookie needs a state to go on.
        if work.completed.is_some() && matches!(tested.state, StateRef::None(_)) {
            return Err(DropReason::Synproxy.into());
        }
        Ok(tested)
    }

    /// By the rules: translation, then filter.
    pub(super) fn test_rules(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let mut course = self.course(place, work);
        work.owner = None;
        if self.asks_for_tags || self.asks_for_interface {
            // The state by which it came in is asked.
            self.settle_key(Direction::Out, &course.identity.key(Direction::In));
        }
        if self.asks_for_tags && course.tag.is_none() {
            course.tag = self.carried_tag(&course);
        }
        if self.asks_for_interface && place == work.hook {
            course.received_on = self.carried_interface(&course).or(course.received_on);
        }
        if course.content == Content::Whole && !is_icmp_error(&work.meta) {
            self.translate_by_lists(&mut course, env)?;
            self.note_owner(course.translation_rule, &mut course, work, env);
            self.log_translation(&course, work);
        }
        let decided = match work.related_rule.take() {
            Some(found) => Some(found),
            None if course.nat_pass => None,
            None => self.filter(&mut course, work, env)?,
        };
        self.counters.count(DropReason::Match);
        course.anchor = decided.as_ref().and_then(|found| found.anchor);
        let rule = decided.as_ref().and_then(Found::rule);
        self.trace_decision(&course, rule);
        if let Some(rule) = rule.filter(|rule| rule.once && !work.is_imagined) {
            self.expire_once(rule.id);
        }
        if let Some(rule) = rule
            && let Verb::Block(reply) = rule.verb
        {
            if course.content == Content::Whole {
                self.answer_blocked(reply, work);
            }
            if reply != BlockReply::Drop || course.translated {
                self.flows.record().spoil();
            }
            self.tally_course(&course, Some(rule.id), false);
            self.log_decision(rule, LogAction::Block, &course, work);
            return Err(Refused {
                reason: DropReason::Match,
                consulted: (course.content == Content::Whole).then_some(course.consulted),
            });
        }
        self.open(rule, course, work, env)
    }

    /// `log (user)`: looks up whose socket it is.
    fn note_owner(
        &self,
        rule: Option<RuleId>,
        course: &mut Course,
        work: &mut Work<'_>,
        env: &dyn Env,
    ) {
        let log = rule.and_then(|rule| self.rules.get(rule)?.rule.log);
        if log.is_some_and(|log| log.user) {
            work.owner = course.user(env);
        }
    }

    /// The tag that a packet brought along from where it came in. Nothing is written on packets
    /// between two hooks: the tag is that of the state by which it came in.
    fn carried_tag(&self, course: &Course) -> Option<NameId> {
        if course.place.direction == Direction::In {
            return None;
        }
        self.state_of_entry(&course.identity, |state| state.tag.is_some())?
            .tag
    }

    /// The interface by which a packet came in that leaves now: that of its state, which knows the
    /// port where the kernel may name the bridge.
    fn carried_interface(&self, course: &Course) -> Option<IfIndex> {
        if course.place.direction == Direction::In {
            return None;
        }
        let origin = self.state_of_entry(&course.identity, |_| true)?.origin;
        Some(self.net.named(origin)?.index)
    }

    /// The state by which a packet came in that leaves now.
    pub(super) fn state_of_entry(
        &self,
        identity: &Tuple,
        wanted: impl Fn(&State) -> bool,
    ) -> Option<&State> {
        let lifetimes = self.lifetimes();
        let key = identity.key(Direction::In);
        let slot = self.states.find(Direction::Out, &key, |state| {
            state.direction == Direction::In && wanted(state) && !lifetimes.is_over(state)
        })?;
        self.states.get(slot)
    }

    /// The state of a packet that has been through all evaluations and leaves, if it has a tag.
    pub(super) fn state_of_departure(&self, identity: &Tuple) -> Option<&State> {
        let key = identity.key(Direction::Out);
        let tagged = |state: &State| state.tag.is_some();
        self.states
            .get(self.states.find(Direction::In, &key, tagged)?)
    }

    /// The filter rule that decides: the last that matches, or the first `quick` one.
    fn filter(
        &mut self,
        course: &mut Course,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Found>, Refused> {
        let mut decided = None;
        let mut walk = Walk::new(ListKind::Read(RuleList::Filter), Arc::clone(&self.lists));
        while let Some(found) = self.next_found(&mut walk, course, env)? {
            let Some(rule) = found.rule() else {
                break;
            };
            course.anchor = found.anchor;
            if let Some(reason) = course.refused {
                let rules = (Some(rule.id), course.anchor);
                self.tally_course(course, Some(rule.id), false);
                self.log_refusal(rule.log, rules, course.place, reason, work);
                return Err(reason.into());
            }
            course.tag = rule.tag.or(course.tag);
            self.note_owner(Some(rule.id), course, work, env);
            if rule.verb == Verb::Match {
                course.treatment = course.treatment.overridden_by(rule.treatment);
                course.match_rules.push(rule.id);
                course.scrub.add(&rule.scrub);
                course.allow_options |= rule.allow_options;
                course.max_packet_size = rule.max_packet_size.or(course.max_packet_size);
                let source = course.tuple.source.address;
                course.limiters.extend(self.limiters_of(rule, source));
                self.translate_by_rule(rule, course, env)?;
                self.trace_translation(rule, course);
            } else {
                walk.mark_matched();
                decided = Some(found.clone());
            }
            if rule.log.is_some() || !course.log_matches.is_empty() {
                self.log_match(rule, course, work);
            }
            if rule.quick {
                break;
            }
        }
        Ok(decided)
    }

    /// `once`: the rule has had its packet. What was decided without state may not be repeated.
    pub(super) fn expire_once(&mut self, rule: RuleId) {
        self.note_stale_flows();
        self.flows.record().spoil();
        self.rules.expire(rule);
        self.advance_epoch();
    }

    /// The first rule from `from` on that matches.
    pub(super) fn next_match(
        &mut self,
        rules: &[CompiledRule],
        from: usize,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Option<usize> {
        let subject = Subject {
            direction: course.place.direction,
            content: course.content,
            interface: self.net.interface(course.place.index),
            tuple: course.tuple,
            identity: course.identity,
            flags: course.flags,
            icmp: course.icmp,
            tos: course.tos,
            systems: systems(&self.fingerprints, course),
            tag: course.tag,
            received_on: course
                .received_on
                .and_then(|index| self.net.interface(index)),
            priority: course.priority,
        };
        let mut ground = Ground {
            rules: &mut self.rules,
            tables: &mut self.tables,
            net: &self.net,
            env,
            owner: &mut course.owner,
            consulted: &mut course.consulted,
            record: self.flows.record(),
            limiters: &mut self.limiters,
            now: self.now,
            refused: &mut course.refused,
        };
        if self.trace.is_none() {
            return evaluate::next_match(rules, from, &subject, &mut ground, &mut ());
        }
        let mut tested = Vec::new();
        let found = evaluate::next_match(rules, from, &subject, &mut ground, &mut tested);
        self.trace_tests(rules, &tested);
        found
    }
}

pub(super) fn is_icmp_error(meta: &Meta) -> bool {
    matches!(
        meta.icmp(),
        Some(Icmp {
            body: IcmpBody::Error,
            ..
        })
    )
}

/// Bytes of the packet, as counters count them.
pub(super) fn length(meta: &Meta) -> u64 {
    u64::try_from(meta.total_len).unwrap_or(u64::MAX)
}
