//! Rulesets as pf.conf.

use std::fmt::{Display, Formatter, Result};

use super::language::*;

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let policy = if self.if_bound {
            "if-bound"
        } else {
            "floating"
        };
        writeln!(f, "set state-policy {policy}")?;
        write!(f, "set timeout {{ interval 1")?;
        for (timeout, seconds) in Timeout::ALL.iter().zip(self.timeouts) {
            write!(f, " {} {seconds}", timeout.name())?;
        }
        writeln!(f, " }}")?;
        for (name, entries) in TABLES.iter().zip(&self.tables) {
            write!(f, "table <{name}> persist {{")?;
            for (negated, (address, length)) in entries {
                write!(f, " {}{address}/{length}", not(*negated))?;
            }
            writeln!(f, " }}")?;
        }
        for translation in &self.translations {
            writeln!(f, "{translation}")?;
        }
        write_items(f, &self.items, 0, "")
    }
}

/// Anchors are called by their place, so that each has a name of its own.
fn write_items(f: &mut Formatter<'_>, items: &[Item], depth: usize, prefix: &str) -> Result {
    let indent = "\t".repeat(depth);
    for (place, item) in items.iter().enumerate() {
        match item {
            Item::Rule(rule) => writeln!(f, "{indent}{rule}")?,
            Item::Binat {
                on,
                inside,
                outside,
            } => writeln!(
                f,
                "{indent}match on {on} inet from {inside} to any binat-to {outside}"
            )?,
            Item::Anchor {
                quick,
                question,
                items,
            } => {
                let name = format!("{prefix}a{place}");
                write!(f, "{indent}anchor \"{name}\"")?;
                write_question(f, question, *quick)?;
                writeln!(f, " {{")?;
                write_items(f, items, depth + 1, "")?;
                writeln!(f, "{indent}}}")?;
            }
        }
    }
    Ok(())
}

const fn not(negated: bool) -> &'static str {
    if negated { "! " } else { "" }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// With `quick`, which stands behind the direction.
fn write_question(f: &mut Formatter<'_>, question: &Question, quick: bool) -> Result {
    match question.direction {
        Some(Direction::In) => f.write_str(" in")?,
        Some(Direction::Out) => f.write_str(" out")?,
        None => {}
    }
    if quick {
        f.write_str(" quick")?;
    }
    if let Some((negated, on)) = question.on {
        write!(f, " on {}{on}", not(negated))?;
    }
    f.write_str(" inet")?;
    if let Some(protocol) = question.protocol {
        write!(f, " proto {protocol}")?;
    }
    write!(f, " from {} to {}", question.source, question.destination)
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(not(self.negated))?;
        match self.address {
            Address::Any => f.write_str("any")?,
            Address::Network((address, length)) => write!(f, "{address}/{length}")?,
            Address::Range(first, last) => write!(f, "{first} - {last}")?,
            Address::Table(number) => write!(f, "<{}>", TABLES[number])?,
        }
        match self.ports {
            None => Ok(()),
            Some(Ports::Equal(port)) => write!(f, " port {port}"),
            Some(Ports::Unequal(port)) => write!(f, " port != {port}"),
            Some(Ports::Less(port)) => write!(f, " port < {port}"),
            Some(Ports::AtMost(port)) => write!(f, " port <= {port}"),
            Some(Ports::Greater(port)) => write!(f, " port > {port}"),
            Some(Ports::AtLeast(port)) => write!(f, " port >= {port}"),
            Some(Ports::From(a, b)) => write!(f, " port {a}:{b}"),
            Some(Ports::Between(a, b)) => write!(f, " port {a} >< {b}"),
            Some(Ports::Except(a, b)) => write!(f, " port {a} <> {b}"),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self.verb {
            Verb::Pass => "pass",
            Verb::Block => "block drop",
            Verb::Match => "match",
        })?;
        write_question(f, &self.question, self.quick)?;
        match self.flags {
            Some((set, mask)) => write!(f, " flags {}/{}", letters(set), letters(mask))?,
            None if self.verb == Verb::Pass => f.write_str(" flags any")?,
            None => {}
        }
        if let Some((negated, tag)) = self.tagged {
            write!(f, " {}tagged {tag}", not(negated))?;
        }
        if self.verb == Verb::Pass {
            match &self.keep {
                Some(keep) => write!(f, " {keep}")?,
                None => f.write_str(" no state")?,
            }
        }
        if let Some(tag) = self.tag {
            write!(f, " tag {tag}")?;
        }
        if let Some(tos) = self.set_tos {
            write!(f, " set (tos {tos:#x})")?;
        }
        if let Some(prio) = self.set_prio {
            write!(f, " set (prio {prio})")?;
        }
        self.to.map_or(Ok(()), |to| write!(f, " {to}"))
    }
}

fn letters(flags: u8) -> String {
    let all = "FSRPAUEW".chars().enumerate();
    all.filter_map(|(bit, letter)| (flags >> bit & 1 == 1).then_some(letter))
        .collect()
}

impl Display for Keep {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.modulate {
            "modulate state"
        } else {
            "keep state"
        })?;
        let mut options = Vec::new();
        options.extend(self.max.map(|max| format!("max {max}")));
        options.extend(self.bound.map(|bound| {
            let policy = if bound { "if-bound" } else { "floating" };
            policy.to_owned()
        }));
        options.extend(self.sloppy.then(|| "sloppy".to_owned()));
        if let Some(tracking) = &self.tracking {
            let scope = if tracking.global { "global" } else { "rule" };
            options.push(format!("source-track {scope}"));
            options.extend(tracking.max_nodes.map(|n| format!("max-src-nodes {n}")));
            options.extend(tracking.max_states.map(|n| format!("max-src-states {n}")));
        }
        let timeouts = self.timeouts.iter();
        options.extend(timeouts.map(|(timeout, seconds)| format!("{} {seconds}", timeout.name())));
        if options.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", options.join(", "))
    }
}

impl Display for To {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Nat {
                address,
                static_port,
            } => write!(f, "nat-to {address}{}", static_word(*static_port)),
            Self::Rdr { address, port } => {
                write!(f, "rdr-to {address}")?;
                port.map_or(Ok(()), |port| write!(f, " port {port}"))
            }
        }
    }
}

const fn static_word(is_static: bool) -> &'static str {
    if is_static { " static-port" } else { "" }
}

impl Display for Translation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.no {
            f.write_str("no ")?;
        }
        f.write_str(match self.kind {
            Kind::Nat => "nat",
            Kind::Rdr => "rdr",
            Kind::Binat => "binat",
        })?;
        if self.pass {
            f.write_str(" pass")?;
        }
        write!(f, " on {}{} inet", not(self.on.0), self.on.1)?;
        if let Some(protocol) = self.protocol {
            write!(f, " proto {protocol}")?;
        }
        write!(f, " from {} to {}", self.source, self.destination)?;
        if self.no {
            return Ok(());
        }
        write!(f, " -> {}", self.address)?;
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        f.write_str(static_word(self.static_port))
    }
}
