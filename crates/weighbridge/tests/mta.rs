//! Real mail servers of Debian's with the recipes of docs/mail.md: mail from hosts with different
//! TCP gets the right header, outcomes are counted, and without the daemon mail flows.
//!
//! The programs are those that `scripts/packages.sh` unpacks; without them, or without root, a test
//! says that it is skipped.

#[path = "mta/amavis.rs"]
mod amavis;
#[path = "common/debian.rs"]
mod debian;
#[path = "mta/exim.rs"]
mod exim;
#[path = "mta/follow.rs"]
mod follow;
#[path = "mta/machine.rs"]
mod machine;
#[path = "mta/opensmtpd.rs"]
mod opensmtpd;
#[path = "common/packages.rs"]
mod packages;
#[path = "mta/postfix.rs"]
mod postfix;
#[path = "mta/recipe.rs"]
mod recipe;
#[path = "mta/rspamd.rs"]
mod rspamd;
#[path = "mta/sendmail.rs"]
mod sendmail;
#[path = "common/site.rs"]
mod site;
#[path = "mta/smtp.rs"]
mod smtp;
