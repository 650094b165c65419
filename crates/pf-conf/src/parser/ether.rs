//! `ether` rules, for a preview.

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Statement, Verb};
use crate::diagnostic::Code;
use crate::extras::Slot;
use crate::print;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// `ether pass|block|match|anchor [in|out] [quick] [on interface] [bridge-to interface]
    /// [proto N] [from address] [to address] [l3 …] …`.
    pub(super) fn ether(&mut self) -> Parse<()> {
        let keyword = self.next();
        let mut words = vec!["ether".to_owned()];
        let anchor = self.at_word("anchor");
        let name = if anchor {
            self.next();
            self.anchor_name()?
        } else {
            None
        };
        words.push(match &name {
            Some(name) => format!("anchor {}", print::quoted(&name.node)),
            None if anchor => "anchor".to_owned(),
            None => self.ether_action()?,
        });
        for choice in [&["in", "out"][..], &["quick"]] {
            if let Some(word) = choice.iter().find(|word| self.at_word(word)) {
                self.next();
                words.push((*word).to_owned());
            }
        }
        if self.eat_word("on") {
            let interface = self.interface_name()?;
            let not = if interface.negated { "! " } else { "" };
            words.push(format!("on {not}{}", print::name(&interface.name)));
        }
        if self.eat_word("bridge-to") {
            let interface = self.string("an interface name")?;
            words.push(format!("bridge-to {}", print::name(&interface.node)));
        }
        if self.eat_word("proto") {
            words.push(format!("proto 0x{:04x}", self.ether_type()?));
        }
        for side in ["from", "to"] {
            if self.eat_word(side) {
                words.push(format!("{side} {}", self.ether_address()?));
            }
        }
        words.push("l3".to_owned());
        let mut rule = RuleStatement::new(Verb::Ether, keyword.span);
        rule.extras.push(Slot::Action, words.join(" "));
        if self.eat_word("l3") {
            self.addresses(&mut rule)?;
        }
        while !anchor && !self.peek().ends_line() {
            self.ether_option(&mut rule)?;
        }
        if anchor {
            rule.body = self.inline_body(name.as_ref(), keyword.span)?;
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    fn ether_action(&mut self) -> Parse<String> {
        for word in ["pass", "block", "match"] {
            if self.eat_word(word) {
                return Ok(word.to_owned());
            }
        }
        Err(self.unexpected("`pass`, `block`, `match` or `anchor`"))
    }

    /// A number (`0x0800`), or one of the names that FreeBSD knows (ethers of the base system).
    fn ether_type(&mut self) -> Parse<u16> {
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Number) {
            return Err(self.unexpected("a protocol"));
        }
        self.next();
        let number = match token.text.strip_prefix("0x") {
            None => token.text.parse().ok(),
            Some(hex) => u16::from_str_radix(hex, 16).ok(),
        };
        number.ok_or_else(|| {
            let message = format!("unknown protocol {}", token.text);
            self.error(Code::BadNumber, token.span, &message, String::new())
        })
    }

    /// `[!] address`, `address/bits`, `address&mask`.
    fn ether_address(&mut self) -> Parse<String> {
        let not = if self.eat_symbol("!") { "! " } else { "" };
        if self.eat_word("any") {
            return Ok(format!("{not}any"));
        }
        let word = self.string("an Ethernet address")?;
        let valid = word.node.split('&').all(is_ether_address);
        if !valid || word.node.matches('&').count() > 1 {
            let message = "invalid mac address";
            return Err(self.error(Code::BadAddress, word.span, message, String::new()));
        }
        let mut text = format!("{not}{}", word.node);
        if self.eat_symbol("/") {
            let bits = self.number("a prefix length")?;
            if bits.node > ETHER_ADDRESS_BITS {
                let detail = format!("at most /{ETHER_ADDRESS_BITS}");
                let message = "invalid mac address";
                return Err(self.error(Code::BadAddress, bits.span, message, detail));
            }
            text = format!("{text}/{}", bits.node);
        }
        Ok(text)
    }

    fn ether_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let token: Token = self.peek().clone();
        match token.text.as_ref() {
            "label" => self.label(rule),
            "tag" => self.tag(rule),
            "tagged" => self.tagged(rule, false),
            "!" => self.negated_option(rule),
            other if ETHER_OPTIONS.contains(&other) => self
                .beyond_option(rule, &token)
                .unwrap_or_else(|| Err(self.unexpected("an option"))),
            _ => Err(self.unexpected("an option or the end of the line")),
        }
    }
}

/// Longest prefix of an Ethernet address.
const ETHER_ADDRESS_BITS: u32 = 48;

/// Options of other rules that `ether` rules have too.
const ETHER_OPTIONS: &[&str] = &["queue", "ridentifier", "dnpipe", "dnqueue"];

fn is_ether_address(text: &str) -> bool {
    let mut bytes = text.split(':');
    text.matches(':').count() == 5
        && bytes.all(|byte| {
            (1..=2).contains(&byte.len()) && byte.bytes().all(|b| b.is_ascii_hexdigit())
        })
}
