//! libFuzzer entry of [`weighbridge_fuzz::wire`]: `cargo +nightly fuzz run --features libfuzzer wire`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::wire(data));
