//! `set …`.

use std::sync::Arc;

use pf_engine::rule::{Reassemble, StatePolicy, Timeout};
use pf_engine::ruleset::OptionName;

use super::Expander;
use crate::ast::{InterfaceName, SetStatement};
use crate::echo::Topic;
use crate::print::{name, quoted};

/// Timeouts that `set optimization` changes (pf.conf(5)).
const OPTIMIZED: [Timeout; 7] = [
    Timeout::TcpFirst,
    Timeout::TcpOpening,
    Timeout::TcpEstablished,
    Timeout::TcpClosing,
    Timeout::TcpFinWait,
    Timeout::TcpClosed,
    Timeout::TcpTsDiff,
];

impl Expander<'_> {
    pub(super) fn set(&mut self, set: &SetStatement) {
        self.ruleset.options.named.extend(option_name(set));
        let echo = match set {
            SetStatement::Skip(interfaces) => self.set_skip(interfaces),
            SetStatement::BlockPolicy { returns } => {
                self.block_returns = *returns;
                let word = if *returns { "return" } else { "drop" };
                format!("set block-policy {word}")
            }
            SetStatement::StatePolicy(policy) => {
                self.ruleset.options.state_policy = *policy;
                let word = match policy {
                    StatePolicy::Floating => "floating",
                    StatePolicy::IfBound => "if-bound",
                };
                format!("set state-policy {word}")
            }
            SetStatement::Limit(limit, value, name) => {
                self.check_limit(*limit, value.node, value.span);
                put(&mut self.ruleset.options.limits, *limit, value.node);
                format!("set limit {name} {}", value.node)
            }
            SetStatement::Timeout(timeout, value, name) => {
                put(&mut self.ruleset.options.timeouts, *timeout, *value);
                format!("set timeout {name} {value}")
            }
            SetStatement::Optimization(name) => {
                for (timeout, value) in OPTIMIZED.into_iter().zip(optimization(name)) {
                    put(&mut self.ruleset.options.timeouts, timeout, value);
                }
                format!("set optimization {name}")
            }
            SetStatement::RulesetOptimization(level) => {
                // pfctl tells the others, but not this one.
                self.optimization = Some(*level);
                return;
            }
            SetStatement::Reassemble(written) => self.set_reassemble(*written),
            SetStatement::Syncookies(mode, text) => {
                self.ruleset.options.syncookies = *mode;
                format!("set syncookies {text}")
            }
            SetStatement::LogInterface(interface) => {
                self.ruleset.options.log_interface.clone_from(interface);
                let word = interface.as_deref().unwrap_or("none");
                format!("set loginterface {word}")
            }
            SetStatement::Fingerprints(path, fingerprints) => {
                self.ruleset.options.fingerprints = Some(Arc::clone(fingerprints));
                format!("set fingerprints {}", quoted(path))
            }
            SetStatement::HostId(number) => {
                self.ruleset.options.host_id = Some(*number);
                format!("set hostid 0x{number:08x}")
            }
            SetStatement::Debug(level) => {
                self.ruleset.options.debug = Some(*level);
                format!("set debug {}", level.name())
            }
            SetStatement::FailPolicy { returns } => {
                self.ruleset.options.fail_return = *returns;
                let word = if *returns { "return" } else { "drop" };
                format!("set fail-policy {word}")
            }
            SetStatement::Queue(queue) => {
                let Some(line) = self.queue(queue) else {
                    return;
                };
                line
            }
            SetStatement::Printed(echo) => echo.clone(),
            SetStatement::RequireOrder(_) | SetStatement::StateDefaults(_) => return,
            // As FreeBSD, which does not echo it.
            SetStatement::KeepCounters => {
                self.ruleset.options.keep_counters = true;
                return;
            }
        };
        self.tell(topic(set), echo);
    }

    /// A blank stands where `no-df` is not. Without reassembly `no-df` says nothing, as in PF.
    fn set_reassemble(&mut self, written: Reassemble) -> String {
        self.ruleset.options.reassemble = Reassemble {
            no_df: written.enabled && written.no_df,
            ..written
        };
        let word = if written.enabled { "yes" } else { "no" };
        let no_df = if written.no_df { "no-df" } else { "" };
        format!("set reassemble {word} {no_df}")
    }

    fn set_skip(&mut self, interfaces: &[InterfaceName]) -> String {
        if is_none(interfaces) {
            self.ruleset.options.skip.clear();
            return "set skip on none".to_owned();
        }
        let mut echo = "set skip on {".to_owned();
        for interface in interfaces {
            echo.push(' ');
            echo.push_str(&name(&interface.name));
            if !self.ruleset.options.skip.contains(&interface.name) {
                self.ruleset.options.skip.push(interface.name.clone());
            }
        }
        echo.push_str(" }");
        echo
    }
}

/// Whether pfctl tells of an option before it looks whether it loads options.
const fn topic(set: &SetStatement) -> Topic {
    match set {
        SetStatement::Timeout(..)
        | SetStatement::Optimization(_)
        | SetStatement::Reassemble(_)
        | SetStatement::LogInterface(_)
        | SetStatement::HostId(_)
        | SetStatement::Debug(_) => Topic::Options,
        SetStatement::Queue(_) => Topic::Queues,
        SetStatement::Skip(_)
        | SetStatement::BlockPolicy { .. }
        | SetStatement::StatePolicy(_)
        | SetStatement::Limit(..)
        | SetStatement::RulesetOptimization(_)
        | SetStatement::Syncookies(..)
        | SetStatement::FailPolicy { .. }
        | SetStatement::Fingerprints(..)
        | SetStatement::Printed(_)
        | SetStatement::RequireOrder(_)
        | SetStatement::StateDefaults(_)
        | SetStatement::KeepCounters => Topic::Any,
    }
}

/// The option that `set` names, where its value alone would not tell.
fn option_name(set: &SetStatement) -> Option<OptionName> {
    Some(match set {
        SetStatement::Skip(interfaces) if is_none(interfaces) => OptionName::SkipNone,
        SetStatement::StatePolicy(_) => OptionName::StatePolicy,
        SetStatement::Reassemble(_) => OptionName::Reassemble,
        SetStatement::Syncookies(..) => OptionName::Syncookies,
        SetStatement::LogInterface(_) => OptionName::LogInterface,
        SetStatement::FailPolicy { .. } => OptionName::FailPolicy,
        SetStatement::Skip(_)
        | SetStatement::BlockPolicy { .. }
        | SetStatement::Limit(..)
        | SetStatement::Timeout(..)
        | SetStatement::Optimization(_)
        | SetStatement::RulesetOptimization(_)
        | SetStatement::HostId(_)
        | SetStatement::Debug(_)
        | SetStatement::Fingerprints(..)
        | SetStatement::Queue(_)
        | SetStatement::Printed(_)
        | SetStatement::RequireOrder(_)
        | SetStatement::StateDefaults(_)
        | SetStatement::KeepCounters => return None,
    })
}

/// `set skip on none`.
fn is_none(interfaces: &[InterfaceName]) -> bool {
    matches!(interfaces, [only] if only.name == "none")
}

/// Seconds for [`OPTIMIZED`].
fn optimization(name: &str) -> [u32; 7] {
    match name.to_ascii_lowercase().as_str() {
        "satellite" | "high-latency" => [180, 35, 86_400, 905, 50, 95, 60],
        "aggressive" => [30, 5, 18_000, 60, 30, 30, 10],
        "conservative" => [3600, 900, 432_000, 3600, 600, 180, 60],
        _ => [120, 30, 86_400, 900, 45, 90, 30],
    }
}

/// Sets the value of `key`, keeping one entry for each.
fn put<K: PartialEq>(list: &mut Vec<(K, u32)>, key: K, value: u32) {
    match list.iter_mut().find(|(known, _)| *known == key) {
        Some((_, old)) => *old = value,
        None => list.push((key, value)),
    }
}
