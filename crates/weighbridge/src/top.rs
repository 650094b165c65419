//! `weighbridge top`: states, rules, queues and links as they change.

pub mod cell;
pub mod command;
pub mod fields;
pub mod filter;
pub mod help;
pub mod keys;
pub mod order;
pub mod rows;
pub mod sample;
pub mod screen;
pub mod speed;
pub mod view;
