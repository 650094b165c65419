//! The data path on real packets. Needs root; each test has network namespaces of its own, and
//! nothing leaves them.

mod bench;
mod frames;
mod fused;
mod held_up;
mod hooks;
mod lanes;
mod links;
mod nobody_home;
mod raw;
mod support;
