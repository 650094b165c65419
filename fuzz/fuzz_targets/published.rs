//! libFuzzer entry of [`weighbridge_fuzz::published`]: `cargo +nightly fuzz run --features libfuzzer published`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::published(data));
