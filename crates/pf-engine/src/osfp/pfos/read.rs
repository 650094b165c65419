//! The text of pf.os (pf.os(5)).

use std::ops::Range;

use super::load::{Loader, TooMany};
use super::matching::{Number, Shape, Window};
use super::{Fingerprints, MAX_ENTRIES, System};
use crate::osfp::features::PfOptions;
use crate::wire::option_kind;

/// Longest packet that a signature may ask for (pfctl's limit).
const MAX_SIZE: u32 = 8192;
/// Options that fit into PF's 64 bits.
const MAX_OPTIONS: u8 = 21;
/// Errors that are reported of one file.
const MAX_ERRORS: usize = 50;
/// How much longer the fixed IPv6 header is than the one of IPv4.
const INET6_LONGER: u32 = 20;
/// Fields of a line, as they are called in messages.
const FIELDS: [&str; 9] = [
    "window size",
    "TTL",
    "don't fragment flag",
    "packet size",
    "TCP options",
    "OS class",
    "OS version",
    "OS subtype",
    "OS description",
];

/// What is wrong with a pf.os, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

/// A piece of the text and where it begins.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    /// Without white space at its ends.
    fn trimmed(self) -> Self {
        let text = self.text.trim_start();
        let cut = self.text.len().saturating_sub(text.len());
        Self {
            text: text.trim_end(),
            at: self.at.saturating_add(cut),
        }
    }

    /// Its pieces between `separator`s.
    fn split(self, separator: char) -> impl Iterator<Item = Piece<'a>> {
        self.text.split(separator).scan(self.at, |next, text| {
            let at = *next;
            *next = at.saturating_add(text.len()).saturating_add(1);
            Some(Piece { text, at })
        })
    }

    /// Without its first `bytes` bytes.
    fn skip(self, bytes: usize) -> Self {
        Self {
            text: self.text.get(bytes..).unwrap_or_default(),
            at: self.at.saturating_add(bytes),
        }
    }

    fn error(self, message: String) -> ReadError {
        ReadError {
            span: self.at..self.at.saturating_add(self.text.len()),
            message,
        }
    }
}

impl Fingerprints {
    /// Reads a pf.os. Every line is loaded twice, for IPv4, and for IPv6 with a longer packet and
    /// "don't fragment", as pfctl does; ranges of versions and subtypes are expanded.
    ///
    /// # Errors
    /// What is wrong with its lines, the first fifty. pfctl leaves such lines out with a warning.
    pub fn read(text: &str) -> Result<Self, Vec<ReadError>> {
        let mut loader = Loader::default();
        let mut errors = Vec::new();
        for line in (Piece { text, at: 0 }).split('\n') {
            let code = line.split('#').next().unwrap_or(line).trimmed();
            if !code.text.is_empty()
                && errors.len() < MAX_ERRORS
                && let Err(error) = read_line(&mut loader, code)
            {
                errors.push(error);
            }
        }
        if errors.is_empty() {
            Ok(loader.finish())
        } else {
            Err(errors)
        }
    }
}

fn read_line(loader: &mut Loader, line: Piece<'_>) -> Result<(), ReadError> {
    let mut fields = line.split(':').map(Piece::trimmed);
    let mut next = |name: &str| {
        let missing = || line.error(format!("the line ends before its {name}"));
        fields.next().ok_or_else(missing)
    };
    let [
        window,
        ttl,
        df,
        size,
        options,
        class,
        version,
        subtype,
        details,
    ] = FIELDS.map(&mut next);
    let mut shape = shape(window?, ttl?, df?, size?)?;
    read_options(options?, &mut shape)?;
    let system = system(class?, version?, subtype?)?;
    details?;
    if let Some(excess) = fields.next() {
        return Err(excess.error("excess field".to_owned()));
    }
    let inet6 = Shape {
        dont_fragment: true,
        size: shape.size.longer(INET6_LONGER),
        inet6: true,
        ..shape
    };
    let too_many = |_| line.error(format!("more than {MAX_ENTRIES} fingerprints"));
    expand(loader, shape, &system).map_err(too_many)?;
    expand(loader, inet6, &system).map_err(too_many)
}

/// Adds the members of ranges, then the range itself, which is a name as well.
fn expand(loader: &mut Loader, shape: Shape, system: &System) -> Result<(), TooMany> {
    for version in range(system.version.as_deref()) {
        let one = System {
            version: Some(version),
            ..system.clone()
        };
        expand(loader, shape, &one)?;
    }
    for subtype in range(system.subtype.as_deref()) {
        let one = System {
            subtype: Some(subtype),
            ..system.clone()
        };
        loader.add(shape, one)?;
    }
    loader.add(shape, system.clone())
}

fn shape(
    window: Piece<'_>,
    ttl: Piece<'_>,
    df: Piece<'_>,
    size: Piece<'_>,
) -> Result<Shape, ReadError> {
    let [window_name, ttl_name, df_name, size_name, ..] = FIELDS;
    Ok(Shape {
        window: read_window(window, window_name)?,
        ttl: plain(ttl, ttl_name, u32::from(u8::MAX))?
            .try_into()
            .unwrap_or(u8::MAX),
        dont_fragment: plain(df, df_name, 1)? == 1,
        size: number(size, size_name, MAX_SIZE)?,
        options: PfOptions::default(),
        mss: Number::Any,
        window_scale: Number::Any,
        inet6: false,
    })
}

fn read_window(field: Piece<'_>, name: &str) -> Result<Window, ReadError> {
    let most = u32::from(u16::MAX);
    let times = |field: Piece<'_>| {
        // pfctl reads a lone letter as zero times.
        if field.text.len() == 1 {
            return Ok(0);
        }
        let times = plain(field.skip(1), name, most)?;
        Ok(u16::try_from(times).unwrap_or(u16::MAX))
    };
    match field.text.chars().next() {
        Some('S') => times(field).map(Window::OfMss),
        Some('T') => times(field).map(Window::OfMtu),
        _ => number(field, name, most).map(Window::Number),
    }
}

/// `n`, `*` or `%n`.
fn number(field: Piece<'_>, name: &str, most: u32) -> Result<Number, ReadError> {
    match field.text.chars().next() {
        Some('*') if field.text.len() == 1 => Ok(Number::Any),
        Some('*') => Err(field.error(format!("a `*` {name} is nothing but `*`"))),
        Some('%') if field.text.len() == 1 => {
            Err(field.error(format!("modulus {name} must have a value")))
        }
        Some('%') => plain(field.skip(1), name, most).map(Number::MultipleOf),
        _ => plain(field, name, most).map(Number::Exactly),
    }
}

fn plain(field: Piece<'_>, name: &str, most: u32) -> Result<u32, ReadError> {
    if field.text.is_empty() {
        return Err(field.error(format!("empty {name}")));
    }
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if !field.text.bytes().all(is_digit) {
        return Err(field.error(format!("non-digit character in {name}")));
    }
    let value = field.text.parse::<u32>().ok();
    let value = value.filter(|&value| value <= most);
    value.ok_or_else(|| field.error(format!("{name} is greater than {most}")))
}

/// `.`, or options with commas between.
fn read_options(field: Piece<'_>, shape: &mut Shape) -> Result<(), ReadError> {
    if field.text.is_empty() {
        return Err(field.error("empty TCP options; `.` stands for none".to_owned()));
    }
    if field.text == "." {
        return Ok(());
    }
    let field = Piece {
        text: field.text.strip_suffix(',').unwrap_or(field.text),
        ..field
    };
    for option in field.split(',').map(Piece::trimmed) {
        if shape.options.count >= MAX_OPTIONS {
            return Err(option.error(format!("more than {MAX_OPTIONS} TCP options")));
        }
        read_option(option, shape)?;
    }
    Ok(())
}

fn read_option(option: Piece<'_>, shape: &mut Shape) -> Result<(), ReadError> {
    let unknown = || option.error(format!("unknown TCP option `{}`", option.text));
    let letter = option.text.chars().next().ok_or_else(unknown)?;
    let value = option.skip(letter.len_utf8());
    let kind = match (letter.to_ascii_uppercase(), value.text) {
        ('N', "") => option_kind::NOP,
        ('S', "") => option_kind::SACK_PERMITTED,
        ('T', "") => option_kind::TIMESTAMPS,
        ('T', "0") => {
            shape.options.zero_timestamp = true;
            option_kind::TIMESTAMPS
        }
        ('M', _) => {
            shape.mss = number(value, "MSS", u32::from(u16::MAX))?;
            option_kind::MSS
        }
        ('W', _) => {
            shape.window_scale = number(value, "window scale", u32::from(u8::MAX))?;
            option_kind::WINDOW_SCALE
        }
        _ => return Err(unknown()),
    };
    shape
        .options
        .push(PfOptions::code(kind).ok_or_else(unknown)?);
    Ok(())
}

/// `@` before a class says that the signature is a guess, `*` that it is of no system but of a
/// tool. PF keeps both and looks at neither.
fn system(class: Piece<'_>, version: Piece<'_>, subtype: Piece<'_>) -> Result<System, ReadError> {
    let name = class.text.strip_prefix(['@', '*']).unwrap_or(class.text);
    if name.is_empty() {
        return Err(class.error("empty OS class".to_owned()));
    }
    if ["nomatch", "unknown", "any"]
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        let message = format!("fingerprint class \"{name}\" is reserved");
        return Err(class.error(message));
    }
    let part = |field: Piece<'_>| (!field.text.is_empty()).then(|| field.text.to_owned());
    let version = part(version);
    Ok(System {
        class: name.to_owned(),
        subtype: version.as_ref().and_then(|_| part(subtype)),
        version,
    })
}

/// The members of `a-b` or `m.a-m.b`: up to two digits, then up to three; `m` is one digit.
fn range(name: Option<&str>) -> impl Iterator<Item = String> {
    let bounds = name.and_then(bounds);
    let (major, first, last) = bounds.unwrap_or(("", 1, 0));
    let major = major.to_owned();
    (first..=last).map(move |number| format!("{major}{number}"))
}

fn bounds(name: &str) -> Option<(&str, u32, u32)> {
    let (first, last) = name.split_once('-')?;
    let major = match first.as_bytes() {
        [digit, b'.', ..] if digit.is_ascii_digit() => first.get(..2)?,
        _ => "",
    };
    let first = digits(first.strip_prefix(major)?, 2)?;
    let last = digits(last.strip_prefix(major)?, 3)?;
    Some((major, first, last))
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}
