//! From words to tests.

use pf_engine::addr::Prefix;
use pf_engine::rule::Direction;

use super::lexer::{Token, tokens};
use super::{Arithmetic, Ends, Family, Filter, FilterError, Operator, Relation, Test, Variable};
use crate::text::{parse_prefix, protocol_number};

/// Parentheses and negations within each other.
const DEPTH_MAX: usize = 64;

/// What an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Host,
    Net,
    Port,
    Proto,
}

/// What stands before an id.
#[derive(Clone, Copy, Debug)]
struct Qualifiers {
    family: Option<Family>,
    ends: Ends,
    kind: Type,
}

/// Reads a filter. `resolve` tells the addresses of a name.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str, resolve: &dyn Fn(&str) -> Vec<Prefix>) -> Result<Filter, FilterError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        end: text.chars().count(),
        depth: 0,
        before: None,
        resolve,
    };
    let whole = parser.expression()?;
    match parser.tokens.get(parser.at) {
        None => Ok(Filter(whole)),
        Some(token) => Err(parser.error(format!("'{}' is not expected here", token.text))),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    end: usize,
    depth: usize,
    /// The qualifiers of the last id.
    before: Option<Qualifiers>,
    resolve: &'a dyn Fn(&str) -> Vec<Prefix>,
}

impl Parser<'_> {
    fn error(&self, message: String) -> FilterError {
        let at = self.tokens.get(self.at).map_or(self.end, |token| token.at);
        FilterError { at, message }
    }

    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(|token| token.text.as_str())
    }

    fn take(&mut self, any: &[&str]) -> bool {
        let taken = self.peek().is_some_and(|text| any.contains(&text));
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, sign: &str) -> Result<(), FilterError> {
        if self.take(&[sign]) {
            return Ok(());
        }
        Err(self.error(format!("'{sign}' is missing")))
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error(format!("more than {DEPTH_MAX} within each other")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Result<Test, FilterError> {
        let mut left = self.term()?;
        loop {
            let join = if self.take(&["and", "&&"]) {
                Test::And
            } else if self.take(&["or", "||"]) {
                Test::Or
            } else {
                return Ok(left);
            };
            let right = self.term()?;
            left = join(Box::new(left), Box::new(right));
        }
    }

    fn term(&mut self) -> Result<Test, FilterError> {
        if self.take(&["not", "!"]) {
            let test = self.deeper(Self::term)?;
            return Ok(Test::Not(Box::new(test)));
        }
        let start = self.at;
        if let Some(test) = self.comparison()? {
            return Ok(test);
        }
        self.at = start;
        if self.take(&["("]) {
            let test = self.deeper(Self::expression)?;
            self.expect(")")?;
            return Ok(test);
        }
        self.primitive()
    }

    /// Nothing where it is not one: the place is then undefined.
    fn comparison(&mut self) -> Result<Option<Test>, FilterError> {
        let Ok(left) = self.deeper(Self::sum) else {
            return Ok(None);
        };
        let relation = match self.peek() {
            Some(">") => Relation::Greater,
            Some(">=") => Relation::GreaterOrEqual,
            Some("=" | "==") => Relation::Equal,
            Some("!=") => Relation::Unequal,
            Some("<=") => Relation::LessOrEqual,
            Some("<") => Relation::Less,
            _ => return Ok(None),
        };
        self.at += 1;
        let right = self.deeper(Self::sum)?;
        Ok(Some(Test::Compare(relation, left, right)))
    }

    fn sum(&mut self) -> Result<Arithmetic, FilterError> {
        self.operators(0)
    }

    /// `|`, `&`, shifts, sums, products: from the loosest.
    fn operators(&mut self, level: usize) -> Result<Arithmetic, FilterError> {
        const LEVELS: [&[(&str, Operator)]; 5] = [
            &[("|", Operator::Or)],
            &[("&", Operator::And)],
            &[("<<", Operator::ShiftLeft), (">>", Operator::ShiftRight)],
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            &[("*", Operator::Multiply), ("/", Operator::Divide)],
        ];
        let Some(own) = LEVELS.get(level) else {
            return self.operand();
        };
        let mut left = self.operators(level + 1)?;
        while let Some((_, operator)) = own.iter().find(|(sign, _)| self.peek() == Some(sign)) {
            self.at += 1;
            let right = self.operators(level + 1)?;
            left = Arithmetic::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Arithmetic, FilterError> {
        if self.take(&["-"]) {
            let of = self.deeper(Self::operand)?;
            return Ok(Arithmetic::Negative(Box::new(of)));
        }
        if self.take(&["("]) {
            let inner = self.deeper(Self::sum)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let variable = match self.peek() {
            Some("inp") => Variable::PacketsIn,
            Some("outp") => Variable::PacketsOut,
            Some("inb") => Variable::BytesIn,
            Some("outb") => Variable::BytesOut,
            Some("age") => Variable::Age,
            Some("exp") => Variable::Expires,
            word => {
                let value = word.and_then(number);
                let value = value.ok_or_else(|| self.error("a number is missing".into()))?;
                self.at += 1;
                return Ok(Arithmetic::Number(value));
            }
        };
        self.at += 1;
        Ok(Arithmetic::Variable(variable))
    }

    fn primitive(&mut self) -> Result<Test, FilterError> {
        if self.take(&["in", "inbound"]) {
            return Ok(Test::Direction(Direction::In));
        }
        if self.take(&["out", "outbound"]) {
            return Ok(Test::Direction(Direction::Out));
        }
        if self.take(&["rnr", "rulenum"]) {
            let rule = self.word("the number of a rule")?;
            let rule = rule
                .parse()
                .map_err(|_| self.behind("no number of a rule"))?;
            return Ok(Test::Rule(rule));
        }
        if self.take(&["ifname", "on"]) {
            return Ok(Test::Interface(self.word("the name of an interface")?));
        }
        let start = self.at;
        let Some(qualifiers) = self.qualifiers()? else {
            return self.bare();
        };
        let Qualifiers { family, kind, .. } = qualifiers;
        let alone = self.at == start + 1 && kind == Type::Host;
        if let Some(family) = family.filter(|_| alone && !self.is_id()) {
            return Ok(Test::Family(family));
        }
        self.before = Some(qualifiers);
        self.ids(qualifiers)
    }

    /// An id without qualifiers has those of the one before, or is a host.
    fn bare(&mut self) -> Result<Test, FilterError> {
        let host = Qualifiers {
            family: None,
            ends: Ends::Any,
            kind: Type::Host,
        };
        let qualifiers = self.before.unwrap_or(host);
        self.ids(qualifiers)
    }

    /// `[proto] [dir] [type]`; nothing where there is none of them.
    fn qualifiers(&mut self) -> Result<Option<Qualifiers>, FilterError> {
        let start = self.at;
        let family = self.family();
        let ends = self.ends()?;
        let kind = match self.peek() {
            Some("host") => Some(Type::Host),
            Some("net") => Some(Type::Net),
            Some("port") => Some(Type::Port),
            Some("proto") => Some(Type::Proto),
            _ => None,
        };
        self.at += usize::from(kind.is_some());
        let some = self.at > start;
        Ok(some.then(|| Qualifiers {
            family,
            ends: ends.unwrap_or(Ends::Any),
            kind: kind.unwrap_or(Type::Host),
        }))
    }

    fn family(&mut self) -> Option<Family> {
        let family = match self.peek()? {
            "ip" => Family::V4,
            "ip6" => Family::V6,
            "tcp" => Family::Protocol(6),
            "udp" => Family::Protocol(17),
            "icmp" => Family::Protocol(1),
            "icmp6" => Family::Protocol(58),
            "ah" => Family::Protocol(51),
            "esp" => Family::Protocol(50),
            "gre" => Family::Protocol(47),
            "sctp" => Family::Protocol(132),
            "carp" => Family::Protocol(112),
            "pfsync" => Family::Protocol(240),
            _ => return None,
        };
        self.at += 1;
        Some(family)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "as its neighbours: each part of the grammar may fail"
    )]
    fn ends(&mut self) -> Result<Option<Ends>, FilterError> {
        let first = match self.peek() {
            Some("src") => Ends::Source,
            Some("dst") => Ends::Destination,
            Some("gw" | "gateway") => Ends::Gateway,
            _ => return Ok(None),
        };
        self.at += 1;
        let other = match first {
            Ends::Source => "dst",
            Ends::Destination => "src",
            Ends::Gateway | Ends::SourceOrDestination | Ends::SourceAndDestination | Ends::Any => {
                return Ok(Some(first));
            }
        };
        let join = self.peek().map(str::to_owned);
        let second = self
            .tokens
            .get(self.at + 1)
            .map(|token| token.text.as_str());
        let both = match join.as_deref() {
            Some("or" | "||") if second == Some(other) => Ends::SourceOrDestination,
            Some("and" | "&&") if second == Some(other) => Ends::SourceAndDestination,
            _ => return Ok(Some(first)),
        };
        self.at += 2;
        Ok(Some(both))
    }

    /// Whether an id or a list of ids follows.
    fn is_id(&self) -> bool {
        match self.peek() {
            None => false,
            Some("(") => true,
            Some(word) => !["and", "or", "&&", "||", ")", "not", "!"].contains(&word),
        }
    }

    /// An id, or several with `and` and `or` in parentheses.
    fn ids(&mut self, qualifiers: Qualifiers) -> Result<Test, FilterError> {
        if matches!(self.peek(), Some("not" | "!")) {
            return self.negatable(qualifiers);
        }
        if !self.take(&["("]) {
            return self.id(qualifiers);
        }
        let test = self.deeper(|parser| {
            let mut left = parser.negatable(qualifiers)?;
            loop {
                let join = if parser.take(&["and", "&&"]) {
                    Test::And
                } else if parser.take(&["or", "||"]) {
                    Test::Or
                } else {
                    return Ok(left);
                };
                let right = parser.negatable(qualifiers)?;
                left = join(Box::new(left), Box::new(right));
            }
        })?;
        self.expect(")")?;
        Ok(test)
    }

    fn negatable(&mut self, qualifiers: Qualifiers) -> Result<Test, FilterError> {
        if self.take(&["not", "!"]) {
            let test = self.deeper(|parser| parser.negatable(qualifiers))?;
            return Ok(Test::Not(Box::new(test)));
        }
        self.deeper(|parser| parser.ids(qualifiers))
    }

    fn id(&mut self, qualifiers: Qualifiers) -> Result<Test, FilterError> {
        let Qualifiers { family, ends, kind } = qualifiers;
        let test = match kind {
            Type::Port => {
                let word = self.word("a port")?;
                let port = word.parse().ok();
                Test::Port(
                    ends,
                    port.ok_or_else(|| self.behind("no number of a port"))?,
                )
            }
            Type::Proto => {
                let word = self.word("a protocol")?;
                let number = protocol_number(&word);
                let number = number.ok_or_else(|| self.behind("no protocol"))?;
                Test::Family(Family::Protocol(number))
            }
            Type::Host | Type::Net => {
                let what = if kind == Type::Net {
                    "a network"
                } else {
                    "a host"
                };
                let word = self.word(what)?;
                Test::Address(ends, self.addresses(&word, kind)?)
            }
        };
        Ok(match family {
            Some(family) => Test::And(Box::new(Test::Family(family)), Box::new(test)),
            None => test,
        })
    }

    fn addresses(&self, word: &str, kind: Type) -> Result<Vec<Prefix>, FilterError> {
        if let Some(prefix) = parse_prefix(word).or_else(|| short_network(word, kind)) {
            return Ok(vec![prefix]);
        }
        let found = (self.resolve)(word);
        if found.is_empty() {
            return Err(self.behind("no address, no keyword and no name of a host"));
        }
        Ok(found)
    }

    fn word(&mut self, what: &str) -> Result<String, FilterError> {
        let is_word = |text: &&str| {
            let first = text.chars().next();
            first.is_some_and(|first| first.is_ascii_alphanumeric() || first == ':')
        };
        let word = self.peek().filter(is_word).map(str::to_owned);
        let word = word.filter(|word| word != "and" && word != "or" && word != "not");
        let word = word.ok_or_else(|| self.error(format!("{what} is missing")))?;
        self.at += 1;
        Ok(word)
    }

    /// About the word that has just been taken.
    fn behind(&self, what: &str) -> FilterError {
        let token = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let (at, text) = token.map_or((0, ""), |token| (token.at, token.text.as_str()));
        FilterError {
            at,
            message: format!("'{text}' is {what}"),
        }
    }
}

/// Decimal, or with `0x`.
fn number(word: &str) -> Option<i64> {
    match word.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// `net 10` and `net 192.168`, as tcpdump reads them.
fn short_network(word: &str, kind: Type) -> Option<Prefix> {
    let octets = word.split('.').count();
    if kind != Type::Net || octets > 3 {
        return None;
    }
    let rest = ".0".repeat(4 - octets);
    parse_prefix(&format!("{word}{rest}/{}", 8 * octets))
}
