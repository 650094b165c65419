//! Rules for frames: first to last, the last that matches decides, nothing is remembered.

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Family;
use crate::anchor::AnchorPath;
use crate::compile::ListKind;
use crate::decision::{
    Basis, Decision, DropReason, EtherAddresses, Exit, Handling, Hook, Packet, Verdict,
};
use crate::engine::Engine;
use crate::engine::packet::{Place, Refused, Work};
use crate::engine::walk::Walk;
use crate::env::Env;
use crate::ether::{ETHER_HEADER_LEN, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, EtherAction, Frame};
use crate::evaluate::ether::{CompiledEtherRule, FrameSubject, test_frame};
use crate::evaluate::{Ground, OwnerLookup};
use crate::explain::Step;
use crate::key::Tuple;
use crate::names::NameId;
use crate::queue::QueueId;
use crate::replay::Record;
use crate::time::Instant;
use crate::view::InstalledEtherRule;
use crate::wire::Meta;

/// What rules for frames have written on a frame that passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameMarks {
    pub(super) tag: Option<NameId>,
    pub(super) queue: Option<QueueId>,
    /// `bridge-to`.
    exit: Option<Exit>,
}

/// What is asked about a frame.
#[derive(Clone, Copy)]
struct Asked {
    ether: EtherAddresses,
    ether_type: u16,
    ip: Option<(IpAddr, IpAddr)>,
    /// Of the whole frame.
    len: usize,
    tag: Option<NameId>,
}

impl Asked {
    /// The frame around an IP packet; nothing for one that is shorter than an IP header.
    fn around(packet: &[u8], ether: EtherAddresses, tag: Option<NameId>) -> Option<Self> {
        let ip = crate::wire::addresses(packet)?;
        Some(Self {
            ether,
            ether_type: match Family::of(ip.0) {
                Family::Inet => ETHER_TYPE_IPV4,
                Family::Inet6 => ETHER_TYPE_IPV6,
            },
            ip: Some(ip),
            len: packet.len().saturating_add(ETHER_HEADER_LEN),
            tag,
        })
    }
}

impl Engine {
    /// Whether there are rules for frames, so that those without an IP packet are to be shown to
    /// [`Engine::handle_frame`]. Anchors are reached by rules of the main ruleset only.
    #[must_use]
    pub fn filters_frames(&self) -> bool {
        self.enabled && !self.lists.ether.is_empty()
    }

    /// Decides about a frame that carries no IP packet which PF filters.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        hook: Hook,
        frame: &Frame,
        env: &mut dyn Env,
    ) -> Decision {
        self.now = now;
        let asked = Asked {
            ether: frame.ether,
            ether_type: frame.ether_type,
            ip: None,
            len: frame.len,
            tag: None,
        };
        self.decide_frame(hook, Some(asked), env)
    }

    /// Decides about the frame of a packet that leaves by an interface, where the filter rules
    /// have let it pass when it came in (`route-to`) and its frame was not known yet.
    pub fn handle_departure(
        &mut self,
        now: Instant,
        hook: Hook,
        packet: &Packet,
        env: &mut dyn Env,
    ) -> Decision {
        self.learn_opened();
        self.now = now;
        let tag = self.tag_of_departure(&packet.bytes);
        let ether = packet.ether.unwrap_or_default();
        let asked = Asked::around(&packet.bytes, ether, tag);
        self.decide_frame(hook, asked, env)
    }

    /// The rules for frames of the ruleset at `anchor`, in order, with their counters.
    pub fn ether_rules_at<'a>(
        &'a self,
        anchor: &AnchorPath,
    ) -> impl Iterator<Item = InstalledEtherRule<'a>> + use<'a> {
        let lists = self.lists_at(anchor);
        let rules = lists.map_or(&[][..], |lists| &lists.ether);
        let entries = rules
            .iter()
            .filter_map(|rule| self.ether_rules.get(rule.id));
        entries.map(|entry| InstalledEtherRule {
            number: entry.number,
            rule: &entry.rule,
            counters: entry.counters,
        })
    }

    /// `pfctl -F ethernet`: removes the rules for frames of a ruleset.
    pub fn flush_ether(&mut self, anchor: &AnchorPath) {
        self.flush_lists(anchor, |lists| lists.ether.clear());
    }

    fn decide_frame(&mut self, hook: Hook, asked: Option<Asked>, env: &mut dyn Env) -> Decision {
        let place = match self.enter(hook, env) {
            Some(place) if self.filters_frames() => place,
            _ => return self.unfiltered(),
        };
        let Some(asked) = asked else {
            return self.dropped(DropReason::Short.into(), Vec::new(), Vec::new());
        };
        match self.test_frame(place, asked, env) {
            Ok(marks) => frame_passes(marks),
            Err(refused) => self.dropped(refused, Vec::new(), Vec::new()),
        }
    }

    /// The frame in which a packet comes in, before any rule sees the packet; nothing if that is to
    /// go on. What is too short for IP is dropped for that afterwards.
    pub(super) fn frame_enters(
        &mut self,
        place: Place,
        packet: &Packet,
        env: &mut dyn Env,
    ) -> Option<Decision> {
        let ether = packet.ether.filter(|_| self.filters_frames())?;
        let asked = Asked::around(&packet.bytes, ether, None)?;
        match self.test_frame(place, asked, env) {
            Ok(marks) if marks.exit.is_some() => Some(frame_passes(marks)),
            Ok(marks) => {
                self.frame = marks;
                None
            }
            Err(refused) => Some(self.dropped(refused, Vec::new(), Vec::new())),
        }
    }

    /// The frames in which a packet leaves that all other rules have let pass.
    pub(super) fn frame_leaves(
        &mut self,
        (place, exit): (Place, Exit),
        pieces: Option<&[Vec<u8>]>,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Exit, Refused> {
        let is_asked = exit == Exit::Continue
            && place.direction == crate::rule::Direction::Out
            && self.filters_frames();
        let Some(ether) = work.ether.filter(|_| is_asked) else {
            return Ok(exit);
        };
        let whole: &[u8] = work.bytes;
        let frames = match pieces {
            Some(pieces) => pieces.iter().map(Vec::as_slice).collect(),
            None => vec![whole],
        };
        let mut marks = FrameMarks::default();
        for frame in frames {
            if let Some(asked) = Asked::around(frame, ether, work.tag) {
                marks = self.test_frame(place, asked, env)?;
            }
        }
        work.handling.queue = marks.queue.or(work.handling.queue);
        Ok(marks.exit.unwrap_or(exit))
    }

    fn test_frame(
        &mut self,
        place: Place,
        asked: Asked,
        env: &mut dyn Env,
    ) -> Result<FrameMarks, Refused> {
        let mut tag = asked.tag;
        let mut walk = Walk::new(ListKind::Ether, Arc::clone(&self.lists));
        let mut decided: Option<CompiledEtherRule> = None;
        while let Some(rule) = self.next_for_frame(&mut walk, place, &asked, &mut tag, env)? {
            walk.mark_matched();
            let quick = rule.quick;
            decided = Some(rule);
            if quick {
                break;
            }
        }
        // PF passes what no rule matches, and writes nothing on it.
        let Some(rule) = decided else {
            return Ok(FrameMarks::default());
        };
        let bytes = u64::try_from(asked.len).unwrap_or(u64::MAX);
        self.ether_rules
            .count_frame(rule.id, place.direction, bytes, self.now);
        self.trace_frame(&rule);
        if rule.action == EtherAction::Block {
            return Err(DropReason::Match.into());
        }
        let exit = match rule.bridge_to {
            Some(name) => Some(self.bridge_exit(name)?),
            None => None,
        };
        Ok(FrameMarks {
            tag,
            queue: rule.queue,
            exit,
        })
    }

    /// As in PF, a frame for an interface that is not there is dropped.
    fn bridge_exit(&self, name: NameId) -> Result<Exit, Refused> {
        let interface = self.net.named(name).ok_or(DropReason::NoRoute)?;
        Ok(Exit::Bridge {
            interface: interface.index,
        })
    }

    /// The next rule that matches and calls no anchor.
    fn next_for_frame(
        &mut self,
        walk: &mut Walk,
        place: Place,
        asked: &Asked,
        tag: &mut Option<NameId>,
        env: &mut dyn Env,
    ) -> Result<Option<CompiledEtherRule>, Refused> {
        loop {
            let lists = Arc::clone(&walk.lists);
            let Some(rule) = lists.ether.get(walk.at) else {
                if self.step_out(walk) {
                    continue;
                }
                return Ok(None);
            };
            if let Err(next) = self.compare_frame(rule, place, asked, *tag, env) {
                walk.at = next.unwrap_or(walk.at.saturating_add(1));
                continue;
            }
            walk.at = walk.at.saturating_add(1);
            *tag = rule.tag.or(*tag);
            let Some(call) = rule.call else {
                return Ok(Some(rule.clone()));
            };
            self.step_into(walk, (rule.id, rule.quick), call)?;
        }
    }

    /// If the rule does not match: the next that may, unless it is the one behind.
    fn compare_frame(
        &mut self,
        rule: &CompiledEtherRule,
        place: Place,
        asked: &Asked,
        tag: Option<NameId>,
        env: &mut dyn Env,
    ) -> Result<(), Option<usize>> {
        self.ether_rules.count_evaluation(rule.id);
        let subject = FrameSubject {
            direction: place.direction,
            interface: self.net.interface(place.index),
            ether: asked.ether,
            ether_type: asked.ether_type,
            ip: asked.ip,
            tag,
        };
        let mut ground = Ground {
            rules: &mut self.rules,
            tables: &mut self.tables,
            net: &self.net,
            env,
            owner: &mut OwnerLookup::default(),
            consulted: &mut crate::decision::Consulted::default(),
            record: &mut Record::default(),
            limiters: &mut self.limiters,
            now: self.now,
            refused: &mut None,
        };
        test_frame(rule, &subject, &mut ground)
            .map_err(|failed| rule.skip.get(failed as usize).copied())
    }

    /// The tag of the state that a packet belongs to which leaves.
    fn tag_of_departure(&self, bytes: &[u8]) -> Option<NameId> {
        let meta = Meta::parse(bytes).ok().filter(|meta| !meta.is_fragment())?;
        let identity = Tuple::of(&meta, bytes);
        self.state_of_departure(&identity)?.tag
    }

    fn trace_frame(&mut self, rule: &CompiledEtherRule) {
        if self.trace.is_none() {
            return;
        }
        if let Some(entry) = self.ether_rules.get(rule.id) {
            let step = Step::FrameDecided {
                anchor: entry.anchor.clone(),
                number: entry.number,
                passed: rule.action == EtherAction::Pass,
            };
            self.step(step);
        }
    }
}

fn frame_passes(marks: FrameMarks) -> Decision {
    Decision {
        verdict: Verdict::Pass(marks.exit.unwrap_or(Exit::Continue)),
        generated: Vec::new(),
        handling: Handling {
            queue: marks.queue,
            ..Handling::default()
        },
        basis: Basis::Packet,
        logged: Vec::new(),
    }
}
