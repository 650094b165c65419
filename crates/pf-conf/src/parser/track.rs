//! Source tracking in `keep state (…)`, and limits of packets.

use pf_engine::rule::{Flush, Overload, Rate, SourceTrack, Timeout};

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Spanned, State};
use crate::diagnostic::Code;
use crate::token::Token;

/// Largest count of `max-src-conn-rate` (`PF_THRESHOLD_MAX`).
const MAX_SOURCE_RATE: u32 = 4_294_967;

/// Options that make a rule track its sources.
pub(super) const OPTIONS: &[&str] = &[
    "source-track",
    "max-src-states",
    "max-src-conn",
    "max-src-conn-rate",
    "max-src-nodes",
    "overload",
];

impl Parser<'_> {
    /// One of [`OPTIONS`]. Gives whether it was there before.
    pub(super) fn source_option(&mut self, state: &mut State, token: &Token) -> Parse<bool> {
        self.next();
        let known = match token.text.as_ref() {
            "source-track" => {
                self.source_track(state);
                return Ok(std::mem::replace(&mut state.track_given, true));
            }
            // Counted for all rules together, unless another option says otherwise.
            "max-src-states" => {
                let max = self.source_limit(token)?;
                let source = &mut state.options.source;
                source.track.get_or_insert(SourceTrack::Global);
                return Ok(source.max_states.replace(max).is_some());
            }
            "max-src-conn" => {
                let max = self.source_limit(token)?;
                state.options.source.max_connections.replace(max).is_some()
            }
            "max-src-nodes" => {
                let max = self.source_limit(token)?;
                state.options.source.max_nodes.replace(max).is_some()
            }
            "max-src-conn-rate" => {
                let rate = self.source_rate()?;
                let known = &mut state.options.source.max_connection_rate;
                known.replace(rate).is_some()
            }
            _ => {
                let overload = self.overload()?;
                state.options.source.overload.replace(overload).is_some()
            }
        };
        if !state.track_is_said {
            state.options.source.track = Some(SourceTrack::Rule);
        }
        Ok(known)
    }

    /// `rule`, `global`, or nothing: then what other options imply, else `global`.
    fn source_track(&mut self, state: &mut State) {
        let track = &mut state.options.source.track;
        let said = if self.eat_word("rule") {
            Some(SourceTrack::Rule)
        } else if self.eat_word("global") {
            Some(SourceTrack::Global)
        } else {
            None
        };
        state.track_is_said |= said.is_some();
        *track = said.or(*track).or(Some(SourceTrack::Global));
    }

    fn source_limit(&mut self, token: &Token) -> Parse<u32> {
        let number = self.number("a number")?;
        if number.node == 0 {
            let message = format!("'{}' must be > 0", token.text);
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(number.node)
    }

    fn source_rate(&mut self) -> Parse<Rate> {
        let rate = self.positive_rate("'max-src-conn-rate' values must be > 0")?;
        if rate.node.count > MAX_SOURCE_RATE {
            let message = format!("'max-src-conn-rate' maximum rate must be < {MAX_SOURCE_RATE}");
            return Err(self.error(Code::BadNumber, rate.span, &message, String::new()));
        }
        Ok(rate.node)
    }

    fn positive_rate(&mut self, message: &str) -> Parse<Spanned<Rate>> {
        let span = self.peek().span;
        let (count, seconds) = self.rate()?;
        if count == 0 || seconds.node == 0 {
            return Err(self.error(Code::BadNumber, span, message, String::new()));
        }
        let seconds = seconds.node;
        Ok(Spanned {
            node: Rate { count, seconds },
            span,
        })
    }

    /// The rate of a limiter.
    pub(super) fn limiter_rate(&mut self) -> Parse<Rate> {
        Ok(self.positive_rate("limiter rates must be > 0")?.node)
    }

    fn overload(&mut self) -> Parse<Overload> {
        let table = self.table_name()?.node;
        let flush = if !self.eat_word("flush") {
            None
        } else if self.eat_word("global") {
            Some(Flush::Global)
        } else {
            Some(Flush::Rule)
        };
        Ok(Overload { table, flush })
    }

    /// `max-pkt-rate N/seconds`.
    pub(super) fn packet_rate(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let rate = self.positive_rate("max-pkt-rate values must be > 0")?;
        let known = rule.max_packet_rate.replace(rate.node).is_some();
        self.once(known, &keyword)
    }

    /// `max-pkt-size N`.
    pub(super) fn packet_size(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let number = self.number("a number of bytes")?;
        let size = u16::try_from(number.node).ok().filter(|size| *size > 0);
        let Some(size) = size else {
            let message = "max-pkt-size must be 1 - 65535";
            return Err(self.error(Code::BadNumber, number.span, message, String::new()));
        };
        let known = rule.max_packet_size.replace(size).is_some();
        self.once(known, &keyword)
    }
}

/// A source is remembered at least as long as its rate is measured.
pub(super) fn track_as_long_as_measured(state: &mut State) {
    let Some(rate) = state.options.source.max_connection_rate else {
        return;
    };
    let timeouts = &mut state.options.timeouts;
    let given = timeouts
        .iter_mut()
        .find(|(timeout, _)| *timeout == Timeout::SrcTrack);
    match given {
        Some((_, seconds)) => *seconds = rate.seconds.max(*seconds),
        None => timeouts.push((Timeout::SrcTrack, rate.seconds)),
    }
}
