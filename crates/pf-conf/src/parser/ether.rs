//! `ether` rules, for a preview.

use super::{Parse, Parser};
use crate::ast::Statement;
use crate::diagnostic::Code;
use crate::print;
use crate::token::Kind;

impl Parser<'_> {
    /// `ether pass|block [in|out] [quick] [on interface] [from address] [to address] …`.
    pub(super) fn ether(&mut self) -> Parse<()> {
        self.next();
        let mut words = vec!["ether".to_owned()];
        for choice in [&["pass", "block", "match"][..], &["in", "out"], &["quick"]] {
            if let Some(word) = choice.iter().find(|word| self.at_word(word)) {
                self.next();
                words.push((*word).to_owned());
            }
        }
        if words.len() == 1 {
            return Err(self.unexpected("`pass`, `block` or `match`"));
        }
        if self.eat_word("on") {
            let interface = self.interface_name()?;
            let not = if interface.negated { "! " } else { "" };
            words.push(format!("on {not}{}", print::name(&interface.name)));
        }
        for side in ["from", "to"] {
            if self.eat_word(side) {
                words.push(format!("{side} {}", self.ether_address()?));
            }
        }
        self.ether_options(&mut words)?;
        self.statements.push(Statement::Ether(words.join(" ")));
        Ok(())
    }

    /// `[!] address`, `address/bits`, `address&mask`.
    fn ether_address(&mut self) -> Parse<String> {
        let not = if self.eat_symbol("!") { "! " } else { "" };
        let word = self.string("an Ethernet address")?;
        let valid = word.node.split('&').all(is_ether_address);
        if !valid || word.node.matches('&').count() > 1 {
            let message = "invalid mac address";
            return Err(self.error(Code::BadAddress, word.span, message, String::new()));
        }
        let mut text = format!("{not}{}", word.node);
        if self.eat_symbol("/") {
            text = format!("{text}/{}", self.number("a prefix length")?.node);
        }
        Ok(text)
    }

    fn ether_options(&mut self, words: &mut Vec<String>) -> Parse<()> {
        let (mut labels, mut identifier) = (Vec::new(), None);
        while !self.peek().ends_line() {
            let token = self.peek().clone();
            if self.eat_word("label") {
                let label = self.string("a label")?;
                labels.push(format!("label {}", print::quoted(&label.node)));
            } else if self.eat_word("ridentifier") {
                let number = self.number("a number")?.node;
                identifier = Some(format!("ridentifier {number}"));
            } else if self.at_word("l3") && self.lexer.peek_at(1).is_word("all") {
                self.next();
                self.next();
            } else if token.kind == Kind::Word {
                return Err(self.unsupported(&format!("ether {}", token.text), token.span));
            } else {
                return Err(self.unexpected("an option or the end of the line"));
            }
        }
        words.push("l3 all".to_owned());
        words.append(&mut labels);
        words.extend(identifier);
        Ok(())
    }
}

fn is_ether_address(text: &str) -> bool {
    let mut bytes = text.split(':');
    text.matches(':').count() == 5
        && bytes.all(|byte| {
            (1..=2).contains(&byte.len()) && byte.bytes().all(|b| b.is_ascii_hexdigit())
        })
}
