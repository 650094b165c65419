//! `table <name> …`.

use pf_engine::rule::Address;
use pf_engine::ruleset::{TableDefinition, TableEntry};

use super::host::Resolved;
use super::{Expand, Expander};
use crate::ast::{TableContents, TableStatement};
use crate::print::{quoted, table_name};

impl Expander<'_> {
    pub(super) fn table(&mut self, table: &TableStatement) -> Expand<()> {
        let mut definition = TableDefinition {
            persist: table.persist,
            constant: table.constant,
            counters: table.counters,
            has_contents: !table.contents.is_empty(),
            entries: Vec::new(),
        };
        let mut echo = format!("table {}", table_name(&table.name.node));
        for (set, word) in [
            (table.constant, " const"),
            (table.persist, " persist"),
            (table.counters, " counters"),
        ] {
            if set {
                echo.push_str(word);
            }
        }
        for contents in &table.contents {
            self.table_contents(contents, &mut definition, &mut echo)?;
        }
        self.echo.push(echo);
        self.filled
            .push((table.name.clone(), definition.entries.len()));
        // As in PF, the last definition of a name is the one that counts.
        self.ruleset
            .tables
            .insert(table.name.node.clone(), definition);
        Ok(())
    }

    fn table_contents(
        &mut self,
        contents: &TableContents,
        definition: &mut TableDefinition,
        echo: &mut String,
    ) -> Expand<()> {
        let (hosts, path) = match contents {
            TableContents::Inline(hosts) => (hosts, None),
            TableContents::File { path, hosts } => (hosts, Some(path)),
        };
        let mut resolved = Vec::new();
        for host in hosts {
            self.host(host, &mut resolved)?;
        }
        let entries: Vec<TableEntry> = resolved.iter().filter_map(entry).collect();
        match path {
            Some(path) => *echo = format!("{echo} file {}", quoted(path)),
            None if entries.is_empty() => echo.push_str(" { }"),
            None => {
                echo.push_str(" {");
                for entry in &entries {
                    echo.push_str(if entry.negated { " !" } else { " " });
                    echo.push_str(&entry.prefix.to_string());
                }
                echo.push_str(" }");
            }
        }
        definition.entries.extend(entries);
        Ok(())
    }
}

fn entry(host: &Resolved) -> Option<TableEntry> {
    let prefix = match (&host.address, host.family) {
        (Address::Prefix(prefix), _) => *prefix,
        (Address::Any, Some(family)) => pf_engine::addr::Prefix::new(family.unspecified(), 0)?,
        _ => return None,
    };
    Some(TableEntry {
        prefix,
        negated: host.negated,
    })
}
