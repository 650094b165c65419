//! libFuzzer entry of [`weighbridge_fuzz::mail_texts`]: `cargo +nightly fuzz run --features libfuzzer mail_texts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::mail_texts(data));
