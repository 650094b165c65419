//! Logged packets: records as pflog(4) makes them, the files they are kept in, and people who
//! read them.

pub mod command;
pub mod record;
pub mod text;
pub mod writer;

mod file;
