//! What every recipe has to do: mail from hosts that differ gets the right header, and mail goes on
//! when nobody answers.

use std::time::Duration;

use lab::clock;

use crate::machine::{Away, Machine, header};
use crate::smtp::Mail;

/// The site's hosts by their number.
pub(crate) const PLAIN: usize = 0;
pub(crate) const ODD: usize = 1;
/// How often mail is sent that may be held up.
const TRIES: usize = 5;
/// A header that the sender has forged.
const FORGED: &str = "X-OS-Fingerprint: Forged\r\n";

/// A mail server with one of the recipes of docs/mail.md.
pub(crate) struct Recipe {
    /// What the server answers to a message that it takes, at the beginning.
    pub(crate) taken: &'static str,
    /// How long mail may take when nobody answers.
    pub(crate) soon: Duration,
}

/// A message with a header that is forged.
pub(crate) fn forged<'m>(to: &'m str, subject: &'m str) -> Mail<'m> {
    Mail {
        to,
        subject,
        head: FORGED,
        text: "Hello",
    }
}

impl Recipe {
    /// Host `number` sends bob a message, which is taken.
    pub(crate) fn taken(&self, machine: &Machine, number: usize, mail: &Mail<'_>) {
        let answer = machine.send(number, mail);
        let taken = answer.starts_with(self.taken);
        assert!(taken, "{answer}: {}", machine.log());
        machine.count_taken(number);
    }

    /// Messages of both hosts, as `mail` makes them, get the right header and no other; the messages.
    pub(crate) fn marks(
        &self,
        machine: &Machine,
        mail: impl for<'m> Fn(&'m str, &'m str) -> Mail<'m>,
    ) -> Vec<String> {
        let hosts = [(PLAIN, "one", "Plain Linux"), (ODD, "two", "Odd one")];
        let marked = hosts.map(|(host, subject, os)| {
            let wanted = format!("{os} (exact");
            let mut message = String::new();
            // A daemon that is held up is asked before it has looked at the client's handshake, or
            // too late for the server.
            for number in 0..TRIES {
                let subject = format!("{subject} {number}");
                self.taken(machine, host, &mail("bob@mx.example", &subject));
                message = machine.delivered(&subject);
                let told = header(&message, "X-OS-Fingerprint");
                if !told.is_none_or(|told| told.starts_with("Unknown")) {
                    break;
                }
            }
            let told = header(&message, "X-OS-Fingerprint");
            assert!(
                told.is_some_and(|told| told.starts_with(&wanted)),
                "{message}"
            );
            message
        });
        marked.into()
    }

    /// Mail is taken soon, and delivered, when the daemon is killed and when it hangs; the messages.
    pub(crate) fn goes_on_alone(
        &self,
        machine: &mut Machine,
        mail: impl for<'m> Fn(&'m str, &'m str) -> Mail<'m>,
    ) -> Vec<String> {
        let ways = [(Away::Killed, "five"), (Away::Silent, "six")];
        let delivered = ways.map(|(away, subject)| {
            machine.lose_daemon(away);
            let mut soonest = Duration::MAX;
            // A busy machine may hold the server up.
            for _ in 0..TRIES {
                let began = clock::now();
                self.taken(machine, PLAIN, &mail("bob@mx.example", subject));
                soonest = soonest.min(began.elapsed());
                if soonest < self.soon {
                    break;
                }
            }
            assert!(soonest < self.soon, "{away:?}: {soonest:?}");
            machine.delivered(subject)
        });
        delivered.into()
    }
}
