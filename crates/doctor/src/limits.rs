//! The limits of what is read. Reaching one is a problem with its place, never silence.

/// Longest file that is read, in bytes: httpd's manual has configurations of a few hundred
/// kilobytes at most; a keytab of a thousand entries has 100 kB.
pub const MAX_FILE_LEN: usize = 4 << 20;

/// Files that one configuration may have, itself included. Shared hosts have one a customer.
pub const MAX_FILES: usize = 10_000;

/// Bytes of all files of one configuration together.
pub const MAX_TOTAL_LEN: usize = 64 << 20;

/// Files inside files, and macros inside macros. httpd stops at 20 (`AP_MAX_INCLUDE_DEPTH`), MIT's
/// profile library at none.
pub const MAX_DEPTH: usize = 20;

/// Lines that one configuration may come to, with those that macros make.
pub const MAX_LINES: usize = 500_000;

/// Longest word once variables are put in, in bytes. httpd's own limit for a line is 16 MiB
/// (`VARBUF_MAX_LEN`), which is no word that anybody wrote.
pub const MAX_WORD_LEN: usize = 64 << 10;

/// Problems that are kept of one configuration.
pub const MAX_PROBLEMS: usize = 100;

/// Different messages that are kept of one log.
pub const MAX_LOG_KINDS: usize = 100;

/// Longest line of a log that is read, in bytes; httpd writes at most 8 KiB
/// (`MAX_STRING_LEN`), sshd 1 KiB.
pub const MAX_LOG_LINE_LEN: usize = 16 << 10;

/// Nested groups of a krb5.conf.
pub const MAX_GROUP_DEPTH: usize = 32;

/// Entries of a keytab.
pub const MAX_KEYTAB_ENTRIES: usize = 10_000;

/// Longest answer of a KDC, in bytes: an answer over UDP has at most this.
pub const MAX_MESSAGE_LEN: usize = 64 << 10;

/// Nested values of a message of a KDC; those of RFC 4120 have fewer than 10.
pub const MAX_DER_DEPTH: usize = 16;

/// Elements of one list in a message of a KDC.
pub const MAX_DER_ELEMENTS: usize = 256;

/// Longest text that is quoted, in characters.
pub const MAX_QUOTED_CHARS: usize = 200;
