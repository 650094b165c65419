//! Values of `mail.toml` that TOML has no types for.

use std::net::SocketAddr;
use std::time::Duration;

use pf_engine::addr::Prefix;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::text::{parse_prefix, parse_time};

/// A time as `"12h"`.
pub(super) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let time = parse_time(&String::deserialize(input)?).map_err(D::Error::custom)?;
    if time.is_zero() {
        return Err(D::Error::custom("expected more than no time, as \"6h\""));
    }
    Ok(time)
}

/// An address and a port.
pub(super) fn place<'de, D: Deserializer<'de>>(input: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(input)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "\"{text}\" is no address with a port, as \"127.0.0.1:9999\" or \"[::1]:9999\": names are not \
             looked up"
        ))
    })
}

/// A list of addresses and networks.
pub(super) fn prefixes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Prefix>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    let read = |text: String| {
        let problem = || format!("\"{text}\" is no address or network, as \"192.0.2.0/24\"");
        parse_prefix(&text).ok_or_else(|| D::Error::custom(problem()))
    };
    texts.into_iter().map(read).collect()
}

/// A number of messages.
pub(super) fn messages<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    within(input, (1.0, 1e9))
}

/// A share of messages: less than half would be mail of anybody.
pub(super) fn share<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    within(input, (0.5, 1.0))
}

fn within<'de, D: Deserializer<'de>>(input: D, (least, most): (f64, f64)) -> Result<f64, D::Error> {
    let number = f64::deserialize(input)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    let message = format!("{number} is not between {least} and {most}");
    Err(D::Error::custom(message))
}

/// A whole number in `range`.
pub(super) fn number<'de, D, N>(input: D, range: std::ops::RangeInclusive<N>) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + PartialOrd + std::fmt::Display,
{
    let number = N::deserialize(input)?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(D::Error::custom(format!(
        "{number} is not between {} and {}",
        range.start(),
        range.end()
    )))
}
