//! libFuzzer entry of [`weighbridge_fuzz::packet`]: `cargo +nightly fuzz run --features libfuzzer packet`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::packet(data));
