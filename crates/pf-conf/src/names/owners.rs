//! Users and groups that every FreeBSD has (passwd(5), group(5) of its base system).

const USERS: &[(&str, u32)] = &[
    ("root", 0),
    ("toor", 0),
    ("daemon", 1),
    ("operator", 2),
    ("bin", 3),
    ("tty", 4),
    ("kmem", 5),
    ("games", 7),
    ("news", 8),
    ("man", 9),
    ("sshd", 22),
    ("smmsp", 25),
    ("mailnull", 26),
    ("bind", 53),
    ("unbound", 59),
    ("proxy", 62),
    ("_pflogd", 64),
    ("_dhcp", 65),
    ("uucp", 66),
    ("pop", 68),
    ("auditdistd", 78),
    ("www", 80),
    ("_ypldap", 160),
    ("hast", 845),
    ("nobody", 65_534),
];

const GROUPS: &[(&str, u32)] = &[
    ("wheel", 0),
    ("daemon", 1),
    ("kmem", 2),
    ("sys", 3),
    ("tty", 4),
    ("operator", 5),
    ("mail", 6),
    ("bin", 7),
    ("news", 8),
    ("man", 9),
    ("games", 13),
    ("ftp", 14),
    ("staff", 20),
    ("sshd", 22),
    ("smmsp", 25),
    ("mailnull", 26),
    ("guest", 31),
    ("video", 44),
    ("bind", 53),
    ("unbound", 59),
    ("proxy", 62),
    ("authpf", 63),
    ("_pflogd", 64),
    ("_dhcp", 65),
    ("uucp", 66),
    ("dialer", 68),
    ("network", 69),
    ("audit", 77),
    ("www", 80),
    ("nogroup", 65_533),
    ("nobody", 65_534),
];

/// The number of a user, or of a group.
pub(crate) fn number(group: bool, name: &str) -> Option<u32> {
    let known = if group { GROUPS } else { USERS };
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number)
}
