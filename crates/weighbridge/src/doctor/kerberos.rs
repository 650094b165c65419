//! Kerberos of this machine.

mod dns;
mod kdc;
mod tools;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ::doctor::Step;
use ::doctor::kerberos::{
    Answer, Implementation, SshdLog, Subject, Surroundings, Ticket, Transport, check,
    check_sshd_log,
};

use super::DoctorArguments;
use super::disk::{Disk, tail};
use super::place::{addresses_of, own_addresses};
use crate::mail::clock;
use crate::random::Random;
use crate::text::reason;

/// A name is wanted, not the address as text (`NI_NAMEREQD` of getnameinfo(3)).
const NAME_REQUIRED: i32 = 8;

/// Without being `asked_for` by name Kerberos is looked at where the machine has a key: a
/// krb5.conf alone comes with many a package, and means nothing.
pub(super) fn steps(arguments: &DoctorArguments, asked_for: bool) -> Result<Vec<Step>, String> {
    if arguments.pid.is_some() {
        let reason = "names are looked up by this very process, so run it inside: nsenter -t PID -a \
                      weighbridge doctor kerberos";
        return Ok(vec![Step::unchecked("kerberos", reason)]);
    }
    let has_key = Path::new(&arguments.keytab).exists();
    if !asked_for && !has_key && arguments.sshd_log.is_none() {
        let what = format!(
            "no {}; `doctor kerberos` looks at a client too",
            arguments.keytab
        );
        return Ok(vec![Step::absent("kerberos", what)]);
    }
    let sshd_log = arguments.sshd_log.as_ref().map(|path| {
        let (bytes, _) =
            tail(path).map_err(|error| format!("{}: {}", path.display(), reason(&error)))?;
        Ok::<_, String>((path.display().to_string(), SshdLog::read(&bytes)))
    });
    let sshd_log = sshd_log.transpose()?;
    let implementation = match &arguments.library {
        Some(name) => Some(Implementation::parse(name).ok_or_else(|| {
            format!("--library {name}: use mit, heimdal or heimdal-VERSION (heimdal-0.6.3)")
        })?),
        None => tools::implementation(),
    };
    let subject = Subject {
        implementation,
        configuration: arguments.krb5_config.clone(),
        keytab: arguments.keytab.clone(),
        sshd_config: arguments.sshd_config.clone(),
        host: arguments.host.clone(),
        sshd_log,
    };
    let disk = Disk::own();
    if let (Some((name, log)), true) = (&subject.sshd_log, is_log_alone(&subject)) {
        return Ok(vec![check_sshd_log(name, log)]);
    }
    let network = Network {
        configuration: arguments.krb5_config.clone(),
    };
    Ok(check(&subject, &disk, &network))
}

/// Whether there is nothing here but a log of another machine.
fn is_log_alone(subject: &Subject) -> bool {
    let mut files = subject
        .configuration
        .split(':')
        .chain([subject.keytab.as_str()]);
    !files.any(|file| Path::new(file).exists())
}

/// The network as this process sees it.
struct Network {
    configuration: String,
}

impl Surroundings for Network {
    fn host_name(&self) -> Result<String, String> {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Ok(name)
    }

    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        addresses_of(name)
    }

    fn name_of(&self, address: IpAddr) -> Result<String, String> {
        let found = dns_lookup::getnameinfo(&SocketAddr::new(address, 0), NAME_REQUIRED);
        found.map(|(name, _)| name).map_err(|error| {
            let text = reason(&error.into());
            text.strip_prefix("failed to lookup address information: ")
                .unwrap_or(&text)
                .to_owned()
        })
    }

    fn servers_of(&self, service: &str) -> Result<Vec<(String, u16)>, String> {
        dns::servers_of(service)
    }

    fn ask(
        &self,
        server: SocketAddr,
        transport: Transport,
        request: &[u8],
    ) -> Result<Answer, String> {
        match transport {
            Transport::Udp => kdc::over_udp(server, request),
            Transport::Tcp => kdc::over_tcp(server, request),
        }
        .map_err(|error| reason(&error))
    }

    fn nonce(&self) -> u32 {
        // Without random numbers the clock is as good: it is no secret.
        Random::new().map_or_else(
            |_| u32::try_from(clock::now().as_micros() % u64::from(u32::MAX)).unwrap_or(1),
            |mut random| random.next(),
        )
    }

    fn ticket(&self, keytab: &str, principal: &str) -> Ticket {
        tools::ticket(&self.configuration, keytab, principal)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        own_addresses()
    }
}
