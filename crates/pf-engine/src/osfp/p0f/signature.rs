//! One signature: `ver:ittl:olen:mss:wsize,scale:olayout:quirks:pclass`.

use crate::addr::Family;
use crate::osfp::features::{Features, Kind, MAX_OPTIONS, OptionLayout, Quirks};

use super::window::TIMESTAMPS;
use super::{MAX_DISTANCE, Mode, Observed};

/// Largest factor of `mss*n` and `mtu*n`.
const FACTOR_MAX: u16 = 1000;
/// Quirks that a router or a middlebox takes away.
const TAKEN_AWAY: Quirks = Quirks::DF.union(Quirks::NONZERO_ID);
/// Quirks that it adds.
const ADDED: Quirks = Quirks::ZERO_ID.union(Quirks::ECN);
/// Quirks that only IPv4 has.
const OF_IPV4: Quirks = Quirks::DF.union(Quirks::NONZERO_ID).union(Quirks::ZERO_ID);
/// Quirks that only IPv6 has.
const OF_IPV6: Quirks = Quirks::FLOW;

/// Which IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `4` or `6`.
    Only(Family),
    /// `*`.
    Any,
}

impl Version {
    /// Whether packets of `family` are looked at.
    #[must_use]
    pub fn takes(self, family: Family) -> bool {
        match self {
            Self::Only(only) => only == family,
            Self::Any => true,
        }
    }
}

/// The TTL that the system begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// `64`.
    Initial(u8),
    /// `64-`: a random one, at most this.
    AtMost(u8),
}

impl Ttl {
    /// The number.
    #[must_use]
    pub const fn initial(self) -> u8 {
        match self {
            Self::Initial(ttl) | Self::AtMost(ttl) => ttl,
        }
    }

    /// Routers passed by a packet that comes with `ttl`; `None` when that cannot be.
    #[must_use]
    pub fn distance(self, ttl: u8) -> Option<u8> {
        let distance = self.initial().checked_sub(ttl)?;
        match self {
            Self::Initial(_) if distance > MAX_DISTANCE => None,
            Self::Initial(_) | Self::AtMost(_) => Some(distance),
        }
    }
}

/// The window of the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `*`.
    Any,
    /// A number of bytes.
    Bytes(u16),
    /// `%n`: a multiple of it.
    Modulus(u16),
    /// `mss*n`.
    TimesMss(u16),
    /// `mss*max`, an extension: the largest multiple of the MSS in 16 bits.
    LargestOfMss,
    /// `mtu*n`.
    TimesMtu(u16),
}

/// A signature as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Place of its label in the database.
    pub label: u32,
    /// Its line in the file, from 1.
    pub line: u32,
    /// A last resort (`g`).
    pub generic: bool,
    /// IP version.
    pub version: Version,
    /// Initial TTL.
    pub ttl: Ttl,
    /// Length of the IPv4 options.
    pub ip_options_len: u8,
    /// MSS; `None` is any.
    pub mss: Option<u16>,
    /// Window.
    pub window: Window,
    /// Window scale; `None` is any.
    pub scale: Option<u8>,
    /// Options in order.
    pub layout: OptionLayout,
    /// Quirks.
    pub quirks: Quirks,
    /// Whether there is data; `None` is either.
    pub payload: Option<bool>,
}

/// How a packet compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is another system's.
    No,
    /// In everything.
    Exact,
    /// But for TTL or quirks that networks change.
    Fuzzy,
}

impl Signature {
    /// Compares all but the order of options, which has led here. Once a fuzzy match is
    /// `known` another one by quirks is not looked for, as in p0f.
    pub(super) fn compare(&self, observed: &Observed<'_>, known: bool) -> Match {
        let features = observed.features;
        let Some(quirks_fuzzy) = self.compare_quirks(observed, known) else {
            return Match::No;
        };
        let fits = self.version.takes(observed.family())
            && self.layout.eol_padding() == features.layout.eol_padding()
            && self.ip_options_len == features.ip_options_len
            && self.mss.is_none_or(|mss| mss == features.mss.unwrap_or(0))
            && self
                .scale
                .is_none_or(|scale| scale == features.window_scale.unwrap_or(0))
            && self
                .payload
                .is_none_or(|payload| payload == features.has_payload())
            && self.compare_window(observed);
        if !fits {
            return Match::No;
        }
        match (self.ttl, self.ttl.distance(features.ttl)) {
            (Ttl::AtMost(_), None) => Match::No,
            (Ttl::Initial(_), None) => Match::Fuzzy,
            (_, Some(_)) if quirks_fuzzy => Match::Fuzzy,
            (_, Some(_)) => Match::Exact,
        }
    }

    /// Whether the quirks fit roughly; `None` when they do not.
    fn compare_quirks(&self, observed: &Observed<'_>, known: bool) -> Option<bool> {
        let (wanted, seen) = self.comparable_quirks(observed);
        if wanted == seen {
            return Some(false);
        }
        let taken_away = wanted.without(seen);
        let added = seen.without(wanted);
        let roughly = TAKEN_AWAY.contains(taken_away) && ADDED.contains(added);
        (roughly && !known).then_some(true)
    }

    /// A signature for both IP versions has quirks of both. Of those that the packet's version
    /// cannot have p0f takes off the signature's alone; a flow label stays on the packet.
    fn comparable_quirks(&self, observed: &Observed<'_>) -> (Quirks, Quirks) {
        let seen = observed.quirks;
        if self.version != Version::Any {
            return (self.quirks, seen);
        }
        match observed.family() {
            Family::Inet => (self.quirks.without(OF_IPV6), seen),
            Family::Inet6 if observed.mode == Mode::Better => {
                let strange = OF_IPV4.union(OF_IPV6);
                (self.quirks.without(strange), seen.without(OF_IPV6))
            }
            Family::Inet6 => (self.quirks.without(OF_IPV4), seen),
        }
    }

    /// Whether both take the same packets, whatever they are called.
    pub(super) fn matches_the_same(&self, other: &Self) -> bool {
        let other = Self {
            label: self.label,
            line: self.line,
            generic: self.generic,
            ..other.clone()
        };
        *self == other
    }

    fn compare_window(&self, observed: &Observed<'_>) -> bool {
        let window = observed.features.window;
        let times = |wanted: u16, of_mtu: bool| {
            observed
                .multiple
                .is_some_and(|found| found.times == wanted && found.of_mtu == of_mtu)
        };
        match self.window {
            Window::Any => true,
            Window::Bytes(bytes) => bytes == window,
            Window::Modulus(modulus) => window.checked_rem(modulus) == Some(0),
            Window::TimesMss(wanted) => times(wanted, false),
            Window::LargestOfMss => largest_of_mss(observed.features) == Some(window),
            Window::TimesMtu(wanted) => times(wanted, true),
        }
    }
}

/// What Linux since 4.19 and Windows since 10 begin with: as many whole segments as fit. A
/// SYN+ACK knows that its segments will have timestamps.
fn largest_of_mss(features: &Features) -> Option<u16> {
    let stamped = features.kind == Kind::SynAck && features.timestamp.is_some();
    let mss = features
        .mss?
        .checked_sub(if stamped { TIMESTAMPS } else { 0 })?;
    u16::MAX.checked_div(mss)?.checked_mul(mss)
}

/// Reads the part of a line behind `sig =`. The error says what is wrong.
pub(super) fn parse(text: &str) -> Result<Signature, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let [version, ttl, olen, mss, window, layout, quirks, payload] = fields.as_slice() else {
        return Err(format!(
            "a signature has eight fields, ver:ittl:olen:mss:wsize,scale:olayout:quirks:pclass; \
             this has {}",
            fields.len()
        ));
    };
    let version = parse_version(version)?;
    let (window, scale) = window
        .split_once(',')
        .ok_or_else(|| format!("expected WINDOW,SCALE, found \"{window}\""))?;
    Ok(Signature {
        label: 0,
        line: 0,
        generic: false,
        version,
        ttl: parse_ttl(ttl)?,
        ip_options_len: number(olen, "the length of IP options", 0..=255)?,
        mss: wildcard(mss, |mss| number(mss, "an MSS", 0..=65_535))?,
        window: parse_window(window)?,
        scale: wildcard(scale, |scale| number(scale, "a window scale", 0..=255))?,
        layout: parse_layout(layout)?,
        quirks: parse_quirks(quirks, version)?,
        payload: match *payload {
            "0" => Some(false),
            "+" => Some(true),
            "*" => None,
            other => {
                return Err(format!(
                    "expected 0, + or * for the payload, found \"{other}\""
                ));
            }
        },
    })
}

fn parse_version(text: &str) -> Result<Version, String> {
    Ok(match text {
        "4" => Version::Only(Family::Inet),
        "6" => Version::Only(Family::Inet6),
        "*" => Version::Any,
        other => {
            return Err(format!(
                "expected 4, 6 or * for the IP version, found \"{other}\""
            ));
        }
    })
}

/// `64`, `54+10`, `64-`.
fn parse_ttl(text: &str) -> Result<Ttl, String> {
    let ttl = |text: &str| number(text, "a TTL", 1..=255);
    if let Some(most) = text.strip_suffix('-') {
        return Ok(Ttl::AtMost(ttl(most)?));
    }
    let Some((seen, distance)) = text.split_once('+') else {
        return Ok(Ttl::Initial(ttl(text)?));
    };
    let distance: u8 = number(distance, "a distance", 0..=255)?;
    let sum = ttl(seen)?.checked_add(distance);
    sum.map(Ttl::Initial)
        .ok_or_else(|| format!("\"{text}\" is more than 255"))
}

fn parse_window(text: &str) -> Result<Window, String> {
    if text == "*" {
        return Ok(Window::Any);
    }
    if let Some(modulus) = text.strip_prefix('%') {
        return Ok(Window::Modulus(number(modulus, "a modulus", 2..=65_535)?));
    }
    if text == "mss*max" {
        return Ok(Window::LargestOfMss);
    }
    if let Some(times) = text.strip_prefix("mss*") {
        return Ok(Window::TimesMss(number(times, "a factor", 1..=FACTOR_MAX)?));
    }
    if let Some(times) = text.strip_prefix("mtu*") {
        return Ok(Window::TimesMtu(number(times, "a factor", 1..=FACTOR_MAX)?));
    }
    Ok(Window::Bytes(number(text, "a window", 0..=65_535)?))
}

fn parse_layout(text: &str) -> Result<OptionLayout, String> {
    let mut kinds = Vec::new();
    let mut padding = 0;
    let mut words = text.split(',').filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        if let Some(bytes) = word.strip_prefix("eol+") {
            if words.peek().is_some() {
                return Err("eol must be the last option".to_owned());
            }
            padding = number(bytes, "padding", 0..=255)?;
        }
        kinds.push(parse_option(word)?);
    }
    OptionLayout::new(&kinds, padding)
        .ok_or_else(|| format!("{} options, more than {MAX_OPTIONS}", kinds.len()))
}

/// The kind of an option (IANA "TCP Parameters").
fn parse_option(word: &str) -> Result<u8, String> {
    Ok(match word {
        "nop" => 1,
        "mss" => 2,
        "ws" => 3,
        "sok" => 4,
        "sack" => 5,
        "ts" => 8,
        _ if word.starts_with("eol+") => 0,
        _ => match word.strip_prefix('?') {
            Some(kind) => number(kind, "an option", 0..=255)?,
            None => {
                return Err(format!(
                    "unknown option \"{word}\": use mss, nop, ws, sok, sack, ts, eol+N or ?N"
                ));
            }
        },
    })
}

fn parse_quirks(text: &str, version: Version) -> Result<Quirks, String> {
    let mut quirks = Quirks::NONE;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let quirk = Quirks::named(word).ok_or_else(|| format!("unknown quirk \"{word}\""))?;
        let strange = match version {
            Version::Only(Family::Inet) => OF_IPV6,
            Version::Only(Family::Inet6) => OF_IPV4.union(Quirks::RESERVED),
            Version::Any => Quirks::NONE,
        };
        if strange.contains(quirk) {
            return Err(format!("IP of that version has no quirk \"{word}\""));
        }
        quirks = quirks | quirk;
    }
    Ok(quirks)
}

fn wildcard<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text == "*" {
        return Ok(None);
    }
    read(text).map(Some)
}

fn number<T>(text: &str, what: &str, range: std::ops::RangeInclusive<u16>) -> Result<T, String>
where
    T: TryFrom<u16>,
{
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u16>()
        .ok()
        .filter(|number| digits && range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("expected {what} from {least} to {most}, found \"{text}\"")
        })
}
