//! `ether` rules (FreeBSD's pf.conf(5), ETHERNET FILTERING).

use pf_engine::ether::{EtherAction, MacMatch};
use pf_engine::rule::Direction;

use super::{Bail, Braces, Parse, Parser};
use crate::ast::{AnchorName, EtherStatement, RuleStatement, Statement, Verb};
use crate::diagnostic::Code;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// `ether pass|block|anchor [in|out] [quick] [on interface] [bridge-to interface] [proto N]
    /// [from address] [to address] [l3 …] …`.
    pub(super) fn ether(&mut self) -> Parse<()> {
        let keyword = self.next();
        let mut ether = EtherStatement::new(RuleStatement::new(Verb::Pass, keyword.span));
        let anchor = self.eat_word("anchor");
        let mut name = None;
        if !anchor {
            ether.action = self.ether_action()?;
        } else if !self.at_word("l3") {
            name = self.anchor_name()?;
        }
        self.ether_place(&mut ether, anchor)?;
        self.ether_criteria(&mut ether)?;
        while !anchor && !self.peek().ends_line() {
            self.ether_option(&mut ether.rule)?;
        }
        if anchor {
            let number = self.anchors + usize::from(self.at_symbol("{"));
            self.anchors = number;
            ether.rule.body = self.inline_body(name.as_ref(), keyword.span, Braces::Frames)?;
            let inline = ether.rule.body.is_some();
            let name = name.map_or_else(|| format!("_{number}"), |name| name.node);
            ether.rule.anchor = Some(AnchorName { name, inline });
        }
        self.statements.push(Statement::Ether(Box::new(ether)));
        Ok(())
    }

    fn ether_action(&mut self) -> Parse<EtherAction> {
        if self.eat_word("pass") {
            return Ok(EtherAction::Pass);
        }
        if self.eat_word("block") {
            self.eat_word("drop");
            return Ok(EtherAction::Block);
        }
        if self.at_word("match") {
            return Err(self.ether_match());
        }
        Err(self.unexpected("`pass`, `block` or `anchor`"))
    }

    fn ether_match(&mut self) -> Bail {
        let token = self.next();
        let detail = "PF drops a frame if the last `ether` rule that matches is one".to_owned();
        let message = "not supported: ether match";
        let bail = self.error(Code::NotSupported, token.span, message, detail);
        if let Some(error) = self.lexer.errors.last_mut() {
            error.hint = Some("an `ether pass` that others follow gives a tag, too".to_owned());
        }
        bail
    }

    /// Direction, `quick`, interfaces.
    fn ether_place(&mut self, ether: &mut EtherStatement, anchor: bool) -> Parse<()> {
        if self.eat_word("in") {
            ether.rule.direction = Some(Direction::In);
        } else if self.eat_word("out") {
            ether.rule.direction = Some(Direction::Out);
        }
        ether.rule.quick = self.eat_word("quick");
        self.on(&mut ether.rule)?;
        if !anchor && self.eat_word("bridge-to") {
            ether.bridge_to = Some(self.string("an interface name")?.node);
        }
        Ok(())
    }

    /// Types and addresses.
    fn ether_criteria(&mut self, ether: &mut EtherStatement) -> Parse<()> {
        if self.eat_word("proto") {
            self.list("a protocol", &mut |parser| {
                ether.types.push(parser.ether_type()?);
                Ok(())
            })?;
        }
        if !self.eat_word("all") {
            for (word, macs) in [
                ("from", &mut ether.sources),
                ("to", &mut ether.destinations),
            ] {
                if self.eat_word(word) {
                    self.list("an Ethernet address", &mut |parser| {
                        macs.extend(parser.ether_address()?);
                        Ok(())
                    })?;
                }
            }
        }
        if self.eat_word("l3") {
            self.addresses(&mut ether.rule)?;
        }
        Ok(())
    }

    /// A number (`0x0800`).
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
        // PF takes 0 for none.
        number.filter(|number| *number != 0).ok_or_else(|| {
            let message = format!("unknown protocol {}", token.text);
            self.error(Code::BadNumber, token.span, &message, String::new())
        })
    }

    /// `[!] address`, `address/bits`, `address&mask`; nothing for `any`.
    fn ether_address(&mut self) -> Parse<Option<MacMatch>> {
        let negated = self.eat_symbol("!");
        if !negated && self.eat_word("any") {
            return Ok(None);
        }
        let word = self.string("an Ethernet address")?;
        let (address, mask) = match word.node.split_once('&') {
            Some((address, mask)) => (mac(address), mac(mask)),
            None => (mac(&word.node), Some([0xff; 6])),
        };
        let (Some(address), Some(mut mask)) = (address, mask) else {
            let message = "invalid mac address";
            return Err(self.error(Code::BadAddress, word.span, message, String::new()));
        };
        if self.eat_symbol("/") {
            let bits = self.number("a prefix length")?;
            if bits.node > ETHER_ADDRESS_BITS {
                let detail = format!("at most /{ETHER_ADDRESS_BITS}");
                let message = "invalid mac address";
                return Err(self.error(Code::BadAddress, bits.span, message, detail));
            }
            mask = mask_of(bits.node);
        }
        Ok(Some(MacMatch {
            negated,
            address,
            mask,
        }))
    }

    fn ether_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let token: Token = self.peek().clone();
        match token.text.as_ref() {
            "label" => self.label(rule),
            "tag" => self.tag(rule),
            "tagged" => self.tagged(rule, false),
            "!" => {
                self.next();
                if self.at_word("tagged") {
                    return self.tagged(rule, true);
                }
                Err(self.unexpected("`tagged`"))
            }
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

/// The mask with so many bits at its beginning, at most [`ETHER_ADDRESS_BITS`].
fn mask_of(bits: u32) -> [u8; 6] {
    let ones = !u64::MAX.checked_shr(bits).unwrap_or(0);
    let [mask @ .., _, _] = ones.to_be_bytes();
    mask
}

/// Six bytes of one or two hexadecimal digits.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut bytes = text.split(':');
    for byte in &mut address {
        let digits = bytes.next()?;
        let is_byte =
            (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_byte)?;
    }
    bytes.next().is_none().then_some(address)
}
