//! What the memory of the machine cannot hold.

use pf_engine::capacity::MEMORY_SHARE;
use pf_engine::ruleset::Limit;

use super::Expander;
use crate::diagnostic::Code;
use crate::source::Span;

impl Expander<'_> {
    /// `set limit` with more than fits beside the limits that were set before. PF's own default
    /// is never too much.
    pub(super) fn check_limit(&mut self, limit: Limit, value: u32, span: Span) {
        let Some(memory) = self.memory else {
            return;
        };
        let others = self.ruleset.options.limits.iter();
        let others = others.filter(|(name, _)| *name != limit);
        let taken: u64 = others.map(|(name, value)| needed(*name, *value)).sum();
        let room = (memory / MEMORY_SHARE).saturating_sub(taken);
        let need = needed(limit, value);
        if need <= room || value <= limit.default_value() {
            return;
        }
        let name = limit.name();
        let message = format!("cannot set limit {name} {value}: not enough memory");
        let detail = format!(
            "`{value}` {name} may need {}; this machine has {}, of which limits may use {}",
            size(need),
            size(memory),
            size(memory / MEMORY_SHARE)
        );
        let most = (room / limit.entry_bytes()).max(limit.default_value().into());
        let hint = format!("at most {most} fit beside the other limits that are set");
        self.refuse(span, &message, &detail, hint);
    }

    /// Tables with more addresses than `set limit table-entries` allows, or the memory.
    pub(super) fn check_tables(&mut self) {
        let (limit, Some(memory)) = (Limit::TableEntries, self.memory) else {
            return;
        };
        // What an anchor's file says of limits does not count.
        let set = self.ruleset.options.limit(limit);
        let most = match set.filter(|_| self.anchor.is_main()) {
            Some(0) => limit.capacity(memory),
            Some(value) => value,
            None if self.anchor.is_main() => limit.default_for(self.memory),
            None => limit.capacity(memory),
        };
        let mut total: u64 = 0;
        for (table, entries) in std::mem::take(&mut self.filled) {
            total = total.saturating_add(entries as u64);
            if total > most.into() && entries > 0 {
                self.refuse_table(&table.node, table.span, (total, most), memory);
                return;
            }
        }
    }

    fn refuse_table(&mut self, name: &str, span: Span, (total, most): (u64, u32), memory: u64) {
        let limit = Limit::TableEntries;
        let message = format!("cannot define table {name}: too many addresses");
        let need = total.saturating_mul(limit.entry_bytes());
        let detail = format!(
            "at `{name}` there are {total} addresses in tables, which may need {}; the limit of \
             table-entries is {most}, and this machine has {}",
            size(need),
            size(memory)
        );
        let capacity = limit.capacity(memory);
        let hint = if total <= capacity.into() {
            format!("`set limit table-entries {total}` raises the limit")
        } else {
            format!("this machine can hold {capacity} addresses at most")
        };
        self.refuse(span, &message, &detail, hint);
    }

    fn refuse(&mut self, span: Span, message: &str, detail: &str, hint: String) {
        let _ = self.error(Code::Limit, span, message, detail);
        if let Some(error) = self.errors.last_mut() {
            error.hint = Some(hint);
        }
    }
}

fn needed(limit: Limit, value: u32) -> u64 {
    u64::from(value).saturating_mul(limit.entry_bytes())
}

/// A size for people, with one digit after the point.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = u128::from(bytes) * 10 / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}
