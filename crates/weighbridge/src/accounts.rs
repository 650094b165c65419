//! The machine's own users and groups, by way of its name services (nsswitch.conf(5)).

use std::io;

use nix::errno::Errno;
use nix::unistd::{Group, User};
use pf_conf::Accounts;

/// What names in `user` and `group` of rules stand for on this machine. A name that it does not
/// have is unknown, even where every BSD has it: another number would be another account here.
pub(crate) fn of_machine() -> Accounts {
    Accounts {
        user: |name| found(User::from_name(name).map(|user| Some(user?.uid.as_raw()))),
        group: |name| found(Group::from_name(name).map(|group| Some(group?.gid.as_raw()))),
    }
}

/// Some name services answer with an error where there is no such name (getpwnam(3)).
fn found(answer: nix::Result<Option<u32>>) -> io::Result<Option<u32>> {
    match answer {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_those_of_the_machine_and_no_others() {
        let accounts = of_machine();
        assert_eq!((accounts.user)("root").expect("looks"), Some(0));
        assert_eq!((accounts.group)("root").expect("looks"), Some(0));
        // FreeBSD's second name for the superuser.
        assert_eq!((accounts.user)("toor").expect("looks"), None);
        let group = (accounts.group)("group-of-no-machine");
        assert_eq!(group.expect("looks"), None);
    }

    #[test]
    fn an_error_that_means_no_such_name_is_none_and_others_stay() {
        assert_eq!(found(Err(Errno::ENOENT)).expect("absent"), None);
        let error = found(Err(Errno::EIO)).expect_err("an error");
        assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32));
    }
}
