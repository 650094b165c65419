//! libFuzzer entry of [`weighbridge_fuzz::mail_settings`]: `cargo +nightly fuzz run --features libfuzzer mail_settings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::mail_settings(data));
