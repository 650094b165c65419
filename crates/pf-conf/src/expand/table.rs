//! `table <name> …`.

use pf_engine::rule::Address;
use pf_engine::ruleset::{TableDefinition, TableEntry};

use super::host::Resolved;
use super::{Expand, Expander};
use crate::ast::{TableContents, TableStatement};
use crate::echo::Topic;
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
        let mut before: Option<&TableContents> = None;
        for contents in &table.contents {
            // Lists in a row are printed as one.
            if let (Some(TableContents::Inline(_)), TableContents::Inline(_)) = (before, contents)
                && let Some(open) = echo.strip_suffix(" }")
            {
                echo.truncate(open.len());
                self.table_contents(contents, &mut definition, &mut echo, "")?;
            } else {
                self.table_contents(contents, &mut definition, &mut echo, " {")?;
            }
            before = Some(contents);
        }
        self.tell(Topic::Tables, echo);
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
        brace: &str,
    ) -> Expand<()> {
        let (hosts, path) = match contents {
            TableContents::Inline(hosts) => (hosts, None),
            TableContents::File { path, hosts } => (hosts, Some(path)),
        };
        let mut resolved = Vec::new();
        for host in hosts {
            let before = resolved.len();
            self.host(host, &mut resolved)?;
            self.check_netmask(resolved.iter().skip(before), host.span)?;
        }
        let entries: Vec<TableEntry> = resolved.iter().filter_map(entry).collect();
        if let Some(path) = path {
            *echo = format!("{echo} file {}", quoted(path));
        } else {
            echo.push_str(brace);
            for entry in &entries {
                echo.push_str(if entry.negated { " !" } else { " " });
                echo.push_str(&entry.prefix.to_string());
            }
            echo.push_str(" }");
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
