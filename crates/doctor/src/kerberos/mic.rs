//! The checksum that old Heimdals get wrong.
//!
//! A MIC made with a DES3 key (RFC 1964's token) carries its sequence number enciphered, with the
//! checksum's first bytes as initial vector. Heimdal up to 0.6 used zeros. Since 0.6
//! `correct_des3_mic` in `[gssapi]` makes it send the right one, to acceptors whose principal
//! matches; since 0.7 that is the default, and `broken_des3_mic` brings the wrong one back. Where
//! both match, correct wins. The option is obeyed by who sends. MICs made with AES keys
//! (RFC 4121) are another token and never had the fault.

use std::fmt;

use super::principal::Principal;
use super::profile::Profile;

/// A Kerberos library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// MIT, or one that follows it (Solaris, Java).
    Mit,
    /// Heimdal; major and minor version.
    Heimdal(u32, u32),
    /// Heimdal of an unknown version.
    HeimdalUnknown,
}

/// What a side sends to an acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// The right MIC.
    Correct,
    /// The wrong one; `correct_des3_mic` changes that.
    Broken,
    /// The wrong one, whatever is configured: only another version helps.
    BrokenForGood,
    /// It depends on a version that is not known.
    Unknown,
}

/// One side of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side<'a> {
    /// Its library.
    pub implementation: Implementation,
    /// Its krb5.conf.
    pub profile: &'a Profile,
}

impl Implementation {
    /// Reads `mit`, `heimdal`, `heimdal-0.6.3`, and what `krb5-config --version` prints
    /// (`Kerberos 5 release 1.20.1`, `heimdal 7.8.0`)
    /// or tools do (`Kerberos 5 version 1.20.1`, `kinit (Heimdal 7.8.0)`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.trim().to_ascii_lowercase();
        if let Some(rest) = lower.split_once("heimdal").map(|(_, rest)| rest) {
            let version: String = rest
                .trim_start_matches(['-', ' ', '/'])
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            let mut numbers = version.split('.').map(str::parse::<u32>);
            return Some(match (numbers.next(), numbers.next()) {
                (Some(Ok(major)), Some(Ok(minor))) => Self::Heimdal(major, minor),
                (Some(Ok(major)), None) => Self::Heimdal(major, 0),
                _ => Self::HeimdalUnknown,
            });
        }
        (lower.starts_with("mit") || lower.contains("kerberos 5 ")).then_some(Self::Mit)
    }

    /// Whether it can verify the right MIC: all but Heimdal up to 0.5.
    #[must_use]
    pub fn verifies_correct(self) -> bool {
        !matches!(self, Self::Heimdal(0, ..=5))
    }

    /// Whether it can verify the wrong one: Heimdal up to 0.6. (Since 0.7 the attempt is in the
    /// code and is never reached, whatever the manual says.)
    #[must_use]
    pub fn verifies_broken(self) -> bool {
        matches!(self, Self::Heimdal(0, ..=6))
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mit => f.write_str("MIT"),
            Self::Heimdal(major, minor) => write!(f, "Heimdal {major}.{minor}"),
            Self::HeimdalUnknown => f.write_str("Heimdal"),
        }
    }
}

impl Side<'_> {
    /// What it sends to `acceptor` under a DES3 key.
    #[must_use]
    pub fn sends(&self, acceptor: &Principal) -> Sends {
        let realm = self.profile.default_realm().unwrap_or_default();
        let matched = |key| {
            let patterns = self.profile.patterns(key);
            patterns
                .iter()
                .any(|(pattern, _)| acceptor.matches(pattern, realm))
        };
        let correct = matched("correct_des3_mic");
        match self.implementation {
            Implementation::Mit => Sends::Correct,
            Implementation::Heimdal(0, ..=5) => Sends::BrokenForGood,
            _ if correct => Sends::Correct,
            Implementation::Heimdal(0, 6) => Sends::Broken,
            _ if matched("broken_des3_mic") => Sends::Broken,
            Implementation::Heimdal(..) => Sends::Correct,
            Implementation::HeimdalUnknown => Sends::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;
    use crate::kerberos::Grammar;

    fn sends(version: &str, gssapi: &str) -> Sends {
        let text = format!("[libdefaults]\ndefault_realm = MYREALM\n[gssapi]\n{gssapi}\n");
        let files = MemoryFiles::of(&[("/c", &text)]);
        let side = Side {
            implementation: Implementation::parse(version).unwrap(),
            profile: &Profile::read("/c", Grammar::Heimdal, &files),
        };
        side.sends(&Principal::parse("host/a.example.org@MYREALM"))
    }

    #[test]
    fn every_version_sends_what_its_source_says() {
        let correct = "correct_des3_mic = host/*@MYREALM";
        let broken = "broken_des3_mic = host/*@MYREALM";
        let other = "correct_des3_mic = HTTP/*@MYREALM";
        let both = format!("{broken}\n{correct}");
        for (version, gssapi, expected) in [
            ("heimdal-0.5.3", correct, Sends::BrokenForGood),
            ("heimdal-0.6.3", "", Sends::Broken),
            ("heimdal-0.6.3", other, Sends::Broken),
            ("heimdal-0.6.3", correct, Sends::Correct),
            ("heimdal-0.7", "", Sends::Correct),
            ("heimdal-7.8.0", broken, Sends::Broken),
            ("heimdal-7.8.0", &both, Sends::Correct),
            ("heimdal", "", Sends::Unknown),
            ("heimdal", broken, Sends::Broken),
            ("mit", broken, Sends::Correct),
        ] {
            assert_eq!(sends(version, gssapi), expected, "{version} {gssapi}");
        }
    }

    #[test]
    fn only_old_heimdals_verify_what_old_heimdals_send() {
        let parse = |text| Implementation::parse(text).unwrap();
        assert!(
            parse("heimdal 0.6.6").verifies_broken() && parse("heimdal 0.6.6").verifies_correct()
        );
        assert!(!parse("heimdal 0.5").verifies_correct());
        assert!(!parse("Kerberos 5 release 1.20.1").verifies_broken());
        assert!(!parse("heimdal 7.8.0").verifies_broken());
        assert_eq!(Implementation::parse("shishi"), None);
    }
}
