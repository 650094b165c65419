//! Kerberos that does not log anybody in ("Kerberos and FreeBSD"): checked in the article's order,
//! from the host's name to the checksum that old Heimdals get wrong.

mod check;
mod der;
mod encryption;
mod keytab;
mod message;
mod mic;
mod principal;
mod profile;
mod sshd_config;
mod sshd_log;

pub use self::check::{Answer, Subject, Surroundings, Ticket, Transport, check, check_sshd_log};
pub use self::encryption::{Family, family, name as encryption_name};
pub use self::keytab::{Entry as KeytabEntry, Keytab};
pub use self::message::{Reply, as_request};
pub use self::mic::{Implementation, Sends, Side};
pub use self::principal::Principal;
pub use self::profile::{Grammar, Kdc, Profile, ProfileProblem, Relation};
pub use self::sshd_config::{Keyword, SshdConfig};
pub use self::sshd_log::{LogEvent, SshdLog};

#[cfg(test)]
mod tests;
