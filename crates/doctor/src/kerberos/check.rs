//! The checks, in the article's order: name, DNS both ways, realm, KDC, clock, krb5.conf, keytab,
//! a ticket, sshd, and at last the DES3 MIC.

mod local;
mod mic;
mod network;

use std::net::{IpAddr, SocketAddr};

use super::message::Reply;
use super::mic::Implementation;
use super::principal::Principal;
use super::profile::{Grammar, Profile};
use super::sshd_log::SshdLog;
use crate::files::Files;
use crate::finding::{Severity, Step};

pub use self::mic::check_sshd_log;

/// How a KDC is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A stream; messages have a length of four bytes before them.
    Tcp,
}

/// What came back, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message, without TCP's length.
    pub bytes: Vec<u8>,
    /// This machine's clock half-way between question and answer, in microseconds since 1970.
    pub at: i64,
}

/// What became of the attempt to get a ticket for the host with the host's own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// It came; the version of the key that the KDC has, where the tools tell it.
    Granted(Option<u32>),
    /// It was refused, in the words of the library.
    Refused(String),
    /// There is no tool that asks.
    NotTried(String),
}

/// The machine and its network.
pub trait Surroundings {
    /// The machine's name, as `hostname` prints it.
    fn host_name(&self) -> Result<String, String>;
    /// Addresses of a name, by whatever the system asks (hosts file, DNS).
    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, String>;
    /// The name of an address, likewise.
    fn name_of(&self, address: IpAddr) -> Result<String, String>;
    /// The servers of a service (`_kerberos._udp.MYREALM`): SRV records of DNS, by priority.
    fn servers_of(&self, service: &str) -> Result<Vec<(String, u16)>, String>;
    /// Asks a server; waits a few seconds at most.
    fn ask(
        &self,
        server: SocketAddr,
        transport: Transport,
        request: &[u8],
    ) -> Result<Answer, String>;
    /// A number that no request before had: KDCs answer a request that they have seen with the
    /// answer that they gave then, and so with the clock of then.
    fn nonce(&self) -> u32;
    /// Gets a ticket for the principal with its key of the keytab.
    fn ticket(&self, keytab: &str, principal: &str) -> Ticket;
    /// The machine's own addresses, without the loopback's.
    fn addresses(&self) -> Vec<IpAddr>;
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The library of this machine; none when no library is there.
    pub implementation: Option<Implementation>,
    /// krb5.conf, or several with `:`.
    pub configuration: String,
    /// The keytab's path.
    pub keytab: String,
    /// The path of `sshd_config`.
    pub sshd_config: String,
    /// The name to use instead of the machine's own.
    pub host: Option<String>,
    /// A log of sshd: its name and what it says.
    pub sshd_log: Option<(String, SshdLog)>,
}

/// What the steps tell each other.
struct Case<'a> {
    subject: &'a Subject,
    files: &'a dyn Files,
    around: &'a dyn Surroundings,
    profile: Profile,
    host: Option<String>,
    realm: Option<String>,
    /// What a KDC said of the host's principal.
    key: Option<Reply>,
    /// Types of the newest keys of the host's principal in the keytab; none without a keytab.
    keytab: Option<Vec<i32>>,
}

impl Case<'_> {
    /// `host/NAME@REALM`.
    fn principal(&self) -> Option<Principal> {
        Some(Principal::service(
            "host",
            self.host.as_ref()?,
            self.realm.as_ref()?,
        ))
    }
}

/// Checks Kerberos on this machine.
#[must_use]
pub fn check(subject: &Subject, files: &dyn Files, around: &dyn Surroundings) -> Vec<Step> {
    let grammar = match subject.implementation {
        Some(Implementation::Heimdal(..) | Implementation::HeimdalUnknown) => Grammar::Heimdal,
        Some(Implementation::Mit) | None => Grammar::Mit,
    };
    let mut case = Case {
        subject,
        files,
        around,
        profile: Profile::read(&subject.configuration, grammar, files),
        host: None,
        realm: None,
        key: None,
        keytab: None,
    };
    if case.profile.files.is_empty()
        && files.read(&subject.keytab).is_err()
        && subject.sshd_log.is_none()
    {
        let what = format!(
            "neither {} nor {} is there",
            subject.configuration, subject.keytab
        );
        return vec![Step::absent("kerberos", what)];
    }
    let mut steps = vec![
        network::name(&mut case),
        network::dns(&case),
        network::realm(&mut case),
    ];
    steps.extend(network::kdc_and_clock(&mut case));
    steps.push(local::configuration(&case));
    let keytab = local::keytab(&mut case);
    let unusable = keytab
        .findings()
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    steps.push(keytab);
    steps.push(if unusable {
        Step::unchecked("kerberos/ticket", "not tried: the keytab comes first")
    } else {
        local::ticket(&case)
    });
    steps.push(local::sshd(&case));
    if let Some((name, log)) = &subject.sshd_log {
        steps.push(mic::log(name, log));
    }
    steps.push(mic::mic(&case));
    steps
}
