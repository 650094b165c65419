//! Bounds on what a text can make us do. None of them is in PF; each is far above what the
//! largest published configurations need, and keeps time and memory proportional to the input.

/// Size of one file (a table file of a million addresses has about 16 MB).
pub(crate) const MAX_FILE_BYTES: usize = 64 << 20;
/// Files open inside each other by `include` (PF: as many as file descriptors).
pub(crate) const MAX_INCLUDE_DEPTH: usize = 32;
/// Files read by one load, through `include` and `table … file`.
pub(crate) const MAX_FILES: usize = 1024;
/// Bytes of all these files together.
pub(crate) const MAX_TOTAL_BYTES: usize = 256 << 20;
/// Statements of one load.
pub(crate) const MAX_STATEMENTS: usize = 250_000;
/// Length of what a message quotes.
pub(crate) const MAX_QUOTED_CHARS: usize = 300;
/// Length of one macro's value. A macro that names others can double at each definition.
pub(crate) const MAX_MACRO_BYTES: usize = 1 << 20;
/// Text put in place of all macros of one load together.
pub(crate) const MAX_EXPANDED_BYTES: usize = 16 << 20;
/// What an expansion counts at least, because its place is remembered.
pub(crate) const EXPANSION_COST: usize = 64;
/// Rules that the lists of one rule may multiply to.
pub(crate) const MAX_RULES_PER_RULE: usize = 65_536;
/// Rules of a whole ruleset.
pub(crate) const MAX_RULES: usize = 250_000;
/// Errors after which reading stops.
pub(crate) const MAX_ERRORS: usize = 200;
/// Depth of `{ { … } }`.
pub(crate) const MAX_LIST_DEPTH: usize = 32;
/// Anchors in each other (FreeBSD's `MAXANCHORDEPTH`).
pub(crate) const MAX_ANCHOR_DEPTH: usize = 64;
/// Longest label, without the final NUL of PF's own field (`PF_RULE_LABEL_SIZE` 64).
pub(crate) const MAX_LABEL_BYTES: usize = 63;
/// Labels of one rule (FreeBSD's `PF_RULE_MAX_LABEL_COUNT`).
pub(crate) const MAX_LABELS: usize = 5;
/// Longest tag, without the final NUL (`PF_TAG_NAME_SIZE` 64).
pub(crate) const MAX_TAG_BYTES: usize = 63;
/// Longest name of an interface or a group, without the final NUL (`IFNAMSIZ` 16).
pub(crate) const MAX_INTERFACE_BYTES: usize = 15;
/// Longest table name, without the final NUL (`PF_TABLE_NAME_SIZE` 32).
pub(crate) const MAX_TABLE_NAME_BYTES: usize = 31;
/// Queues of ALTQ, counted once for each interface that has one.
pub(crate) const MAX_QUEUES: usize = 4096;
/// Limiters of one kind, and the largest number that names one (FreeBSD's `PF_STATELIM_ID_MAX`).
pub(crate) const MAX_LIMITERS: usize = 255;
pub(crate) const MAX_LIMITER_ID: u8 = 255;
