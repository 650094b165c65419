//! Test hosts in network namespaces: for end-to-end tests, benches and `make run`.

#![forbid(unsafe_code)]
