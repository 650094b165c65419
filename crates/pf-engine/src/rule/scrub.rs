//! Normalisation in PF's words (pf.conf(5), TRAFFIC NORMALIZATION).

use serde::{Deserialize, Serialize};

/// The ECN bits of type of service (RFC 3168, section 5): `set-tos` clears none of them, as in PF.
const ECN: u8 = 0b11;

/// Options of a `scrub` rule and of `scrub (…)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// `no-df`: clear IPv4's "don't fragment".
    pub no_df: bool,
    /// `random-id`: a random IPv4 identification for packets that are no fragments.
    pub random_id: bool,
    /// `min-ttl N`: the TTL or hop limit is raised to it.
    pub min_ttl: Option<u8>,
    /// `max-mss N`: the MSS that a SYN announces is lowered to it.
    pub max_mss: Option<u16>,
    /// `set-tos X`: type of service or traffic class; the ECN bits that a packet has stay.
    pub set_tos: Option<u8>,
    /// `reassemble tcp`: TCP normalised by its connection.
    pub reassemble_tcp: bool,
}

impl Scrub {
    /// No option.
    pub const NONE: Self = Self {
        no_df: false,
        random_id: false,
        min_ttl: None,
        max_mss: None,
        set_tos: None,
        reassemble_tcp: false,
    };

    /// Adds the options of a rule that matched later: where both set a value, `later` wins.
    pub fn add(&mut self, later: &Self) {
        self.no_df |= later.no_df;
        self.random_id |= later.random_id;
        self.min_ttl = later.min_ttl.or(self.min_ttl);
        self.max_mss = later.max_mss.or(self.max_mss);
        self.set_tos = later.set_tos.or(self.set_tos);
        self.reassemble_tcp |= later.reassemble_tcp;
    }

    /// Type of service of a packet that has `tos`.
    #[must_use]
    pub const fn tos(&self, tos: u8) -> u8 {
        match self.set_tos {
            Some(set) => set | tos & ECN,
            None => tos,
        }
    }
}

/// `fragment …` of a `scrub` rule: what becomes of fragments that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum FragmentMode {
    /// `fragment reassemble`, the default.
    #[default]
    Reassemble,
    /// `fragment no reassemble`: they are filtered one by one.
    Keep,
    /// `fragment crop` of OpenBSD before 4.6; reassembles, as FreeBSD reads it.
    Crop,
    /// `fragment drop-ovl` of OpenBSD before 4.6; reassembles, as FreeBSD reads it.
    DropOverlap,
}

impl FragmentMode {
    /// Whether fragments are put together.
    #[must_use]
    pub const fn reassembles(self) -> bool {
        !matches!(self, Self::Keep)
    }
}

/// `set reassemble`, where no `scrub` rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reassemble {
    /// `yes`: fragments are put together before they are filtered.
    pub enabled: bool,
    /// `no-df`: IPv4's "don't fragment" is cleared; otherwise fragments that have it are dropped.
    pub no_df: bool,
}

impl Default for Reassemble {
    /// `yes`, as in OpenBSD.
    fn default() -> Self {
        Self {
            enabled: true,
            no_df: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_several_rules_add_up_and_the_later_value_wins() {
        let mut scrub = Scrub {
            no_df: true,
            min_ttl: Some(10),
            max_mss: Some(1400),
            ..Scrub::NONE
        };
        scrub.add(&Scrub {
            random_id: true,
            min_ttl: Some(5),
            ..Scrub::NONE
        });
        assert_eq!(
            scrub,
            Scrub {
                no_df: true,
                random_id: true,
                min_ttl: Some(5),
                max_mss: Some(1400),
                ..Scrub::NONE
            }
        );
    }

    #[test]
    fn set_tos_sets_all_its_bits_and_clears_none_of_ecn() {
        let marking = |set| Scrub {
            set_tos: Some(set),
            ..Scrub::NONE
        };
        assert_eq!(marking(0xb8).tos(0x01), 0xb9);
        assert_eq!(marking(42).tos(0), 0x2a);
        assert_eq!(marking(0x42).tos(0xfd), 0x43);
        assert_eq!(Scrub::NONE.tos(0x2d), 0x2d);
    }
}
